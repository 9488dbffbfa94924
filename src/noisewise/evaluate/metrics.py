"""How far an image is from the truth: PSNR and SSIM, always with their range stated."""

from __future__ import annotations

import numpy as np

from noisewise.axes import Array

WINDOW_SIGMA = 1.5
WINDOW_RADIUS = 5


def psnr(image: Array, truth: Array, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB: 10 log₁₀(data_range² / mean (image − truth)²)."""
    error = np.mean((image.astype(np.float64) - truth.astype(np.float64)) ** 2)
    return float(10 * np.log10(data_range**2 / error)) if error else float("inf")


def ssim(image: Array, truth: Array, data_range: float) -> float:
    """Structural similarity of 2D images, mean over all pixels whose window lies inside.

    (2 μₓμᵧ + c₁)(2 σₓᵧ + c₂) / ((μₓ² + μᵧ² + c₁)(σₓ² + σᵧ² + c₂)) with c₁ = (0.01 R)², c₂ = (0.03 R)²,
    where means and (co)variances are weighted by an 11 x 11 Gaussian window with σ = 1.5.

    Source: Wang et al. 2004.
    """
    x, y = image.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = windowed(x), windowed(y)
    var_x, var_y = windowed(x * x) - mean_x**2, windowed(y * y) - mean_y**2
    covariance = windowed(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def windowed(image: Array) -> Array:
    """Gaussian-weighted mean around each pixel whose window lies inside the image (Y, X)."""
    taps = np.exp(-0.5 * (np.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1) / WINDOW_SIGMA) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        size = image.shape[axis] - 2 * WINDOW_RADIUS
        image = sum(
            weight * np.take(image, range(i, i + size), axis) for i, weight in enumerate(taps)
        )  # fmt: skip
    return image
