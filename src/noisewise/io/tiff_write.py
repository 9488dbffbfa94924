"""Write TIFF by region, uncompressed, with the variant, shape, axes, pixel size and metadata of the input."""

from __future__ import annotations

import json
import struct
import sys
import warnings
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

import numpy as np
import tifffile

from noisewise.errors import UserError, one_line
from noisewise.io import imagej, ome
from noisewise.io.base import Source
from noisewise.io.files import Draft, SharedDraft, as_user_error
from noisewise.io.mapped import MappedSink
from noisewise.io.tiff_read import TiffMeta, TiffSource
from noisewise.version import __version__

CLASSIC_LIMIT = 2**32 - 2**25  # bytes of pixels in classic TIFF; leaves space for the page lists
DATE_TAG = 306
FAILURES = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError, struct.error, SyntaxError)
Provenance = Mapping[str, Any] | None


def create_tiff(
    draft: Draft, likes: Sequence[Source], dtypes: Sequence[np.dtype[Any]], records: Sequence[Provenance]
) -> list[MappedSink]:
    """Create a TIFF with an image for each of `likes`, in their variant if that can store the result.

    Otherwise it is ImageJ, OME or plain TIFF. ImageJ's variant is limited to one image, 4 GB, and uint8, uint16 and
    float32; otherwise OME is written. Pixels are contiguous and uncompressed; a resolution pyramid has the levels of
    the input's. A look-up table is written only for its own dtype.

    Errors: `UserError` if the file cannot be written.
    """
    wants_ome = draft.path.stem.lower().endswith(".ome")
    metas = _metas(likes, dtypes, wants_ome)
    try:
        places = _lay_out(draft, metas, likes, dtypes, records)
    except FAILURES as error:
        if not any(isinstance(like, TiffSource) and one is like.meta for like, one in zip(likes, metas, strict=True)):
            reason = one_line(str(error))
            raise UserError(f"{draft.path}: cannot be written as TIFF ({reason}); choose .npy or .zarr") from error
        # Invalid metadata is no reason to lose the result.
        note = "some of the metadata could not be kept: " + one_line(str(error))
        likes[0].notes += [note] if note not in likes[0].notes else []
        metas = _new_metas(likes, dtypes, wants_ome, [None] * len(likes))
        places = _lay_out(draft, metas, likes, dtypes, records)
    draft.reserve()
    pending: set[int] = set()
    sinks = []
    for like, dtype, meta, offsets in zip(likes, dtypes, metas, places, strict=True):
        shapes = [like.shape, *(like.shape[: -len(level)] + level for level in meta.levels)]
        arrays = [np.memmap(draft.temporary, dtype, "r+", *place) for place in zip(offsets, shapes, strict=True)]
        sinks.append(MappedSink(SharedDraft(draft, pending) if len(likes) > 1 else draft, arrays[0], arrays[1:]))
    return sinks


