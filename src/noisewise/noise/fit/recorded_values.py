"""The grey levels of a recording: their step, and where they are cut off."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.noise.quantization import Quantization

COUNTED = 16  # bits: the levels of longer integers and of floats are not counted
PILE = 10.0  # times as many pixels at the outermost level as at those next to it: it holds what was cut off
FEWEST = 20  # pixels at a limit that lies within the pixel type's range
NEXT = 10  # levels beside the outermost that it is compared with
STEPS = 64  # the largest step that is looked for


class Values:
    """Collects the values of frames: `digital` says how they were made whole and cut off."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype, self.whole = dtype, True
        self.low, self.high = np.inf, -np.inf
        self.counts: Array | None = None
        self.base = 0
        if dtype.kind in "iu" and dtype.itemsize * 8 <= COUNTED:
            limits = np.iinfo(dtype)
            self.base, self.counts = limits.min, np.zeros(limits.max - limits.min + 1, np.int64)

    def add(self, frame: Array) -> None:
        """Count the values of a frame (float64)."""
        self.low, self.high = min(self.low, frame.min()), max(self.high, frame.max())
        if self.counts is not None:
            found = np.bincount(frame.ravel().astype(np.int64) - self.base)
            self.counts[: len(found)] += found
        elif self.whole:
            self.whole = bool((frame == np.rint(frame)).all())

    @property
    def quantization(self) -> Quantization:
        """Step and limits; limits of floats are those that show as a pile of equal values."""
        if not self.whole:
            return Quantization()
        if self.counts is None:
            return Quantization(1.0)
        levels = np.flatnonzero(self.counts)
        step = int(np.gcd.reduce(levels + self.base))
        step = step if 1 < step <= STEPS and len(levels) > 2 * NEXT else 1
        return Quantization(float(step), self._limit(levels), self._limit(levels[::-1]))

    def _limit(self, levels: Array) -> float:
        """The limit at the first of these levels if values pile up there, else that of the pixel type."""
        assert self.counts is not None
        first, beside = self.counts[levels[0]], self.counts[levels[1 : 1 + NEXT]]
        limits = np.iinfo(self.dtype)
        upper = len(levels) > 1 and levels[0] > levels[1]
        if first >= FEWEST and len(beside) == NEXT and first > PILE * beside.mean():
            return float(levels[0] + self.base)
        return float(limits.max if upper else limits.min)
