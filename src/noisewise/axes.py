"""Axis letters, regions and array layout, used by all other modules.

Letters: `T` time, `C` channel, `Z`, `Y`, `X` space, `S` samples (independent images). An axis that is neither `C` nor
one of the network's spatial axes is a batch axis: its images are denoised one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from shlex import quote
from typing import Any, TypeVar

import numpy as np

from noisewise.errors import UserError

LETTERS = "STCZYX"
OFTEN = {1: ("Z", "T"), 2: ("TZ", "TC"), 3: ("TZC", "TCZ")}  # axes before YX, by their number
Region = tuple[slice, ...]
T = TypeVar("T")
Array = np.ndarray[Any, np.dtype[Any]]


def parse_axes(text: str, ndim: int) -> str:
    """Check the axes that a user gives against the number of dimensions; returns them in upper case.

    Errors: `UserError` as `check_letters`, or for a wrong number of letters.
    """
    axes = check_letters(text)
    if len(axes) != ndim:
        raise UserError(f"axes '{text}' name {len(axes)} dimensions, but the image has {ndim}; give a letter for each")
    return axes


def check_letters(text: str) -> str:
    """Axes in upper case. Errors: `UserError` for unknown or repeated letters, or a missing `Y` or `X`."""
    axes = text.upper()
    unknown = sorted(set(axes) - set(LETTERS))
    if unknown:
        raise UserError(f"axes '{text}': unknown letter '{unknown[0]}'; use letters from {LETTERS}")
    repeated = [letter for letter in LETTERS if axes.count(letter) > 1]
    if repeated:
        raise UserError(f"axes '{text}': letter '{repeated[0]}' is repeated; each axis needs its own letter")
    if not {"Y", "X"} <= set(axes):
        raise UserError(f"axes '{text}': Y and X are required; give letters such as YX, TYX or CZYX")
    return axes


def guess_axes(shape: Sequence[int]) -> str:
    """Axes of an array without metadata: YX, SYX, SZYX or TCZYX by the number of dimensions, then C for RGB(A).

    A 3D array is taken as independent 2D images, so that planes that may not be adjacent are never mixed.

    Errors: `UserError` below two or above five dimensions.
    """
    ndim = len(shape)
    if 3 <= ndim <= 5 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4:
        return guess_axes(shape[:-1]) + "C"
    if not 2 <= ndim <= 5:
        raise UserError(f"an image needs 2 to 5 dimensions, this one has {ndim}; give axes or reshape it")
    return {2: "YX", 3: "SYX", 4: "SZYX", 5: "TCZYX"}[ndim]


def guess_notes(shape: Sequence[int], axes: str, name: str = "") -> list[str]:
    """What to say of axes that an image does not name, and that were guessed: nothing for a plane.

    name: of its file, for the command that names them.
    """
    if not any(axis in "STZ" for axis in axes):
        return []
    sizes = " x ".join(map(str, shape))
    lead = axes.index("Y")
    stack, series = OFTEN[min(lead, 3)]
    tail = "YX" + "C" * axes.endswith("C")
    how = f"noisewise denoise {quote(name)} --axes {stack}{tail}" if name else f"axes='{stack}{tail}'"
    meaning = " (S: separate images)" if "S" in axes else ""
    return [
        f"the dimensions ({sizes}) are not named and were taken as {axes}{meaning}; if they are others, give axes, such"
        f" as {stack}{tail} or {series}{tail} (Z: depth, T: time, C: channel): {how}"
    ]


def evenly(items: Sequence[T], most: int) -> list[T]:
    """Some of the items, at most this number, evenly spread from the first to the last."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))]


def whole(shape: Sequence[int]) -> Region:
    """The region that covers an array of this shape."""
    return tuple(slice(0, size) for size in shape)


def region_shape(region: Sequence[slice]) -> tuple[int, ...]:
    """Shape of a region."""
    return tuple(part.stop - part.start for part in region)


@dataclass(frozen=True)
class Symmetry:
    """The flips and rotations of YX under which images remain equally likely.

    swap_yx: whether Y and X may be exchanged. no_flip_axes: axes along which images must not be flipped.
    """

    swap_yx: bool = True
    no_flip_axes: str = ""


@dataclass(frozen=True)
class Layout:
    """Conversion of an image with `axes` to the network's (N, C, *spatial) and back.

    `spatial` is `YX`, `ZYX` or `TYX`. N comprises all batch axes; C is 1 if the image has no channels, and so is the
    size of a spatial axis that it does not have.
    """

    axes: str
    spatial: str

    @property
    def batch(self) -> str:
        """The batch axes, in the image's order."""
        return "".join(axis for axis in self.axes if axis != "C" and axis not in self.spatial)

    @property
    def order(self) -> str:
        """The image's axes in the order of the network."""
        return self.batch + "".join(axis for axis in "C" + self.spatial if axis in self.axes)

    def to_network(self, image: Array) -> Array:
        """Convert (axes) to (N, C, *spatial), as a view if possible."""
        moved = image.transpose([self.axes.index(axis) for axis in self.order])
        sizes = dict(zip(self.axes, image.shape, strict=True))
        return moved.reshape(-1, *(sizes.get(axis, 1) for axis in "C" + self.spatial))

    def from_network(self, stack: Array, shape: Sequence[int]) -> Array:
        """Convert (N, C, *spatial) to an array of `shape` in the image's axes; inverse of `to_network`."""
        sizes = dict(zip(self.axes, shape, strict=True))
        ordered = stack.reshape([sizes[axis] for axis in self.order])
        return ordered.transpose([self.order.index(axis) for axis in self.axes])

    def images(self, shape: Sequence[int]) -> Iterator[Region]:
        """Regions of the single images (all channels) along the batch axes."""
        steps = [range(n) if a in self.batch else (None,) for a, n in zip(self.axes, shape, strict=True)]
        for index in product(*steps):
            yield tuple(slice(0, n) if i is None else slice(i, i + 1) for i, n in zip(index, shape, strict=True))

    def frame(self, image: Region, shape: Sequence[int]) -> int:
        """Number of the frame of a single image: its place along the batch axes other than Z."""
        number = 0
        for axis, part, size in zip(self.axes, image, shape, strict=True):
            if axis in self.batch and axis != "Z":
                number = number * size + part.start
        return number

    def within(self, image: Region, spatial: Region) -> Region:
        """Convert a spatial region of one single image to a region of the whole."""
        parts = dict(zip(self.spatial, spatial, strict=True))
        return tuple(parts.get(axis, part) for axis, part in zip(self.axes, image, strict=True))
