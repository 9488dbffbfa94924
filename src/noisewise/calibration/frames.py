"""A recording: frames of one scene, in one file or several, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.io import checksum, find_inputs, open_source
from noisewise.io.base import Source
from noisewise.io.files import is_zarr, user_path
from noisewise.noise.quantization import Quantization
from noisewise.version import __version__


@dataclass(frozen=True)
class Frames:
    """Frames (Y, X) of one or several images of equal size; further axes are concatenated along Y.

    axis: the axis of the frames in each source, "" for a single frame.
    """

    sources: list[Source]
    axis: list[str]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def counts(self) -> list[int]:
        """Number of frames of each source."""
        return [source.size_of(axis) if axis else 1 for source, axis in zip(self.sources, self.axis, strict=True)]

    def __iter__(self) -> Iterator[Array]:
        """One frame after the other, float64; only one is in memory. Errors: `UserError` for NaN."""
        number = 0
        for source, axis, count in zip(self.sources, self.axis, self.counts, strict=True):
            for index in range(count):
                frame = read_frame(source, axis, index)
                if not np.isfinite(frame).all():
                    raise UserError(f"{source.name}: frame {number} holds NaN or infinite pixels; leave it out")
                yield frame
                number += 1

    @property
    def name(self) -> str:
        """Name of the first source, and how many more there are."""
        more = len(self.sources) - 1
        return self.sources[0].name + (f" and {more} more" if more else "")

    @property
    def paths(self) -> list[Path]:
        """The files; empty for arrays."""
        return [source.path for source in self.sources if source.path is not None]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of the first source."""
        return self.sources[0].dtype


def open_frames(stack: Any, axes: str | None = None) -> Frames:
    """Open a file or an array with a frame axis, or a folder or a list of files with one or more frames each.

    The frame axis is T; without it another axis of repeats, or, if there is none, Z.

    Errors: `UserError` for several channels, frames of different sizes, and what cannot be read.
    """
    sources = [open_source(image, axes) for image in list_images(stack)]
    frame_axes = [frame_axis(source.axes) for source in sources]
    first = frame_shape(sources[0], frame_axes[0])
    for source, axis in zip(sources, frame_axes, strict=True):
        if source.size_of("C") > 1:
            raise UserError(
                f"{source.name}: has {source.size_of('C')} channels, each with its own noise; "
                "save the channels separately and give one"
            )
        shape = frame_shape(source, axis)
        if shape != first:
            raise UserError(
                f"{source.name}: frames of {shape[0]} x {shape[1]} pixels, but those of {sources[0].name} have "
                f"{first[0]} x {first[1]}; give frames of one size"
            )
    return Frames(sources, frame_axes, first)


def list_images(stack: Any) -> list[Any]:
    """The images of a recording: one, those of a folder, or those of a list."""
    if isinstance(stack, str | Path) and user_path(stack).is_dir() and not is_zarr(user_path(stack)):
        return list(find_inputs([stack]))
    if isinstance(stack, list | tuple) and stack and all(isinstance(part, str | Path | np.ndarray) for part in stack):
        return list(stack)
    return [stack]


def frame_axis(axes: str) -> str:
    """The axis along which the scene is repeated; "" for a single frame."""
    batch = [axis for axis in axes if axis not in "CZYX"]
    return next((axis for axis in ("T", *batch, "Z") if axis in axes), "")


def frame_shape(source: Source, axis: str) -> tuple[int, int]:
    """Rows and columns of a frame."""
    columns = source.size_of("X")
    size = int(np.prod([n for letter, n in zip(source.axes, source.shape, strict=True) if letter != axis]))
    return size // (columns * source.size_of("C")), columns


def read_frame(source: Source, axis: str, index: int) -> Array:
    """One frame, (Y, X), float64."""
    region = tuple(
        slice(index, index + 1) if letter == axis else slice(0, size)
        for letter, size in zip(source.axes, source.shape, strict=True)
    )
    order = [*(i for i, letter in enumerate(source.axes) if letter not in "YX"), *map(source.axes.index, "YX")]
    frame = source.read(region).transpose(order)
    return np.asarray(frame.reshape(-1, source.size_of("X")), np.float64)


def provenance_of(
    frames: Frames, kind: str, signal_range: tuple[float, float], quantization: Quantization
) -> dict[str, Any]:
    """The common part of the provenance of a noise model that was fitted to frames, ready for JSON."""
    return {
        "software": f"noisewise {__version__}",
        "kind": kind,
        "sha256": [checksum(path) for path in dict.fromkeys(frames.paths)],
        "frames": len(frames),
        "signal_range": list(signal_range),
        "quantization": asdict(quantization),
    }
