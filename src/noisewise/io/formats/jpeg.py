"""JPEG: 8-bit greyscale and RGB, read only. Its compression has altered the noise, which a note says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError, one_line
from noisewise.io.base import JPEG_NOTE, Source, check_pixels, given_axes
from noisewise.io.decoded import Decoded
from noisewise.io.memory import MemorySource

SUFFIXES = (".jpg", ".jpeg")
READ_ONLY = SUFFIXES


def open_file(path: Path, axes: str | None = None) -> Source:
    """Open a JPEG file. Errors: `UserError` for damaged files and for colours other than RGB."""
    array = _decoded(path)
    check_pixels(str(path), array.shape, array.dtype)
    letters = "YXC"[: array.ndim] if axes is None else given_axes(str(path), axes, array.ndim)
    pixels = Decoded(path, lambda: _decoded(path), array)
    return MemorySource(path.name, letters, array.shape, array.dtype, path=path, notes=[JPEG_NOTE], array=pixels)


def _decoded(path: Path) -> Array:
    from PIL import Image

    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if image.mode not in ("L", "RGB"):
                raise UserError(f"{path}: has colours of type {image.mode}; save it as greyscale or RGB")
            return np.asarray(image)
    except UserError:
        raise
    except (Exception, MemoryError) as error:
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(f"{path}: cannot be read as JPEG, it is damaged or of another format ({reason})") from error
