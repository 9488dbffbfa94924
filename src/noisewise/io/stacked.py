"""Several images of a source's shape as one image, along an axis that the source does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array, Region
from noisewise.errors import counted
from noisewise.io.base import SPARE_LETTERS, Source

PREFERRED = "TCS"  # axes that viewers can step through and file formats can store


@dataclass
class Stacked(Source):
    """A source repeated along a new axis: shape and metadata of an image of samples.

    along: letter of the new axis: time if the source has none, else channel, else sample.
    """

    source: Source | None = None
    along: str = "T"

    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region (default: all)."""
        assert self.source is not None
        region = region or self.everything
        at = self.axes.index(self.along)
        once = self.source.read(tuple(part for axis, part in enumerate(region) if axis != at))
        return np.stack([once] * (region[at].stop - region[at].start), at)

    def place(self, region: Region, number: int) -> Region:
        """Region of the stack for a region of the source in the image with this number."""
        at = self.axes.index(self.along)
        return (*region[:at], slice(number, number + 1), *region[at:])


def stacked(source: Source, count: int) -> Stacked:
    """Repeat a source `count` times along a new axis."""
    along = next(letter for letter in PREFERRED + SPARE_LETTERS if letter not in source.axes)
    at = 1 if along == "C" and source.axes.startswith("T") else 0
    names = [f"sample {number + 1}" for number in range(count)] if along == "C" else source.channel_names
    return Stacked(
        f"{source.name}, {counted(count, 'sample')}", source.axes[:at] + along + source.axes[at:],
        (*source.shape[:at], count, *source.shape[at:]), source.dtype, source.scale, list(names), source.path,
        root=source.root, source=source, along=along,
    )  # fmt: skip