def _lay_out(
    draft: Draft, metas: Sequence[TiffMeta], likes: Sequence[Source], dtypes: Sequence[np.dtype[Any]],
    records: Sequence[Provenance],
) -> list[list[int]]:  # fmt: skip
    """Write all but the pixels; returns the positions of the levels of each image in the file, in bytes."""
    size = sum(prod(like.shape) * dtype.itemsize for like, dtype in zip(likes, dtypes, strict=True))
    size += size // 2 if any(meta.levels for meta in metas) else 0
    big = size > CLASSIC_LIMIT or any(meta.bigtiff for meta in metas)
    document = _ome_document(metas, likes, dtypes, records)
    places = []
    with as_user_error(draft.path, "cannot be written"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with tifffile.TiffWriter(draft.temporary, bigtiff=big, ome=False) as file:
            for number, (meta, like, dtype) in enumerate(zip(metas, likes, dtypes, strict=True)):
                options = _options(meta, like, dtype, records[number])
                if document is not None:
                    options["description"] = document if number == 0 else None
                places.append([_write(file, like.shape, meta, dtype, options, level) for level in _levels(meta)])
    return places


def _levels(meta: TiffMeta) -> list[tuple[int, ...]]:
    return [meta.page_shape, *meta.levels]


def _write(
    file: Any, shape: tuple[int, ...], meta: TiffMeta, dtype: np.dtype[Any], options: dict[str, Any],
    page: tuple[int, ...],
) -> int:  # fmt: skip
    """Write the pages of one level of an image; returns the position of its pixels in the file, in bytes."""
    planes = prod(shape) // prod(meta.page_shape)
    if page is not meta.page_shape:
        options = {k: v for k, v in options.items() if k in ("photometric", "planarconfig", "extrasamples", "colormap")}
        options["subfiletype"] = 1
    elif meta.levels and meta.subifds:
        options = options | {"subifds": len(meta.levels)}
    placed = file.write(
        shape=(planes, *page) if planes > 1 else page,
        dtype=dtype,
        software=f"noisewise {__version__}",
        align=tifffile.TIFF.ALLOCATIONGRANULARITY,
        metadata=None,
        contiguous=False,
        returnoffset=True,
        **options,
    )
    if placed is None:
        raise ValueError("pixels are not contiguous")
    return int(placed[0])


def _ome_document(
    metas: Sequence[TiffMeta], likes: Sequence[Source], dtypes: Sequence[np.dtype[Any]], records: Sequence[Provenance]
) -> bytes | None:
    """OME-XML for all images, in the first page; None for other variants. It has the record of the first image."""
    if not metas[0].kind.endswith("ome"):
        return None
    xml = metas[0].description or ome.new(likes)
    written, first = [], 0
    for number, (meta, like, dtype) in enumerate(zip(metas, likes, dtypes, strict=True)):
        planes = prod(like.shape) // prod(meta.page_shape)
        index = meta.image_index if meta.kind == "ome" else number
        written.append(
            ome.Written(index, dtype, planes, first, meta.changed, like.axes, like.shape, like.scale)
        )  # fmt: skip
        first += planes * (1 if meta.subifds else 1 + len(meta.levels))
    return ome.updated(xml, written, records[0])


def _options(meta: TiffMeta, like: Source, dtype: np.dtype[Any], record: Provenance) -> dict[str, Any]:
    """Tags, as arguments of `TiffWriter.write`."""
    options = {**meta.layout, **_description(meta, like, record)}
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


def _metas(likes: Sequence[Source], dtypes: Sequence[np.dtype[Any]], wants_ome: bool) -> list[TiffMeta]:
    """Metadata of the inputs if their variant can store the results, otherwise of new images."""
    old = [_old_meta(like, dtype) for like, dtype in zip(likes, dtypes, strict=True)]
    kept = [meta for meta in old if meta is not None]
    kinds, documents = {meta.kind for meta in kept}, {meta.description for meta in kept}
    alone = len(likes) == 1
    same = len(kinds) == 1 and (alone or kinds == {"plain"} or (kinds == {"ome"} and len(documents) == 1))
    if len(kept) == len(likes) and same and (kinds == {"ome"} or not wants_ome):
        return kept
    metas = [like.meta if isinstance(like, TiffSource) else None for like in likes]
    return _new_metas(likes, dtypes, wants_ome, metas)


def _old_meta(like: Source, dtype: np.dtype[Any]) -> TiffMeta | None:
    """Metadata of an input, if its variant can store the result."""
    if not isinstance(like, TiffSource) or like.meta is None or like.meta.shape != like.shape:
        return None
    meta, size = like.meta, prod(like.shape) * dtype.itemsize
    rgb, grey = meta.layout["photometric"] == 2, len(meta.page_shape) == 2
    other = meta.changed == "axes"
    holds = {
        "ome": dtype.name in ome.TYPES and (not other or (grey and ome.fits(like.axes, dtype.name))),
        "imagej": dtype.name in imagej.DTYPES and size < CLASSIC_LIMIT and (dtype == like.dtype or not rgb)
        and (not other or (grey and imagej.fits(like.axes, dtype.name))),
        "plain": not meta.changed or _json_object(meta.description) is not None,
    }  # fmt: skip
    return meta if holds.get(meta.kind) else None


def _new_metas(
    likes: Sequence[Source], dtypes: Sequence[np.dtype[Any]], wants_ome: bool, old: Sequence[TiffMeta | None]
) -> list[TiffMeta]:
    """Metadata of new images: ImageJ's variant or OME if they can hold them all, else plain TIFF."""
    metas = [
        _new_meta(like, dtype, meta if meta is not None and meta.shape == like.shape else None)
        for like, dtype, meta in zip(likes, dtypes, old, strict=True)
    ]
    grey = all(len(meta.page_shape) == 2 for meta in metas)
    pairs = [(like.axes, dtype.name) for like, dtype in zip(likes, dtypes, strict=True)]
    size = sum(prod(like.shape) * dtype.itemsize for like, dtype in zip(likes, dtypes, strict=True))
    in_imagej = grey and len(likes) == 1 and imagej.fits(*pairs[0])
    kind = "new-imagej" if in_imagej else "new-shaped"
    if grey and all(ome.fits(*pair) for pair in pairs) and (wants_ome or size > CLASSIC_LIMIT or not in_imagej):
        kind = "new-ome"
    elif wants_ome:
        axes, dtype = pairs[0]
        raise UserError(f"OME-TIFF cannot hold axes {axes} with pixels of type {dtype}; write to a plain .tif")
    for meta in metas:
        meta.kind, meta.bigtiff = kind, size > CLASSIC_LIMIT
        meta.levels = [] if kind == "new-imagej" else meta.levels
    return metas


def _new_meta(like: Source, dtype: np.dtype[Any], old: TiffMeta | None) -> TiffMeta:
    """Metadata of a new image, its variant aside; old: those of the input."""
    axes, shape = like.axes, like.shape
    last = old.page_shape if old is not None else shape[-2:]
    layout: dict[str, Any] = {"photometric": 1}
    if old is not None:
        layout = {k: v for k, v in old.layout.items() if k not in ("resolution", "resolutionunit")}
    elif axes.endswith("YXC") and 1 < shape[-1] <= 64:
        last = shape[-3:]
        colour = shape[-1] in (3, 4) and dtype in (np.uint8, np.uint16)
        layout = {"photometric": 2 if colour else 1, "planarconfig": 1}
    layout |= _resolution(like)
    new = TiffMeta("", 0, shape, tuple(last), axes, layout=layout)
    if old is not None:
        new.texts, new.levels, new.subifds = old.texts, old.levels, old.subifds
        if old.kind == "plain" and _json_object(old.description) is None and old.description:
            new.imagej_tags = {"Info": old.description}
    return new


def _resolution(like: Source) -> dict[str, Any]:
    """Pixels per µm, as ImageJ writes them; other readers take this as a ratio without unit."""
    if not {"X", "Y"} <= set(like.scale):
        return {}
    return {"resolution": (1 / like.scale["X"], 1 / like.scale["Y"]), "resolutionunit": 1}


def _description(meta: TiffMeta, like: Source, record: Provenance) -> dict[str, Any]:
    """Arguments of `TiffWriter.write` that define the variant of TIFF; without OME's document."""
    if meta.kind.endswith("ome"):
        return {}
    if meta.kind.endswith("imagej"):
        text, tags = meta.description, dict(meta.imagej_tags)
        if meta.kind == "new-imagej":
            text = imagej.description(like.axes, like.shape, like.scale)
            labels = imagej.channel_labels(like.axes, like.shape, like.channel_names)
            tags |= {"Labels": labels} if labels else {}
        elif meta.changed:
            text = imagej.changed_description(text, like.axes, like.shape, like.scale)
            tags = imagej.changed_tags(tags, like.axes, like.shape)
        if record is not None:
            tags = imagej.with_provenance(tags, record)
        order: Literal["<", ">"] = "<" if sys.byteorder == "little" else ">"
        return {"description": text.encode(), "extratags": list(tifffile.tifffile.imagej_metadata_tag(tags, order))}
    if meta.kind == "new-shaped":
        shaped: dict[str, Any] = {"shape": list(like.shape), "axes": _tifffile_axes(like.axes)}
        shaped |= {f"PhysicalSize{a}": like.scale[a] for a in "XYZ" if a in like.scale}
        return {"description": plain_description(json.dumps(shaped), record)}
    text = meta.description
    if meta.changed:  # of an object in JSON
        text = json.dumps(json.loads(text) | {"shape": list(like.shape), "axes": _tifffile_axes(like.axes)})
    return {"description": plain_description(text, record)}


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
