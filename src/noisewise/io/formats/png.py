"""PNG: 8- and 16-bit greyscale, 8-bit greyscale with alpha, RGB and RGBA; text and resolution are kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array, Region
from noisewise.errors import UserError, one_line
from noisewise.io.base import Sink, Source, check_pixels, given_axes, to_dtype
from noisewise.io.decoded import Decoded
from noisewise.io.files import Draft, as_user_error
from noisewise.io.memory import MemorySource
from noisewise.io.text import json_objects
from noisewise.io.units import micrometres
from noisewise.version import __version__

SUFFIXES = (".png",)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE = 0, 2, 3  # colour types of the PNG header
PRINT_UM = 50.0  # 508 dpi: coarser "pixel sizes" are print resolutions


@dataclass
class PngSource(MemorySource):
    """A decoded PNG: the format cannot be read by region, and its images are small."""

    text: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # dpi, icc_profile, as Pillow takes them


class PngSink(Sink):
    """Collects the pixels and encodes them at the end."""

    def __init__(self, draft: Draft, array: Array, text: Mapping[str, str], options: Mapping[str, Any]) -> None:
        self.draft, self.dtype, self.array = draft, array.dtype, array
        self.text, self.options, self.closed = text, options, False

    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels into a region."""
        self.array[region] = to_dtype(pixels, self.dtype)

    def commit(self) -> None:
        """Encode, write and rename into place."""
        if self.closed:
            return
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        for key, value in self.text.items():
            info.add_text(key, value)
        with as_user_error(self.draft.path, "cannot be written"):
            Image.fromarray(self.array).save(self.draft.temporary, "PNG", pnginfo=info, **self.options)
        self.closed = True
        self.draft.commit()

    def discard(self) -> None:
        """Remove the unfinished file."""
        self.closed = True
        self.draft.discard()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: has more pixels than is safe to decode; save it as TIFF") from error
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory, or is damaged; save it as TIFF") from error
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(f"{path}: is not a PNG file, or is damaged ({reason}); copy or export it again") from error


def open_file(path: Path, axes: str | None = None) -> PngSource:
    """Open a PNG file. Palette images become greyscale or RGB.

    Errors: `UserError` for damaged files, masks, and 16-bit colour, which Pillow would reduce to 8 bits.
    """
    with _readable(path):
        with path.open("rb") as stream:
            header = stream.read(26)
        if header[:8] != SIGNATURE or len(header) < 26:
            raise UserError(f"{path}: is not a PNG file, or is truncated; copy or export it again")
        bits, colour = header[24], header[25]
        if bits == 16 and colour != GREY:
            raise UserError(f"{path}: 16-bit colour PNG cannot be read in full depth; save it as TIFF")
        array, text, options = _decoded(path)
    label = str(path)
    check_pixels(label, array.shape, array.dtype)
    letters = given_axes(label, axes, array.ndim) if axes is not None else "YXC"[: array.ndim]
    source = PngSource(path.name, letters, array.shape, array.dtype, _scale(options), path=path)
    source.array = Decoded(path, lambda: _decoded(path)[0], array)
    source.text, source.options = text, options
    return source


def _decoded(path: Path) -> tuple[Array, dict[str, str], dict[str, Any]]:
    """Pixels, text, and resolution and colour profile, as Pillow takes them."""
    from PIL import Image

    with _readable(path), Image.open(path, formats=["PNG"]) as image:
        image.load()
        text = {str(k): str(v) for k, v in getattr(image, "text", {}).items()}
        return _pixels(image), text, {k: image.info[k] for k in ("dpi", "icc_profile") if image.info.get(k)}


def _pixels(image: Any) -> Array:
    if image.mode == "1":
        return np.asarray(image)  # Boolean: refused later as a mask
    if image.mode == "P":
        palette = np.asarray(image.convert("RGB"))
        grey = (palette[..., 0] == palette[..., 1]).all() and (palette[..., 0] == palette[..., 2]).all()
        return np.ascontiguousarray(palette[..., 0]) if grey else palette
    array = np.asarray(image)
    return array.astype(np.uint16) if image.mode.startswith("I") else array


def _scale(options: Mapping[str, Any]) -> dict[str, float]:
    dpi = options.get("dpi")
    if not dpi or min(dpi) <= 0:
        return {}
    found = {axis: micrometres(1 / float(value), "inch") for axis, value in zip("XY", dpi, strict=True)}
    return {axis: size for axis, size in found.items() if size and size < PRINT_UM}


def create(draft: Draft, like: Source, dtype: np.dtype[Any], provenance: Mapping[str, Any] | None) -> PngSink:
    """Create a PNG file. Errors: `UserError` if PNG cannot hold the shape or dtype."""
    grey = like.axes == "YX" and dtype in (np.uint8, np.uint16)
    colour = like.axes == "YXC" and 2 <= like.shape[-1] <= 4 and dtype == np.uint8
    if not grey and not colour:
        raise UserError(
            f"{draft.path}: PNG cannot hold {dtype} pixels with axes {like.axes} and shape {like.shape}; "
            f"write to {draft.path.with_suffix('.tif').name}"
        )
    text: dict[str, str] = {}
    options: dict[str, Any] = {}
    if isinstance(like, PngSource):
        text, options = dict(like.text), dict(like.options)
    elif {"X", "Y"} <= set(like.scale):
        options["dpi"] = (25400 / like.scale["X"], 25400 / like.scale["Y"])
    text["Software"] = f"noisewise {__version__}"
    if provenance is not None:
        text["noisewise"] = json.dumps(provenance)
    return PngSink(draft, np.zeros(like.shape, dtype), text, options)


def records(source: Source) -> Iterator[dict[str, Any]]:
    """How noisewise made an image."""
    yield from json_objects(getattr(source, "text", {}).get("noisewise", ""))
