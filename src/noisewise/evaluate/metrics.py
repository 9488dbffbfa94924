"""Compare an image with the ground truth: PSNR, NRMSE, SSIM and MS-SSIM, with an explicit data range.

Images are (Y, X) or (Z, Y, X) and of one shape; they are compared in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError

RADIUS = 5  # of the window, pixels
GAUSSIAN = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
GAUSSIAN /= GAUSSIAN.sum()
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the scales, finest first
STRIP = 2**17  # pixels whose windows are computed together, to fit into the processor's cache


# -- mean squared error ----------------------------------------------------------------------------


def psnr(image: Array, truth: Array, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB: 10 log₁₀(data_range² / mean (image − truth)²); infinite if they are equal.

    Errors: `UserError` for unequal shapes, NaN or infinite pixels, or a range that is not positive.
    """
    x, y = checked(image, truth)
    return decibels(float(np.mean((x - y) ** 2)), checked_range(data_range))


def psnr_affine(image: Array, truth: Array, data_range: float) -> float:
    """PSNR in dB of a·image + b, where a and b minimise mean (a·image + b − truth)².

    It is never below `psnr` with the same range; the difference is due to a wrong scale or offset.

    Source: `normalize_minmse` of CSBDeep. Errors: as `psnr`, and `UserError` for a constant truth.
    """
    x, y = checked(image, truth)
    contrast_of(y)
    x, y = x - x.mean(), y - y.mean()
    power = float(np.mean(x * x))
    gain = float(np.mean(x * y)) / power if power else 0.0
    return decibels(float(np.mean((gain * x - y) ** 2)), checked_range(data_range))


def scale_invariant_psnr(image: Array, truth: Array) -> float:
    """PSNR in dB, independent of the image's scale and offset: `psnr_affine` with the truth's range, max − min.

    As published: with t = (truth − mean) / std and p = image − mean, 10 log₁₀(R² / mean (p·⟨t, p⟩/⟨p, p⟩ − t)²) where
    R = (max − min of the truth) / std. The projection is the least-squares gain and the two means are its offset, so
    this is the affine PSNR; the standard deviation cancels.

    Source: Weigert et al. 2018, doi:10.1038/s41592-018-0216-7; Krull et al. 2020, doi:10.3389/fcomp.2020.00005;
    CAREamics. Errors: as `psnr_affine`.
    """
    x, y = checked(image, truth)
    return psnr_affine(x, y, contrast_of(y))


def nrmse(image: Array, truth: Array) -> float:
    """Root mean squared error relative to the truth's range: √(mean (image − truth)²) / (max − min of the truth).

    This is scikit-image's "min-max" normalisation; others divide by the truth's mean or its root mean square.

    Errors: as `psnr`, and `UserError` for a constant truth.
    """
    x, y = checked(image, truth)
    return float(np.sqrt(np.mean((x - y) ** 2))) / contrast_of(y)


def decibels(mean_square_error: float, data_range: float) -> float:
    """10 log₁₀(data_range² / error), infinite for no error."""
    return float(10 * np.log10(data_range**2 / mean_square_error)) if mean_square_error else float("inf")


# -- structural similarity -------------------------------------------------------------------------


def ssim(image: Array, truth: Array, data_range: float) -> float:
    """Structural similarity, mean over all pixels whose window lies inside the image.

    (2 μₓμᵧ + c₁)(2 σₓᵧ + c₂) / ((μₓ² + μᵧ² + c₁)(σₓ² + σᵧ² + c₂)) with c₁ = (0.01 R)², c₂ = (0.03 R)²,
    where means and (co)variances are weighted by a Gaussian window of 11 pixels along each axis with σ = 1.5.
    The window of a stack is a cube: as long along Z as along Y and X.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861. Errors: as `psnr`, and `UserError` for images smaller than 11
    pixels along an axis.
    """
    x, y = checked(image, truth)
    check_size(x.shape, len(GAUSSIAN), "SSIM")
    return mean_similarity(x, y, checked_range(data_range))[0]


def ms_ssim(image: Array, truth: Array, data_range: float, weights: Sequence[float] = SCALES) -> float:
    """Structural similarity over several scales: Πⱼ contrastⱼ^wⱼ · SSIM^w of the coarsest.

    contrast is the mean of (2 σₓᵧ + c₂) / (σₓ² + σᵧ² + c₂), windows and constants are those of `ssim`. Each scale is
    the mean over 2 pixels along each axis of the previous one; an odd last pixel is dropped. Details that Wang et al.
    leave open follow torchmetrics: the coarsest scale is extended by reflection at its borders, since few windows lie
    inside it, and a negative mean counts as 0.

    weights: of the scales, finest first. Source: Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216. Errors: as `psnr`,
    and `UserError` for images smaller than 176 pixels along an axis (11 · 2ⁿ⁻¹ for n scales).
    """
    x, y = checked(image, truth)
    check_size(x.shape, smallest_side(weights), "MS-SSIM")
    data_range = checked_range(data_range)
    product = 1.0
    for weight in weights[:-1]:
        product *= max(mean_similarity(x, y, data_range)[1], 0.0) ** weight
        x, y = halved(x), halved(y)
    x, y = np.pad(x, RADIUS, mode="reflect"), np.pad(y, RADIUS, mode="reflect")
    return float(product * max(mean_similarity(x, y, data_range)[0], 0.0) ** weights[-1])


