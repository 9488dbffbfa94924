"""What a detector and a file format do to pixel values: quantization, clipping, and stretching afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from noisewise.axes import Array
from noisewise.noise.quantization import Quantization

MIN_CLIPPED = 0.0005  # of the pixels at one end value: fewer are chance
PILE = 3.0  # times as many pixels at the end value as at the next one
STRETCHED = 0.15  # relative unevenness of the histogram, above which the values were stretched
FEWEST = 20  # pixels at a limit
MAX_VALUES = 2**16
MAX_COUNTED = 2**21  # pixels


@dataclass(frozen=True)
class Limit:
    """A value at which the image is clipped, ADU, and the fraction of pixels there."""

    value: float
    fraction: float


@dataclass(frozen=True)
class PixelValues:
    """How pixel values are stored: quantization step (ADU; 0: continuous), clipping at either end, stretching."""

    step: float
    low: Limit | None
    high: Limit | None
    stretched: bool

    @property
    def quantization(self) -> Quantization:
        """Step and limits (ADU)."""
        low, high = (None if limit is None else limit.value for limit in (self.low, self.high))
        return Quantization(self.step, low, high)


class PixelValueCounter:
    """Counts the pixel values of images of one pixel type, one after another; `measure` says how they are stored.

    Values of integers up to 16 bits are counted all, others up to a number of pixels.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.base, self.limits = 0, Quantization()
        self.counts: Array | None = None
        self.others: list[Array] = []
        if dtype.kind in "iu":
            self.base, last = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
            self.limits = Quantization(1.0, float(self.base), float(last))
            self.counts = np.zeros(MAX_VALUES, np.int64) if dtype.itemsize <= 2 else None

    def add(self, image: Array) -> None:
        """Count the finite values of an image (float64, any shape)."""
        values = image[np.isfinite(image)]
        if self.counts is not None:
            found = np.bincount(values.astype(np.int64) - self.base)
            self.counts[: len(found)] += found
        elif sum(map(len, self.others)) < MAX_COUNTED:
            self.others.append(values)

    def measure(self, fewest: float = MIN_CLIPPED) -> PixelValues:
        """Quantization step, clipping limits and stretching. fewest: fraction of the pixels at a limit."""
        if self.counts is None:
            values, counts = np.unique(np.concatenate(self.others), return_counts=True)
        else:
            values = np.flatnonzero(self.counts)
            counts, values = self.counts[values], (values + self.base).astype(np.float64)
        step = quantization_step(values)
        return PixelValues(
            step,
            clipping_limit(values, counts, self.limits.low, fewest),
            clipping_limit(values[::-1], counts[::-1], self.limits.high, fewest),
            bool(step) and histogram_unevenness(values, counts, step) > STRETCHED,
        )

    @property
    def quantization(self) -> Quantization:
        """That of a recording: a few clipped pixels are enough, and the pixel type has limits too."""
        found = self.measure(fewest=0.0).quantization
        if self.counts is None:
            return found
        low, high = self.limits.low if found.low is None else found.low, self.limits.high
        return replace(found, low=low, high=high if found.high is None else found.high)


def quantization_step(values: Array) -> float:
    """Largest step of which all values are multiples, counted from the lowest; 0 for continuous values."""
    gaps = np.diff(values.astype(np.float64))
    if len(gaps) < 1 or len(values) > MAX_VALUES:
        return 0.0
    if np.array_equal(values, np.rint(values)):
        return float(np.gcd.reduce(np.diff(values).astype(np.int64)))
    step = float(gaps.min())
    multiples = gaps / step
    exact = np.abs(multiples - np.rint(multiples)) < 1e-3 * np.maximum(1.0, multiples)
    return step if exact.all() and np.ptp(values) / step < MAX_VALUES else 0.0


def clipping_limit(values: Array, counts: Array, type_limit: float | None, fewest: float) -> Limit | None:
    """The first value if clipped pixels pile up there: at the limit of the type, or far more than at the next value."""
    total = int(counts.sum())
    for i in range(min(2, len(values) - 1)):  # a few stray pixels may lie outside
        fraction = counts[i] / total
        piled = counts[i] > PILE * counts[i + 1] and counts[:i].sum() < 0.01 * counts[i]
        if fraction >= fewest and counts[i] >= FEWEST and (piled or (i == 0 and values[0] == type_limit)):
            return Limit(float(values[i]), float(fraction))
    return None


def histogram_unevenness(values: Array, counts: Array, step: float) -> float:
    """Relative deviation of the histogram from its moving average, without chance: 0 if smooth, about 1 for a comb."""
    position = np.rint((values - values[0]) / step).astype(np.int64)
    low, high = position[np.searchsorted(np.cumsum(counts), np.array([0.02, 0.9]) * counts.sum())]
    if high - low < 12 or high - low > 4096:
        return 0.0
    histogram = np.zeros(high - low + 1)
    inside = (position >= low) & (position <= high)
    histogram[position[inside] - low] = counts[inside]
    smooth = sliding_window_view(histogram, 5).mean(1)
    if smooth.min() < 50:
        return 0.0
    deviation = histogram[2:-2] / smooth - 1
    return float(np.sqrt(max(np.median(deviation**2) / 0.45 - (1 / smooth).mean(), 0.0)))
