"""Fourier rings and shells: up to which detail two images of the same thing agree, how steeply power falls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.evaluate.metrics import check_size, checked

THRESHOLD = 1 / 7  # where half the light would show a signal-to-noise ratio of 1/3 (Rosenthal and Henderson)
SMALLEST = 16  # pixels: smaller images have too few rings


class Frc(NamedTuple):
    """Correlation (K) in rings around the origin of frequency space, and their frequencies (K), cycles a unit."""

    frequency: Array
    correlation: Array


def frc(first: Array, second: Array, pixel: float | Sequence[float] = 1.0) -> Frc:
    """Fourier ring correlation of two images (Y, X), or Fourier shell correlation of two stacks (Z, Y, X).

    Re Σ F₁ F₂* / √(Σ |F₁|² Σ |F₂|²), summed over rings one frequency step wide, up to the lowest Nyquist frequency.
    Of white noise that is independent in both, and a signal with power S above noise with power N: S / (S + N).
    Images are taken above their mean and fade out towards their borders (Hann window), where they do not continue.

    It is about resolution only if nothing but the signal is common to both images: two recordings, or two images made
    from them by methods that did not see both.

    pixel: size of a pixel, of one length along all axes or one each. Source: Saxton, Baumeister 1982; van Heel 1987.
    Errors: `UserError` for unequal shapes, NaN or infinite pixels, sides below 16 pixels, or images without contrast.
    """
    x, y = checked(first, second)
    check_size(x.shape, SMALLEST, "FRC")
    sizes = [float(pixel)] * x.ndim if isinstance(pixel, int | float) else [float(size) for size in pixel]
    if len(sizes) != x.ndim or not all(0 < size < float("inf") for size in sizes):
        raise UserError(f"pixel size {pixel} does not fit an image of {x.ndim} axes; give one length, or one an axis")
    for image in (x, y):
        if image.max() == image.min():
            raise UserError("an image without contrast has no resolution; leave it out")
    ring, step = rings(x.shape, sizes)
    f, g = spectrum(x), spectrum(y)
    common, power_f, power_g = (
        np.bincount(ring.ravel(), part.ravel())[1:-1]  # without the mean, and without the corners
        for part in ((f * g.conj()).real, abs(f) ** 2, abs(g) ** 2)
    )
    power = np.sqrt(power_f * power_g)
    correlation = np.divide(common, power, out=np.zeros_like(common), where=power > 0)
    return Frc(step * np.arange(1, len(common) + 1), correlation)


def resolution(curve: Frc, threshold: float = THRESHOLD) -> float | None:
    """Length 1/f of the first frequency f at which the curve falls through the threshold, interpolated between rings.

    None if it never does: it is above throughout (the detail is finer than two pixels), or nowhere (nothing agrees).
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
    """e of the power |F|² ∝ f^e between so many cycles an image; -2 of natural images (Y, X), 0 of white noise.

    Source: Field 1987. Errors: `UserError` as `frc`.
    """
    x, _ = checked(image, image)
    check_size(x.shape, 2 * highest, "the exponent of a spectrum")
    ring, _ = rings(x.shape, [1.0] * x.ndim)
    power = np.bincount(ring.ravel(), (abs(spectrum(x)) ** 2).ravel()) / np.bincount(ring.ravel())
    cycles = np.arange(lowest, highest + 1)
    return float(np.polyfit(np.log(cycles), np.log(power[cycles] + 1e-12), 1)[0])


def spectrum(image: Array) -> Array:
    """Of the image above its mean, faded out towards its borders."""
    image = image - image.mean()
    for axis, size in enumerate(image.shape):
        fade = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
        image = image * fade.reshape([-1 if i == axis else 1 for i in range(image.ndim)])
    return np.fft.fftn(image)


def rings(shape: Sequence[int], pixel: Sequence[float]) -> tuple[Array, float]:
    """Number of the ring of each frequency, the last of them for all beyond Nyquist; and the rings' width."""
    step = 1 / min(size * length for size, length in zip(shape, pixel, strict=True))
    last = int(0.5 / max(pixel) / step)
    squares = [np.fft.fftfreq(size, length) ** 2 for size, length in zip(shape, pixel, strict=True)]
    radius = np.sqrt(sum(np.meshgrid(*squares, indexing="ij", sparse=True), start=np.zeros(())))
    return np.minimum(np.rint(radius / step), last + 1).astype(np.intp), step
