"""Copies of one scene as inputs and targets of each other: pairs of files, or repeats along the time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from noisewise.axes import Array, Layout, Region
from noisewise.data.copies import Relation, relation
from noisewise.data.images import fill
from noisewise.errors import UserError
from noisewise.io.base import Source

COMPARED = 4  # single images of a file that are compared with their copies

Pairs = list[tuple[Source, Source]]


@dataclass
class Copy(Source):
    """One copy in the units of the first: (x − offset) / gain for each channel.

    of: the file. frame: index of the repeat along T, or None for the whole file.
    """

    of: Source = field(kw_only=True)
    frame: int | None = field(default=None, kw_only=True)
    gain: Array = field(default_factory=lambda: np.ones(1), kw_only=True)
    offset: Array = field(default_factory=lambda: np.zeros(1), kw_only=True)

    @classmethod
    def make(cls, of: Source, frame: int | None = None) -> Copy:
        """Create a copy with gain 1 and offset 0."""
        kept = [(axis, n) for axis, n in zip(of.axes, of.shape, strict=True) if frame is None or axis != "T"]
        name = of.name if frame is None else f"{of.name}, repeat {frame}"
        axes, shape = "".join(axis for axis, _ in kept), tuple(n for _, n in kept)
        return cls(name, axes, shape, np.dtype(np.float32), of.scale, of.channel_names, of=of, frame=frame)

    def read(self, region: Region | None = None) -> Array:
        region = region or self.everything
        if self.frame is None:
            raw = self.of.read(region)
        else:
            at = self.of.axes.index("T")
            raw = self.of.read((*region[:at], slice(self.frame, self.frame + 1), *region[at:])).squeeze(at)
        gain, offset = (self._along_channels(values, region) for values in (self.gain, self.offset))
        return np.asarray((raw - offset) / gain, np.float32)

    @property
    def saturation_level(self) -> Array:
        return np.asarray((self.of.saturation_level - self.offset) / self.gain, np.float32)

    def unsaturated(self, region: Region | None = None) -> Array:
        """Read a region (default: all) with NaN for saturated pixels, as a target or for comparing copies."""
        pixels = self.read(region)
        level = self._along_channels(self.saturation_level, region or self.everything)
        return np.where(pixels == level, np.float32(np.nan), pixels)

    def _along_channels(self, values: Array, region: Region) -> Array:
        """One value for each channel, shaped to broadcast against the pixels of a region."""
        part = region[self.axes.index("C")] if "C" in self.axes else slice(0, 1)
        shape = [-1 if axis == "C" else 1 for axis in self.axes]
        return np.broadcast_to(values, self.of.size_of("C"))[part].reshape(shape)


@dataclass
class MeanOf(Source):
    """The mean of copies; NaN where any of them is saturated."""

    copies: list[Copy] = field(kw_only=True)

    @classmethod
    def make(cls, copies: Sequence[Copy]) -> Source:
        """Create the mean; a single copy keeps its name."""
        first = copies[0]
        name = first.name if len(copies) == 1 else f"mean of {len(copies)} repeats of {first.of.name}"
        return cls(name, first.axes, first.shape, first.dtype, first.scale, first.channel_names, copies=list(copies))

    def read(self, region: Region | None = None) -> Array:
        return np.asarray(np.mean([copy.unsaturated(region) for copy in self.copies], 0), np.float32)


def pairs_of(noisy: Sequence[Source], targets: Sequence[Source], method: str) -> tuple[Pairs, list[str]]:
    """Pair each copy with the mean of all other copies of its scene, as input and target; also returns warnings.

    noisy: images. targets: a second copy of each, or none if the T axis of the images holds the repeats. method: its
    name, for messages.

    Errors: `UserError` for missing copies, different shapes, or identical copies.
    """
    pairs: Pairs = []
    notes: list[str] = []
    for i, source in enumerate(noisy):
        if targets:
            copies = [Copy.make(source), Copy.make(targets[i])]
        else:
            copies = [Copy.make(source, t) for t in range(source.size_of("T"))]
        if len(copies) < 2:
            raise UserError(
                f"{source.name}: method '{method}' needs a second noisy image as target, or repeats of one scene along "
                f"the axis T (has axes {source.axes}); give a target, or axes if they are wrong"
            )
        for copy in copies[1:]:
            notes += adjust(copies[0], copy)
        pairs += [(copy, MeanOf.make([other for other in copies if other is not copy])) for copy in copies]
    return pairs, list(dict.fromkeys(notes))


def adjust(first: Copy, second: Copy) -> list[str]:
    """Set gain and offset of the second to the units of the first; returns warnings.

    Errors: `UserError` for different shapes and for identical copies.
    """
    if first.shape != second.shape:
        raise UserError(
            f"{second.name}: the target's shape {second.shape} differs from {first.name}'s {first.shape}; give one "
            f"target of the same shape for each image"
        )
    found = relations(first, second)
    if all(part.identical for channel in found for part in channel):
        raise UserError(found[0][0].warnings(first.name, second.name)[0])
    middles = [sorted(channel, key=lambda part: part.correction)[len(channel) // 2] for channel in found]
    second.gain, second.offset = (np.array(values) for values in zip(*(m.correction for m in middles), strict=True))
    return [note for part in middles for note in part.warnings(first.name, second.name)]


def relations(first: Copy, second: Copy) -> list[list[Relation]]:
    """Compare some single images of two copies, channel by channel."""
    spatial = "ZYX" if first.size_of("Z") > 1 else "YX"
    layout = Layout(first.axes, spatial)
    found: list[list[Relation]] = [[] for _ in range(first.size_of("C"))]
    for region in islice(layout.images(first.shape), COMPARED):
        one, two = (fill(layout.to_network(copy.unsaturated(region))[0])[0] for copy in (first, second))
        for channel, (a, b) in enumerate(zip(one, two, strict=True)):
            found[channel].append(relation(a, b))
    return found
