"""Source and Sink: an image that is read lazily by region, and one that is written by region."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from noisewise.axes import LETTERS, Array, Region, parse_axes, whole
from noisewise.errors import UserError
from noisewise.io.files import fingerprint

JPEG_NOTE = "JPEG compression has altered the noise, so the result is uncertain; use the original recording"
SPARE_LETTERS = "SABDEFGHIJKLMNOPQRUVW"


@dataclass(frozen=True)
class Acquisition:
    """When and where an image was recorded, as far as the file says.

    date: ISO 8601. stage_um: position of the stage by axis, µm. times_s: of the frames, or of all planes
    (Z within T), from the beginning, s.
    """

    date: str = ""
    stage_um: Mapping[str, float] = field(default_factory=dict)
    times_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class HotPixels:
    """Which pixels are hot, or dead: by the standard deviation of the noise (ADU) at several signals (ADU).

    least: smallest difference from the background, ADU. fraction: of the pixels that are.
    """

    signal: Array
    std: Array
    least: float
    fraction: float = 0.0


@dataclass(frozen=True)
class NotLight:
    """What is known of an image: values that fill parts of it, and its hot pixels, each by channel.

    empty: channels that hold nothing but such values. left_out: channels that are not chosen. ignore: value of pixels
    that the user excludes. mask: image that is zero where the user excludes pixels.
    """

    fill: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    hot: Mapping[int, HotPixels] = field(default_factory=dict)
    empty: frozenset[int] = frozenset()
    left_out: frozenset[int] = frozenset()
    ignore: float | None = None
    mask: Source | None = None


@dataclass
class Source(ABC):
    """An image that is read lazily by region.

    name: for messages. shape: number of pixels along each axis. dtype: pixel type. path: the file; None for an array.
    axes: letters from `STCZYX`, one per dimension; batch axes other than `S` and `T` get further letters, so that
    each axis has its own. scale: pixel size by axis letter, µm for Z, Y, X and seconds for T; axes of unknown scale are
    absent. channel_names: one per channel, or empty. notes: what a user should know about how the file was read.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: Mapping[str, float] = field(default_factory=dict)
    channel_names: list[str] = field(default_factory=list)
    path: Path | None = None
    notes: list[str] = field(default_factory=list)
    series: int | None = None
    """number of the image in its file, where that contains several"""
    in_file: int = 1
    """number of images in its file"""
    root: Path | None = field(default=None, repr=False)
    """the collection that the image is in, such as a plate: its folder"""
    files: list[Path] = field(default_factory=list, repr=False)
    """other files of the set of files that the image is in"""
    blank: list[Region] = field(default_factory=list, repr=False)
    """regions of planes that do not exist in the file and are read as zeros; one for each channel"""
    opened: tuple[int, int, int] | None = field(default=None, repr=False)
    """`fingerprint` of the file or folder when it was opened"""
    not_light: NotLight | None = field(default=None, repr=False)
    """pixels that are not light; None if they were not searched for"""
    acquisition: Acquisition = field(default_factory=Acquisition, repr=False)
    """when and where it was recorded"""
    line_displacement: float = 0.0
    """pixels along X by which odd lines are displaced, as in bidirectional scans"""

    def check_unchanged(self) -> None:
        """Errors: `UserError` if the file or folder has changed since it was opened."""
        if self.path is not None and self.opened is not None and fingerprint(self.path) != self.opened:
            raise UserError(
                f"{self.path}: changed while it was read, so the result would be wrong; run again when it is complete"
            )

    @abstractmethod
    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region (default: all), in the source's axes and dtype, as a copy.

        region: one slice per axis, in pixels. Errors: `UserError` if the file cannot be read.
        """

    @property
    def has_labels(self) -> bool:
        """Whether the image is an array with named dimensions, which `labelled` gives to its results too."""
        return False

    def labelled(self, pixels: Array, new: str = "sample") -> Any:  # noqa: ARG002
        """A result in the kind of array that the image is given as.

        pixels: in the shape of the image, or with a further first axis, which gets the name `new`.
        """
        return pixels

    def release(self) -> None:
        """Release decoded pixels that are kept for the next read; it decodes them again."""
        release = getattr(getattr(self, "array", None), "release", None)  # of `Decoded`
        if release is not None:
            release()

    def close(self) -> None:  # noqa: B027  (most sources hold nothing open)
        """Close the files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def everything(self) -> Region:
        """The region that covers the whole image."""
        return whole(self.shape)

    @property
    def saturation_level(self) -> Any:
        """The pixel value, or that of each channel, at which the camera saturates; NaN for floats."""
        return np.iinfo(self.dtype).max if np.issubdtype(self.dtype, np.integer) else np.nan

    def size_of(self, axis: str) -> int:
        """Length along an axis; 1 for an axis that the image does not have."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


class Sink(ABC):
    """An image that is written by region, under a temporary name until it is complete.

    A context manager: leaving it normally renames the file into place; an exception removes what was written.

    dtype: pixel type of the output; pixels that are written are converted to it.
    """

    dtype: np.dtype[Any]

    @abstractmethod
    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels of any real dtype into a region, rounded and clipped to the sink's dtype.

        region: one slice per axis, in pixels. pixels: in the shape of the region.

        Errors: `UserError` if the file cannot be written.
        """

    @abstractmethod
    def commit(self) -> None:
        """Finish, flush and rename into place."""

    @abstractmethod
    def discard(self) -> None:
        """Remove everything that was written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.commit()
        except BaseException:
            self.discard()
            raise


def to_dtype(pixels: Array, dtype: np.dtype[Any]) -> Array:
    """Cast pixels; integers are rounded half to even and clipped to the range, never wrapped; NaN becomes 0."""
    if pixels.dtype == dtype:
        return pixels
    if dtype.kind in "iu":
        return _clip_integers(pixels, dtype) if pixels.dtype.kind in "iu" else _round(pixels, dtype)
    if pixels.dtype.kind == "f" and pixels.dtype.itemsize > dtype.itemsize:
        limits = np.finfo(dtype)
        pixels = np.clip(pixels, limits.min, limits.max)
    cast: Array = pixels.astype(dtype, copy=False)
    return cast


def _clip_integers(pixels: Array, dtype: np.dtype[Any]) -> Array:
    have, want = np.iinfo(pixels.dtype), np.iinfo(dtype)
    clipped: Array = np.clip(pixels, max(have.min, want.min), min(have.max, want.max))
    cast: Array = clipped.astype(dtype)
    return cast


def _round(pixels: Array, dtype: np.dtype[Any]) -> Array:
    limits = np.iinfo(dtype)
    # float64, since float32 cannot hold the largest 32-bit integers.
    values = np.nan_to_num(np.rint(pixels.astype(np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
    # float64 rounds the largest 64-bit integer up, out of its range: cast below it, then fill in.
    largest = float(limits.max)
    safe = largest if int(largest) == limits.max else float(np.nextafter(largest, 0))
    cast: Array = np.clip(values, limits.min, safe).astype(dtype)
    cast[values >= largest] = limits.max
    return cast


def owned(pixels: Any, dtype: np.dtype[Any]) -> Array:
    """Return a writable copy in native byte order, independent of the file or array it came from."""
    return np.array(pixels, dtype=dtype, order="C", copy=True)


def check_pixels(label: str, shape: tuple[int, ...], dtype: np.dtype[Any], axes: str = "") -> None:
    """Refuse what is not an image of real numbers.

    Errors: `UserError` for Boolean, complex, text, object and structured pixels, fewer than two dimensions,
    and axes of length zero.
    """
    if dtype.kind == "b":
        raise UserError(f"{label}: pixels are Boolean: a mask has no noise to remove; give the image itself")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UserError(f"{label}: pixels of type {dtype} are not an image; convert to integers or float32")
    if len(shape) < 2:
        raise UserError(f"{label}: an image needs at least two dimensions, this one has shape {tuple(shape)}")
    for position, size in enumerate(shape):
        if size == 0:
            axis = axes[position] if position < len(axes) else str(position)
            raise UserError(f"{label}: axis {axis} has length zero: the image has no pixels (shape {shape})")


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Add the name of an image to an error that does not begin with it."""
    try:
        yield
    except UserError as error:
        if str(error).startswith(label):
            raise
        raise UserError(f"{label}: {error}") from None


def given_axes(label: str, axes: str, ndim: int) -> str:
    """Call `parse_axes`, with the file's name in the error."""
    with naming(label):
        return parse_axes(axes, ndim)


def unique_axes(names: str) -> str:
    """Give each axis its own letter: known letters stay, any other axis becomes a further batch axis."""
    letters = "".join(a if a in LETTERS and names.count(a) == 1 else "?" for a in names)
    for spare in SPARE_LETTERS:
        if spare not in letters:
            letters = letters.replace("?", spare, 1)
    if "?" in letters or not {"Y", "X"} <= set(letters):
        raise UserError(f"axes '{names}' do not name an image's Y and X; give axes")
    return letters


def letters_of(names: Sequence[str]) -> str:
    """Letters of axes that a file names. Samples of a pixel become channels, unless there are channels already; unknown
    axes are batch axes.
    """
    letters = "".join(name.upper() if len(name) == 1 else "?" for name in names)
    if "C" not in letters and letters.count("S") == 1:
        letters = letters.replace("S", "C")
    letters = "".join(letter if letter in "TCZYX" else "?" for letter in letters)
    if not {"Y", "X"} <= set(letters):
        letters = letters[:-2].replace("Y", "?").replace("X", "?") + "YX"
    return unique_axes(letters)
