"""Formats without a file of their own here, read by `bioio` and its reader for the format, where these are installed.

Source: https://bioio-devs.github.io/bioio.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.io.recording import Recorded, open_recording

READERS = {
    ".dv": "bioio-dv", ".r3d": "bioio-dv", ".sldy": "bioio-sldy",
    **dict.fromkeys((".oib", ".oif", ".vsi", ".ims", ".ics", ".zvi", ".sld", ".flex"), "bioio-bioformats"),
}  # fmt: skip
SUFFIXES = tuple(READERS)
READ_ONLY = SUFFIXES


def open_images(path: Path, axes: str | None = None, series: int | None = None) -> Sequence[Source]:
    """Open the scenes of a file. Errors: `UserError` for what cannot be read, and where the reader is missing."""
    reader = READERS[path.suffix.lower()]
    try:
        bioio, plugin = import_module("bioio"), import_module(reader.replace("-", "_"))
    except ImportError as error:
        raise UserError(
            f"{path}: {path.suffix} files are read by the packages bioio and {reader}: pip install bioio {reader}; or "
            f"save it as OME-TIFF"
        ) from error

    def begin() -> Any:
        return Opened(bioio.BioImage(path, reader=plugin.Reader))

    return open_recording(path, path.suffix[1:].upper(), begin, scenes, axes, series)


class Opened:
    """A file that bioio opens for each region."""

    def __init__(self, image: Any) -> None:
        self.image = image

    def close(self) -> None:
        """Nothing is open."""


def scenes(file: Opened) -> list[Recorded]:
    """The scenes of a file."""
    found, image = [], file.image
    for name in image.scenes:
        image.set_scene(name)
        pixels = image.reader.xarray_dask_data
        sizes = image.physical_pixel_sizes
        scale = {axis: float(getattr(sizes, axis)) for axis in "ZYX" if getattr(sizes, axis)}
        channels = [one for one in image.reader.channel_names or [] if isinstance(one, str)]
        shape, dtype = tuple(map(int, pixels.shape)), np.dtype(pixels.dtype)
        found.append(Recorded(list(pixels.dims), shape, dtype, pixels.data, scale, channels, str(name)))
    return found
