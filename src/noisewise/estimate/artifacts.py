"""Artifacts of a file format: lossy compression."""

from __future__ import annotations

import numpy as np

from noisewise.axes import Array
from noisewise.estimate.dct_blocks import dct

JPEG_EXCESS = 0.1  # more zero coefficients on the grid of a JPEG than beside it
ROUNDED = 0.6  # quantization steps: what rounding leaves of a coefficient that was zero


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
