"""Write TIFF by region, uncompressed, with the variant, shape, axes, pixel size and metadata of the input."""

from __future__ import annotations

import json
import struct
import sys
import warnings
from collections.abc import Mapping
from math import prod
from typing import Any, Literal

import numpy as np
import tifffile

from noisewise.errors import UserError, one_line
from noisewise.io import imagej, ome
from noisewise.io.base import Source
from noisewise.io.files import Draft, as_user_error
from noisewise.io.mapped import MappedSink
from noisewise.io.tiff_read import TiffMeta, TiffSource
from noisewise.version import __version__

CLASSIC_LIMIT = 2**32 - 2**25  # bytes of pixels in classic TIFF; leaves space for the page lists
DATE_TAG = 306
FAILURES = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, struct.error, SyntaxError)
Provenance = Mapping[str, Any] | None


def create_tiff(draft: Draft, like: Source, dtype: np.dtype[Any], provenance: Provenance) -> MappedSink:
    """Create a TIFF in the variant of `like` if that can store the result, else as ImageJ, OME or plain TIFF.

    ImageJ's variant is limited to 4 GB and to uint8, uint16 and float32; otherwise OME is written. Pixels are
    contiguous and uncompressed. A resolution pyramid is not written, a look-up table only for its own dtype.

    Errors: `UserError` if the file cannot be written.
    """
    meta = _meta_for(draft, like, dtype)
    try:
        offset = _lay_out(draft, meta, like, dtype, provenance)
    except FAILURES as error:
        if not isinstance(like, TiffSource) or meta is not like.meta:
            reason = one_line(str(error))
            raise UserError(f"{draft.path}: cannot be written as TIFF ({reason}); choose .npy or .zarr") from error
        # Invalid metadata is no reason to lose the result.
        note = "some of the metadata could not be kept: " + one_line(str(error))
        like.notes += [note] if note not in like.notes else []
        offset = _lay_out(draft, _new_meta(like, dtype, _wants_ome(draft), None), like, dtype, provenance)
    draft.reserve()
    return MappedSink(draft, np.memmap(draft.temporary, dtype, "r+", offset, like.shape))


