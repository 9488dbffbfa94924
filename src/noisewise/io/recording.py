"""Recordings in the formats of microscopes: read by a library of the format, which is installed separately."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array, Region
from noisewise.errors import UserError, one_line
from noisewise.io.base import Acquisition, check_pixels, given_axes, letters_of
from noisewise.io.memory import MemorySource
from noisewise.io.pieces import Pieces
from noisewise.io.several import check_number, described, left_out, likeness, release, share


@dataclass(frozen=True)
class Recorded:
    """An image in a recording: the names of its axes as in the file, and how to read it.

    bits: of a pixel that the camera uses, if fewer than the pixel type has. notes: on how it was read. Others as in
    `Source`.
    """

    axes: Sequence[str]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    array: Any
    scale: dict[str, float] = field(default_factory=dict)
    channel_names: list[str] = field(default_factory=list)
    name: str = ""
    bits: int = 0
    acquisition: Acquisition = field(default_factory=Acquisition)
    notes: list[str] = field(default_factory=list)


@dataclass
class RecordingSource(MemorySource):
    """An image of a recording. users: the sources that share the open file; the last one closes it."""

    kind: str = ""
    bits: int = 0
    file: Any = field(default=None, repr=False)
    users: list[int] = field(default_factory=list, repr=False)

    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region (default: all). Errors: `UserError` if the file is damaged."""
        with reading(self.path or Path(self.name), self.kind):
            found = super().read(region)
        if self.bits and found.size and found.max() >= 2**self.bits:
            self.bits = 0  # such as a sum of frames: the file is wrong about it
        return found

    @property
    def saturation_level(self) -> Any:
        """The pixel value at which the camera saturates; NaN for floats."""
        return 2**self.bits - 1 if self.bits and self.dtype.kind == "u" else super().saturation_level

    def close(self) -> None:
        """Close the file, if no other source uses it."""
        self.array = None
        release(self.users, id(self), self.file)


def library(path: Path, name: str, kind: str) -> Any:
    """The library of a format. Errors: `UserError` if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"{path}: {kind} files are read by the package {name}: pip install 'noisewise[formats]'"
        ) from error


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn the errors of a library into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory, or is damaged; copy it again") from error
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(
            f"{path}: cannot be read as {kind}: it is truncated, damaged or of another format ({reason}); copy it again"
        ) from error


def open_recording(
    path: Path, kind: str, begin: Callable[[], Any], describe: Callable[[Any], list[Recorded]], axes: str | None,
    series: int | None,
) -> list[RecordingSource]:  # fmt: skip
    """The images of a recording; without those of another pixel type or number of channels than the largest.

    begin: opens the file. describe: the open file -> its images. series: number of the only image to open.

    Errors: `UserError` for files that cannot be read, and what is not an image.
    """
    file = None
    try:
        with reading(path, kind), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = begin()
            every = describe(file)
        if not every:
            raise UserError(f"{path}: contains no image")
        numbers = [series] if series is not None else data_of(every)
        check_number(path, numbers[0], len(every))
        sources = [_open(path, kind, every[number], axes) for number in numbers]
        others = {
            i: described(one.shape, one.dtype) for i, one in enumerate(every) if i not in numbers and series is None
        }
        sources[0].notes += left_out(path, others)
    except BaseException:
        if file is not None:
            with suppress(Exception):
                file.close()
        raise
    lock = threading.Lock()
    for array in (source.array for source in sources if isinstance(source.array, Pieces)):
        array.lock = lock
    share(file, sources, sources)
    for number, source in zip(numbers, sources, strict=True):
        source.file = file
        if len(every) > 1:
            source.series, source.in_file = number, len(every)
            source.name += f", {every[number].name or f'series {number}'}" if len(sources) > 1 else ""
    return sources


def data_of(every: Sequence[Recorded]) -> list[int]:
    """Numbers of the images that are like the largest one."""
    kinds = [likeness(one.axes, one.shape, one.dtype) for one in every]
    largest = max(range(len(every)), key=lambda i: prod(every[i].shape))
    return [i for i, kind in enumerate(kinds) if kind == kinds[largest]]


def _open(path: Path, kind: str, one: Recorded, axes: str | None) -> RecordingSource:
    dtype = one.dtype.newbyteorder("=")
    stated = letters_of(one.axes)
    check_pixels(str(path), one.shape, dtype)
    letters = stated if axes is None else given_axes(str(path), axes, len(one.shape))
    scale = {axis: float(size) for axis, size in one.scale.items() if size > 0 and axis in letters}
    channels = one.channel_names if letters.find("C") == stated.find("C") else []
    if len(channels) != (one.shape[letters.index("C")] if "C" in letters else 1):
        channels = []
    source = RecordingSource(path.name, letters, one.shape, dtype, scale, channels, path, array=one.array)
    source.kind, source.acquisition = kind, one.acquisition
    source.notes += one.notes if axes is None else []
    source.bits = one.bits if 0 < one.bits < 8 * dtype.itemsize else 0
    return source
