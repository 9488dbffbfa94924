"""Fourier ring and shell correlation, the resolution that follows from it, and the exponent of the power spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.evaluate.metrics import check_size, checked

# Signal-to-noise ratio 1/6 in each image, 1/3 in their mean: Rosenthal and Henderson 2003,
# doi:10.1016/j.jmb.2003.07.013.
THRESHOLD = 1 / 7
SMALLEST = 16  # pixels: smaller images have too few rings


class Frc(NamedTuple):
    """Correlation (K) in rings of Fourier space, and their frequencies (K), cycles per unit of the pixel size."""

    frequency: Array
    correlation: Array


def frc(first: Array, second: Array, pixel: float | Sequence[float] = 1.0) -> Frc:
    """Fourier ring correlation of two images (Y, X), or Fourier shell correlation of two stacks (Z, Y, X).

    Re Σ F₁ F₂* / √(Σ |F₁|² Σ |F₂|²), summed over rings one frequency step wide, up to the lowest Nyquist frequency.
    For a signal with power S and independent noise with power N in both images it is S / (S + N). The mean is
    subtracted and a Hann window applied, as the images are not periodic.

    It measures resolution only if the images have nothing but the signal in common: two recordings, or two denoised
    images, each from only one of them.

    pixel: size of a pixel, one number for all axes or one for each. Source: Saxton, Baumeister 1982,
    doi:10.1111/j.1365-2818.1982.tb00405.x; van Heel 1987, doi:10.1016/0304-3991(87)90010-6.
    Errors: `UserError` for unequal shapes, NaN or infinite pixels, sides below 16 pixels, or images without contrast.
    """
    x, y = checked(first, second)
    check_size(x.shape, SMALLEST, "FRC")
    sizes = [float(pixel)] * x.ndim if isinstance(pixel, int | float) else [float(size) for size in pixel]
    if len(sizes) != x.ndim or not all(0 < size < float("inf") for size in sizes):
        raise UserError(
            f"pixel size {pixel} does not match an image with {x.ndim} axes; give one length, or one for each axis"
        )
    for image in (x, y):
        if image.max() == image.min():
            raise UserError("an image without contrast has no resolution; leave it out")
    ring, step = rings(x.shape, sizes)
    f, g = spectrum(x), spectrum(y)
    common, power_f, power_g = (
        np.bincount(ring.ravel(), part.ravel())[1:-1]  # without the mean and the corners
        for part in ((f * g.conj()).real, abs(f) ** 2, abs(g) ** 2)
    )
    power = np.sqrt(power_f * power_g)
    correlation = np.divide(common, power, out=np.zeros_like(common), where=power > 0)
    return Frc(step * np.arange(1, len(common) + 1), correlation)


def resolution(curve: Frc, threshold: float = THRESHOLD) -> float | None:
    """Resolution 1/f, for the first frequency f at which the curve falls below the threshold, interpolated.

    None if it does not: it is above everywhere (the resolution is better than two pixels), or nowhere.
    """
    frequency, correlation = curve
    above = correlation >= threshold
    falls = np.flatnonzero(above[:-1] & ~above[1:])
    if not len(falls):
        return None
    i = falls[0]
    part = (correlation[i] - threshold) / (correlation[i] - correlation[i + 1])
    return float(1 / (frequency[i] + part * (frequency[i + 1] - frequency[i])))


def spectral_exponent(image: Array, lowest: int = 4, highest: int = 32) -> float:
    """Exponent e of the power |F|² ∝ f^e between two frequencies in cycles per image.

    About -2 for natural images (Y, X), 0 for white noise. Source: Field 1987, doi:10.1364/JOSAA.4.002379.
    Errors: `UserError` as `frc`.
    """
    x, _ = checked(image, image)
    check_size(x.shape, 2 * highest, "the exponent of a spectrum")
    ring, _ = rings(x.shape, [1.0] * x.ndim)
    power = np.bincount(ring.ravel(), (abs(spectrum(x)) ** 2).ravel()) / np.bincount(ring.ravel())
    cycles = np.arange(lowest, highest + 1)
    return float(np.polyfit(np.log(cycles), np.log(power[cycles] + 1e-12), 1)[0])


def spectrum(image: Array) -> Array:
    """Fourier transform of an image, after subtracting its mean and applying a Hann window."""
    image = image - image.mean()
    for axis, size in enumerate(image.shape):
        window = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
        image = image * window.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
    return np.fft.fftn(image)


def rings(shape: Sequence[int], pixel: Sequence[float]) -> tuple[Array, float]:
    """Ring index of each frequency, with one last index above the Nyquist frequency; and the width of the rings."""
    step = 1 / min(size * length for size, length in zip(shape, pixel, strict=True))
    last = int(0.5 / max(pixel) / step)
    squares = [np.fft.fftfreq(size, length) ** 2 for size, length in zip(shape, pixel, strict=True)]
    radius = np.sqrt(sum(np.meshgrid(*squares, indexing="ij", sparse=True), start=np.zeros(())))
    return np.minimum(np.rint(radius / step), last + 1).astype(np.intp), step
