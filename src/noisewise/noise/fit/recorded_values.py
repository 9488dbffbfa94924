"""Quantization of a recording: the step of its pixel values and their limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.noise.quantization import Quantization

COUNTED_BITS = 16  # values of longer integers and of floats are not counted
PILE_UP = 10.0  # pixels at the outermost value relative to the next ones: more are clipped pixels
FEWEST = 20  # pixels at a limit inside the range of the pixel type
NEXT = 10  # values next to the outermost that it is compared with
MAX_STEP = 64


class RecordedValues:
    """Collects the pixel values of frames of one pixel type; `quantization` describes their rounding and clipping."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype, self.integer = dtype, True
        self.low, self.high = np.inf, -np.inf
        self.counts: Array | None = None
        self.base = 0
        if dtype.kind in "iu" and dtype.itemsize * 8 <= COUNTED_BITS:
            limits = np.iinfo(dtype)
            self.base, self.counts = limits.min, np.zeros(limits.max - limits.min + 1, np.int64)

    def add(self, frame: Array) -> None:
        """Count the values of a frame (float64)."""
        self.low, self.high = min(self.low, frame.min()), max(self.high, frame.max())
        if self.counts is not None:
            found = np.bincount(frame.ravel().astype(np.int64) - self.base)
            self.counts[: len(found)] += found
        elif self.integer:
            self.integer = bool((frame == np.rint(frame)).all())

    @property
    def quantization(self) -> Quantization:
        """Step and limits (ADU); none for fractions, and no limits for values that are not counted."""
        if not self.integer:
            return Quantization()
        if self.counts is None:
            return Quantization(1.0)
        values = np.flatnonzero(self.counts)
        step = int(np.gcd.reduce(values + self.base))
        step = step if 1 < step <= MAX_STEP and len(values) > 2 * NEXT else 1
        return Quantization(float(step), self._limit(values), self._limit(values[::-1]))

    def _limit(self, values: Array) -> float:
        """The first of these values if clipped pixels pile up there, else the limit of the pixel type."""
        assert self.counts is not None
        first, beside = self.counts[values[0]], self.counts[values[1 : 1 + NEXT]]
        limits = np.iinfo(self.dtype)
        upper = len(values) > 1 and values[0] > values[1]
        if first >= FEWEST and len(beside) == NEXT and first > PILE_UP * beside.mean():
            return float(values[0] + self.base)
        return float(limits.max if upper else limits.min)
