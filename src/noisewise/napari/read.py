"""Images of files that noisewise reads, as layers with their pixel size and names; and sample data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.errors import UserError
from noisewise.io import open_images
from noisewise.io.base import Source

Layer = tuple[Any, dict[str, Any], str]
UNITS = {"Z": "micrometer", "Y": "micrometer", "X": "micrometer", "T": "second"}
COLOURS = ("cyan", "magenta", "yellow", "green", "red", "blue")
PIXEL_UM = 0.1  # of the sample


def reader_of(path: str | list[str]) -> Callable[[Any], list[Layer]] | None:
    """A function that reads the file, or None where noisewise cannot."""
    name = path if isinstance(path, str) else path[0]
    try:
        for source in open_images(Path(name)):
            source.close()
    except (UserError, OSError):
        return None
    return read


def read(path: str | list[str]) -> list[Layer]:
    """Layers of the images in files, one for each channel."""
    names = [path] if isinstance(path, str) else path
    return [layer for name in names for source in open_images(Path(name)) for layer in layers_of(source)]


def layers_of(source: Source) -> list[Layer]:
    """Layers of an image, lazily read: one for each channel."""
    axes = "".join(axis for axis in source.axes if axis != "C")
    channels = source.size_of("C") if "C" in source.axes else 1
    look: dict[str, Any] = {
        "scale": [source.scale.get(axis) or 1.0 for axis in axes], "axis_labels": tuple(axis.lower() for axis in axes),
        "units": [UNITS[axis] if axis in UNITS and source.scale.get(axis) else "pixel" for axis in axes],
    }  # fmt: skip
    found: list[Layer] = []
    for channel in range(channels):
        name = source.name if channels == 1 else f"{source.name} {channel_name(source, channel)}"
        colour = "gray" if channels == 1 else COLOURS[channel % len(COLOURS)]
        blending = "translucent" if channels == 1 else "additive"
        found.append(
            (pixels(source, channel), look | {"name": name, "colormap": colour, "blending": blending}, "image")
        )
    return found


def channel_name(source: Source, channel: int) -> str:
    """Its name in the file, or its number."""
    names = source.channel_names or ()
    return names[channel] if channel < len(names) and names[channel] else str(channel)


def pixels(source: Source, channel: int) -> Any:
    """A channel as an array that is read plane by plane, when it is looked at."""
    import dask.array as da

    c = source.axes.index("C") if "C" in source.axes else None
    shape = [size for axis, size in zip(source.axes, source.shape, strict=True) if axis != "C"]
    deep = len(shape) - 2
    chunks = [*[(1,) * size for size in shape[:deep]], (shape[-2],), (shape[-1],)]

    def block(block_info: Any = None) -> Any:
        index = [slice(*part) for part in block_info[None]["array-location"]]
        if c is not None:
            index.insert(c, slice(channel, channel + 1))
        part = source.read(tuple(index))
        return part if c is None else part.take(0, axis=c)

    return da.map_blocks(block, chunks=chunks, dtype=source.dtype, meta=np.zeros((0,) * len(shape), source.dtype))


def sample() -> list[Layer]:
    """A synthetic noisy image of cells."""
    from noisewise.noise.camera import Camera
    from noisewise.scenes.demonstration import draw_cells

    noisy = Camera(gain=2.2, read_noise=1.6, offset=100, bits=16).expose(draw_cells(0), seed=0)
    look = {
        "name": "noisy cells",
        "scale": (PIXEL_UM, PIXEL_UM),
        "units": ("micrometer",) * 2,
        "axis_labels": ("y", "x"),
    }
    return [(noisy, look, "image")]