def _lay_out(draft: Draft, meta: TiffMeta, like: Source, dtype: np.dtype[Any], provenance: Provenance) -> int:
    """Write all but the pixels; returns their position in the file, in bytes."""
    planes = prod(like.shape) // prod(meta.page_shape)
    size = prod(like.shape) * dtype.itemsize
    with as_user_error(draft.path, "cannot be written"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        placed = tifffile.imwrite(
            draft.temporary,
            shape=(planes, *meta.page_shape) if planes > 1 else meta.page_shape,
            dtype=dtype,
            bigtiff=meta.bigtiff or size > CLASSIC_LIMIT,
            software=f"noisewise {__version__}",
            align=tifffile.TIFF.ALLOCATIONGRANULARITY,
            metadata=None,
            returnoffset=True,
            ome=False,
            **_options(meta, like, dtype, planes, provenance),
        )
    if placed is None:
        raise ValueError("pixels are not contiguous")
    return int(placed[0])


def _options(meta: TiffMeta, like: Source, dtype: np.dtype[Any], planes: int, provenance: Provenance) -> dict[str, Any]:
    """Tags, as arguments of `imwrite`."""
    options = {**meta.layout, **_description(meta, like, dtype, planes, provenance)}
    if "colormap" in options and options["colormap"].shape[-1] != 2 ** (8 * dtype.itemsize):
        del options["colormap"]
        options["photometric"] = 1
    texts = dict(meta.texts)
    date = texts.pop(DATE_TAG, "")
    if len(date) == 19 and date[16] == ":":
        options["datetime"] = date
    extra = [(code, 2, 0, text.encode(), True) for code, text in texts.items()]
    options["extratags"] = [*options.pop("extratags", []), *extra]
    return options


def _wants_ome(draft: Draft) -> bool:
    return draft.path.stem.lower().endswith(".ome")


def _meta_for(draft: Draft, like: Source, dtype: np.dtype[Any]) -> TiffMeta:
    """Metadata of the input if its variant can store the result, otherwise of a new file."""
    wants_ome = _wants_ome(draft)
    size = prod(like.shape) * dtype.itemsize
    if isinstance(like, TiffSource) and like.meta is not None and like.meta.shape == like.shape:
        meta, same = like.meta, dtype == like.dtype
        rgb = meta.layout["photometric"] == 2
        holds = {
            "ome": dtype.name in ome.TYPES,
            "imagej": dtype.name in imagej.DTYPES and size < CLASSIC_LIMIT and (same or not rgb),
            "plain": True,
        }
        if holds.get(meta.kind) and (meta.kind == "ome" or not wants_ome):
            return meta
        return _new_meta(like, dtype, wants_ome, meta)
    return _new_meta(like, dtype, wants_ome, None)


def _new_meta(like: Source, dtype: np.dtype[Any], wants_ome: bool, old: TiffMeta | None) -> TiffMeta:
    axes, shape = like.axes, like.shape
    last = old.page_shape if old is not None else shape[-2:]
    layout: dict[str, Any] = {"photometric": 1}
    if old is not None:
        layout = {k: v for k, v in old.layout.items() if k not in ("resolution", "resolutionunit")}
    elif axes.endswith("YXC") and 1 < shape[-1] <= 64:
        last = shape[-3:]
        colour = shape[-1] in (3, 4) and dtype in (np.uint8, np.uint16)
        layout = {"photometric": 2 if colour else 1, "planarconfig": 1}
    big = prod(shape) * dtype.itemsize > CLASSIC_LIMIT
    greyscale = len(last) == 2
    kind = "new-shaped"
    if greyscale and ome.fits(axes, dtype.name) and (wants_ome or big or not imagej.fits(axes, dtype.name)):
        kind = "new-ome"
    elif greyscale and imagej.fits(axes, dtype.name):
        kind = "new-imagej"
    elif wants_ome:
        raise UserError(f"OME-TIFF cannot hold axes {axes} with pixels of type {dtype}; write to a plain .tif")
    layout |= _resolution(like)
    texts = old.texts if old is not None else []
    return TiffMeta(kind, shape, tuple(last), axes, layout=layout, texts=texts)


def _resolution(like: Source) -> dict[str, Any]:
    """Pixels per µm, as ImageJ writes them; other readers take this as a ratio without unit."""
    if not {"X", "Y"} <= set(like.scale):
        return {}
    return {"resolution": (1 / like.scale["X"], 1 / like.scale["Y"]), "resolutionunit": 1}


def _description(
    meta: TiffMeta, like: Source, dtype: np.dtype[Any], planes: int, provenance: Provenance
) -> dict[str, Any]:
    """Arguments of `imwrite` that define the variant of TIFF."""
    if meta.kind.endswith("ome"):
        xml = meta.description or ome.new(like.axes, like.shape, like.scale, like.channel_names, like.name)
        return {"description": ome.updated(xml, meta.image_index, dtype, planes, provenance)}
    if meta.kind.endswith("imagej"):
        text, tags = meta.description, dict(meta.imagej_tags)
        if meta.kind == "new-imagej":
            text = imagej.description(like.axes, like.shape, like.scale)
            labels = imagej.channel_labels(like.axes, like.shape, like.channel_names)
            tags = {"Labels": labels} if labels else {}
        if provenance is not None:
            tags = imagej.with_provenance(tags, provenance)
        order: Literal["<", ">"] = "<" if sys.byteorder == "little" else ">"
        return {"description": text.encode(), "extratags": list(tifffile.tifffile.imagej_metadata_tag(tags, order))}
    if meta.kind == "new-shaped":
        shaped: dict[str, Any] = {"shape": list(like.shape), "axes": _tifffile_axes(like.axes)}
        shaped |= {f"PhysicalSize{a}": like.scale[a] for a in "XYZ" if a in like.scale}
        return {"description": plain_description(json.dumps(shaped), provenance)}
    return {"description": plain_description(meta.description, provenance)}


def _tifffile_axes(axes: str) -> str:
    """In tifffile, S are the samples of a pixel; other batch axes are its unknown axis Q."""
    return "".join(axis if axis in "TCZYX" else "Q" for axis in axes)


def plain_description(text: str, provenance: Provenance) -> bytes | None:
    """Add the provenance to a description so that JSON, XML and plain text stay readable."""
    shaped = _json_object(text)
    if shaped is not None:
        # Pages are written in full even if those of the input were truncated.
        shaped.pop("truncated", None)
        if provenance is not None:
            shaped["noisewise"] = dict(provenance)
        return json.dumps(shaped).encode()
    if provenance is None:
        return text.encode() or None
    stated = json.dumps({"noisewise": dict(provenance)})
    if text.lstrip().startswith("<"):
        comment = stated.replace("--", "-\\u002d")  # XML ends a comment at two dashes; JSON has an escape
        return f"{text}\n<!-- {comment} -->".encode()
    return f"{text}\n{stated}".encode() if text else stated.encode()


def _json_object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