def smallest_side(weights: Sequence[float] = SCALES) -> int:
    """Smallest number of pixels along an axis with which a window fits into the coarsest scale."""
    return len(GAUSSIAN) << (len(weights) - 1)


def mean_similarity(x: Array, y: Array, data_range: float) -> tuple[float, float]:
    """Mean of SSIM, and of its factor without the local means (contrast and structure)."""
    whole = part = count = 0.0
    for moments in strips(x, y, GAUSSIAN):
        luminance, contrast = similarity(moments, data_range)
        whole += float((luminance * contrast).sum())
        part += float(contrast.sum())
        count += contrast.size
    return whole / count, part / count


class Moments(NamedTuple):
    """Means, variances and covariance of two images in windows."""

    mean_x: Array
    mean_y: Array
    var_x: Array
    var_y: Array
    covariance: Array


def similarity(moments: Moments, data_range: float | Array) -> tuple[Array, Array]:
    """The factors of SSIM in each window: luminance, and contrast with structure."""
    mean_x, mean_y, var_x, var_y, covariance = moments
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def strips(x: Array, y: Array, taps: Array) -> Iterator[Moments]:
    """Yield the moments in all windows inside the image, a few rows (or planes) at a time."""
    overlap = len(taps) - 1
    rows = max(STRIP * len(x) // x.size, overlap)
    for start in range(0, len(x) - overlap, rows):
        strip = slice(start, start + rows + overlap)
        yield moments_in(x[strip], y[strip], taps)


def moments_in(x: Array, y: Array, taps: Array) -> Moments:
    """Moments weighted by a window, the product of `taps` along each axis."""
    # Variances as differences of mean squares are precise only for values near 0.
    x_middle, y_middle = x.mean(), y.mean()
    x, y = x - x_middle, y - y_middle
    mean_x, mean_y, xx, yy, xy = windowed(np.stack([x, y, x * x, y * y, x * y]), taps)
    return Moments(
        mean_x + x_middle, mean_y + y_middle, xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    )  # fmt: skip


def windowed(images: Array, taps: Array) -> Array:
    """Weighted means of images (N, *space) in all windows that lie inside, filtered along each spatial axis."""
    for axis in range(1, images.ndim):
        leading, size = (slice(None),) * axis, images.shape[axis] - len(taps) + 1
        total = taps[0] * images[(*leading, slice(0, size))]
        for i in range(1, len(taps)):
            total += taps[i] * images[(*leading, slice(i, i + size))]
        images = total
    return images


def halved(image: Array) -> Array:
    """Means over 2 pixels along each axis; an odd last pixel is dropped."""
    for axis in range(image.ndim):
        pairs = np.moveaxis(image, axis, 0)[: image.shape[axis] // 2 * 2]
        image = np.moveaxis((pairs[::2] + pairs[1::2]) / 2, 0, axis)
    return image


# -- checks of the input ---------------------------------------------------------------------------


def checked(image: Array, truth: Array) -> tuple[Array, Array]:
    """Convert both to float64. Errors: `UserError` if they cannot be compared."""
    x, y = np.asarray(image), np.asarray(truth)
    if x.shape != y.shape:
        raise UserError(f"the image has the shape {x.shape}, its reference {y.shape}; give images of one shape")
    if x.ndim not in (2, 3) or not x.size:
        raise UserError(f"an image of shape {x.shape} cannot be compared; give (Y, X) or (Z, Y, X)")
    x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    for name, pixels in (("image", x), ("reference", y)):
        if not np.isfinite(pixels).all():
            raise UserError(f"the {name} has pixels that are NaN or infinite; replace them or crop the image")
    return x, y


def checked_range(data_range: float) -> float:
    """Return the range. Errors: `UserError` unless it is positive and finite."""
    if not 0 < data_range < float("inf"):
        raise UserError(f"the data range {data_range:g} is not a range of pixel values; give more than 0")
    return float(data_range)


def contrast_of(truth: Array) -> float:
    """Range of the truth, max − min. Errors: `UserError` for a constant truth."""
    contrast = float(truth.max() - truth.min())
    if not contrast:
        raise UserError(f"the reference is constant (all its pixels are {truth.flat[0]:g}); leave it out")
    return contrast


def check_size(shape: Sequence[int], smallest: int, metric: str) -> None:
    """Errors: `UserError` for images too small for the metric's window."""
    if min(shape) < smallest:
        raise UserError(f"{metric} needs {smallest} pixels or more along each axis, not {min(shape)}; leave it out")
