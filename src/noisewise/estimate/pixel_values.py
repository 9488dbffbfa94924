"""What a detector and a file format leave in the pixels: limits, steps, stretching, hot pixels, compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from noisewise.axes import Array
from noisewise.estimate.dct_blocks import transform

CLIPPED = 0.0005  # of the pixels at one end value: below it, chance
SPIKE = 3.0  # times as many pixels at the end value as at the next one
COMB = 0.15  # relative unevenness of neighbouring grey levels, above which the grey values were stretched
HOT = 8.0  # standard deviations above the median of the neighbours
JPEG_EXCESS = 0.1  # more vanishing coefficients on the grid of a JPEG than beside it
ROUNDED = 0.6  # grey steps: what rounding leaves of a coefficient that was zero
MOST_VALUES = 2**16


@dataclass(frozen=True)
class Limit:
    """A value at which the image is clipped, ADU, and the share of pixels there."""

    value: float
    fraction: float


@dataclass(frozen=True)
class PixelValues:
    """How values are stored: step between grey values (0: continuous), clipping at either end, stretched afterwards."""

    step: float
    low: Limit | None
    high: Limit | None
    stretched: bool


def look_at_values(images: Sequence[Array], dtype: np.dtype[Any]) -> PixelValues:
    """Step, limits and comb of the grey values of finite pixels (any shapes)."""
    values, counts = np.unique(np.concatenate([image[np.isfinite(image)] for image in images]), return_counts=True)
    step = step_of(values)
    total = int(counts.sum())
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    low = clipping(values, counts, total, None if limits is None else float(limits.min))
    high = clipping(values[::-1], counts[::-1], total, None if limits is None else float(limits.max))
    return PixelValues(step, low, high, bool(step) and uneven(values, counts, step) > COMB)


def step_of(values: Array) -> float:
    """Largest step of which all values are multiples away from the lowest; 0 for continuous values."""
    gaps = np.diff(values.astype(np.float64))
    if len(gaps) < 1 or len(values) > MOST_VALUES:
        return 0.0
    if np.array_equal(values, np.rint(values)):
        return float(np.gcd.reduce(np.diff(values).astype(np.int64)))
    step = float(gaps.min())
    multiples = gaps / step
    exact = np.abs(multiples - np.rint(multiples)) < 1e-3 * np.maximum(1.0, multiples)
    return step if exact.all() and np.ptp(values) / step < MOST_VALUES else 0.0


def clipping(values: Array, counts: Array, total: int, limit: float | None) -> Limit | None:
    """The end value if pixels pile up there: at the type's limit, or far more than at the values beside it."""
    for i in range(min(2, len(values) - 1)):  # a few stray pixels may lie beyond
        share = counts[i] / total
        piled = counts[i] > SPIKE * counts[i + 1] and counts[:i].sum() < 0.01 * counts[i]
        if share >= CLIPPED and (piled or (i == 0 and values[0] == limit)):
            return Limit(float(values[i]), float(share))
    return None


def uneven(values: Array, counts: Array, step: float) -> float:
    """How much neighbouring grey levels differ in number, beyond chance: 0 when smooth, about 1 for a comb."""
    position = np.rint((values - values[0]) / step).astype(np.int64)
    low, high = np.searchsorted(np.cumsum(counts), np.array([0.02, 0.9]) * counts.sum())
    if position[high] - position[low] < 12 or position[high] - position[low] > 4096:
        return 0.0
    histogram = np.zeros(position[high] - position[low] + 1)
    inside = (position >= position[low]) & (position <= position[high])
    histogram[position[inside] - position[low]] = counts[inside]
    smooth = sliding_window_view(histogram, 5).mean(1)
    if smooth.min() < 50:
        return 0.0
    deviation = histogram[2:-2] / smooth - 1
    return float(np.sqrt(max(np.median(deviation**2) / 0.45 - (1 / smooth).mean(), 0.0)))


def hot_pixels(image: Array, std: Array) -> float:
    """Share of pixels that stand alone far above the median of their eight neighbours; std: of the noise, ADU."""
    around = np.pad(image, 1, mode="reflect")
    windows = sliding_window_view(around, (3, 3)).reshape(*image.shape, 9)
    ring = np.sort(np.delete(windows, 4, -1), -1)
    lonely = (image - ring[..., 3:5].mean(-1) > HOT * std) & (image - ring[..., 7] > 0.6 * HOT * std)
    return float(lonely.mean())


def looks_like_jpeg(image: Array, step: float) -> bool:
    """Whether coefficients vanish in 8 x 8 blocks on the grid of a JPEG, and not in blocks beside it."""
    if not step or min(image.shape) < 24:
        return False
    return vanishing(image, step) > vanishing(image[4:, 4:], step) + JPEG_EXCESS


def vanishing(image: Array, step: float) -> float:
    """Share of the high-frequency coefficients of 8 x 8 blocks that are zero but for rounding."""
    rows, columns = (size // 8 for size in image.shape)
    blocks = image[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2)
    return float((np.abs(transform(blocks)[..., 4:, 4:]) < ROUNDED * step).mean())
