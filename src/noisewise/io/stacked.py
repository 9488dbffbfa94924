"""Several images of one source's shape as a single one, along an axis that the source does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array, Region
from noisewise.io.base import SPARE_LETTERS, Source

PLACES = "TCS"  # what viewers let a user page through, and files can hold


@dataclass
class Stacked(Source):
    """The source so many times over: what an image of samples is made like; its pixels are the source's.

    along: letter of the new axis: time if the source has none, else channels, else samples.
    """

    source: Source | None = None
    along: str = "T"

    def read(self, region: Region | None = None) -> Array:
        """The pixels of a region (default: all)."""
        assert self.source is not None
        region = region or self.everything
        at = self.axes.index(self.along)
        once = self.source.read(tuple(part for axis, part in enumerate(region) if axis != at))
        return np.stack([once] * (region[at].stop - region[at].start), at)

    def place(self, region: Region, number: int) -> Region:
        """Where a region of the source lies in the image of this number."""
        at = self.axes.index(self.along)
        return (*region[:at], slice(number, number + 1), *region[at:])


def stacked(source: Source, count: int) -> Stacked:
    """A source so many times over."""
    along = next(letter for letter in PLACES + SPARE_LETTERS if letter not in source.axes)
    at = 1 if along == "C" and source.axes.startswith("T") else 0
    names = [f"sample {number + 1}" for number in range(count)] if along == "C" else source.channel_names
    return Stacked(
        f"{source.name}, {count} samples", source.axes[:at] + along + source.axes[at:],
        (*source.shape[:at], count, *source.shape[at:]), source.dtype, source.scale, list(names), source.path,
        source=source, along=along,
    )  # fmt: skip
