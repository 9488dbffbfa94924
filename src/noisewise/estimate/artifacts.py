"""Artifacts of a detector and of a file format: hot pixels and lossy compression."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from noisewise.axes import Array
from noisewise.estimate.dct_blocks import dct

HOT = 8.0  # standard deviations above the median of the neighbours
JPEG_EXCESS = 0.1  # more zero coefficients on the grid of a JPEG than beside it
ROUNDED = 0.6  # quantization steps: what rounding leaves of a coefficient that was zero


def hot_pixel_fraction(image: Array, std: Array) -> float:
    """Fraction of isolated pixels far above the median of their eight neighbours; std: of the noise, ADU."""
    padded = np.pad(image, 1, mode="reflect")
    windows = sliding_window_view(padded, (3, 3)).reshape(*image.shape, 9)
    neighbours = np.sort(np.delete(windows, 4, -1), -1)
    median, highest = neighbours[..., 3:5].mean(-1), neighbours[..., 7]
    return float(((image - median > HOT * std) & (image - highest > 0.6 * HOT * std)).mean())


def is_jpeg(image: Array, step: float) -> bool:
    """Whether high frequencies are zero in 8 x 8 blocks on the grid of a JPEG, and not in blocks beside it.

    step: of the pixel values, ADU; 0 for continuous values, which are never a JPEG.
    """
    if not step or min(image.shape) < 24:
        return False
    return zero_fraction(image, step) > zero_fraction(image[4:, 4:], step) + JPEG_EXCESS


def zero_fraction(image: Array, step: float) -> float:
    """Fraction of the high-frequency coefficients of 8 x 8 blocks that are zero up to rounding."""
    rows, columns = (size // 8 for size in image.shape)
    blocks = image[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2)
    return float((np.abs(dct(blocks)[..., 4:, 4:]) < ROUNDED * step).mean())
