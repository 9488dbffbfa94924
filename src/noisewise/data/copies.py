"""Check two noisy copies of one scene for Noise2Noise: shift, brightness, and the correlation of their signals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from noisewise.axes import Array, Region
from noisewise.data.align import DETECTION, SHORTEST, Pair, covariance_of_sums, find_shift

SIGNIFICANT = 4.0  # standard errors; smaller values are taken as chance
SHIFT_PX = 0.3  # a smaller shift blurs less than the pixel itself
GAIN_CHANGE = 0.02  # a smaller change of brightness is negligible beside the noise
DIFFERENCE = 0.1  # smallest difference of brightness that is reported, as a fraction of a pixel's noise
DIFFERENT, ERRORS = 0.7, 2.0  # signal correlation below which there are two scenes, by this number of standard errors

MOST_PIXELS = 2**20  # the centre of larger images is sufficient
HOT = 3.0  # times the range of the neighbours: a pixel that differs by more is a defect of the camera
RING_PX, HOLE_PX = 2.0, 2  # neighbours that predict a pixel: standard deviation of their distance, smallest distance


@dataclass(frozen=True)
class Relation:
    """Relation of the second of two copies to the first: signal₂(p + shift) = gain · signal₁(p) + offset.

    Lengths in pixels, one for each spatial axis; brightness in ADU; errors are standard errors. A shift or gain that
    the images do not determine is 0 or 1, with an infinite error.
    """

    shift: tuple[float, ...]
    """shift of the second along each axis"""
    shift_error: tuple[float, ...]
    gain: float
    gain_error: float
    offset: float
    difference: float
    """mean of the second minus mean of the first, where they overlap"""
    difference_error: float
    noise: float
    """standard deviation of a pixel's noise, ADU of the first, if both are equally noisy"""
    signal_correlation: float
    """correlation of the two signals without noise: 1 for one scene, about 0 for two; NaN if one has no structure"""
    signal_correlation_error: float
    identical: bool = False
    """whether the two are equal pixel by pixel, including noise, so that there is no training signal"""

    @property
    def different_scenes(self) -> bool:
        """Whether both have structure, but not the same."""
        return self.signal_correlation + ERRORS * self.signal_correlation_error < DIFFERENT  # False for NaN

    @property
    def correction(self) -> tuple[float, float]:
        """(gain, offset) such that (second − offset) / gain is in the first's units; (1, 0) if not significant."""
        if abs(self.gain - 1) > SIGNIFICANT * self.gain_error:
            return self.gain, self.offset
        return 1.0, self.difference if abs(self.difference) > SIGNIFICANT * self.difference_error else 0.0

    def warnings(self, name_first: str, name_second: str) -> list[str]:
        """Messages for the user; empty if the copies match."""
        first, second = name_first, name_second
        if self.identical:
            return [
                f"{second} is {first} pixel by pixel: identical copies share their noise and cannot be used for "
                "training; give two independent recordings"
            ]
        if self.different_scenes:
            return [
                f"{second} does not show the scene of {first} (the correlation of their signals without noise is "
                f"{self.signal_correlation:.2f}): check which images belong together, and register them "
                "(in Fiji: Plugins > Registration)"
            ]
        found = []
        shifts = [
            f"{by:.1f} pixels along {axis}"
            for by, error, axis in zip(self.shift, self.shift_error, "ZYX"[-len(self.shift) :], strict=True)
            if abs(by) > max(SHIFT_PX, SIGNIFICANT * error)
        ]
        if shifts:
            by = " and ".join(shifts)
            found.append(
                f"{second} is shifted by {by} against {first}: register them first (in Fiji: Plugins > Registration), "
                f"or the result is blurred"
            )
        gain, offset = self.correction
        if abs(gain - 1) > GAIN_CHANGE:
            how = f"{gain:.3g} times as bright as {first}, with an offset of {offset:.3g}"
            found.append(f"{second} is {how}: taken into account")
        elif abs(self.difference) > max(DIFFERENCE * self.noise, SIGNIFICANT * self.difference_error):
            how = "brighter" if self.difference > 0 else "darker"
            found.append(f"{second} is {how} than {first} by {abs(self.difference):.3g}: taken into account")
        return found


def relation(first: Array, second: Array) -> Relation:
    """Estimate the relation of two noisy recordings of one scene: (Y, X) or (Z, Y, X), finite, of the same shape.

    The noise of the two must be independent, and within each correlated at most along rows, along columns and between
    adjacent pixels. Then products of one image with the other, or with its own neighbours off the row and column,
    contain no noise on average. Only these are used, so no noise model is needed. Of large images only the centre is
    used. Shifts are found up to a quarter of a side, along axes of eight pixels or more.

    Errors: `ValueError` for different shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"copies of shapes {first.shape} and {second.shape}")
    at = middle(first.shape)
    images = without_hot_pixels(*(np.asarray(image[at], np.float64) for image in (first, second)))
    found = without_structure(*images)
    if min(first.shape[-2:]) >= SHORTEST:
        shift, error = find_shift(Pair.of(*(without_lines(image) for image in images)))
        pair = Pair.of(*images)
        found = compare(pair, np.where(np.abs(shift) > SIGNIFICANT * error, shift, 0.0))
        if not found.different_scenes:  # two scenes cannot be aligned
            found = replace(found, shift=pair.along_all(shift, 0.0), shift_error=pair.along_all(error, math.inf))
    return replace(found, identical=bool(np.array_equal(first, second)))


def middle(shape: tuple[int, ...]) -> Region:
    """The central region of an image, with at most `MOST_PIXELS` pixels: the longest sides are cut."""
    side = max(shape)
    while math.prod(min(size, side) for size in shape) > MOST_PIXELS:
        side = int(0.95 * side)
    return tuple(slice((size - min(size, side)) // 2, (size + min(size, side)) // 2) for size in shape)


def without_structure(first: Array, second: Array) -> Relation:
    """Relation of images without structure, for which only the difference of their means is known."""
    residual = second - first
    difference = float(residual.mean())
    error = math.sqrt(covariance_of_sums([residual - difference])[0, 0]) / residual.size
    noise = float(residual.std()) / math.sqrt(2)
    shift, shift_error = (0.0,) * first.ndim, (math.inf,) * first.ndim
    return Relation(shift, shift_error, 1.0, math.inf, difference, difference, error, noise, math.nan, math.inf)


# -- fixed patterns of the camera, which both copies share and which do not move with the scene --------------------


def without_hot_pixels(first: Array, second: Array) -> tuple[Array, Array]:
    """Both images, with pixels that are hot in either replaced by the mean of their neighbours."""
    where = np.nonzero(hot_pixels(first) | hot_pixels(second))
    images = first.copy(), second.copy()
    for image in images:
        image[where] = np.mean([near[where] for near in neighbours(image)], 0)
    return images


def hot_pixels(image: Array) -> Array:
    """True where a pixel differs from all eight neighbours by several times their range."""
    near = neighbours(image)
    high, low = reduce(np.maximum, near), reduce(np.minimum, near)
    excess = np.maximum(image - high, low - image)
    peaks = excess[excess > 0]
    # neighbours that happen to be equal, as without photons, do not make their pixel hot
    usual = float(np.minimum(peaks, 10 * np.median(peaks)).mean()) if len(peaks) else 0.0
    return np.asarray(excess > HOT * (high - low + usual))


def neighbours(image: Array) -> list[Array]:
    """Eight views: the neighbours of each pixel in its plane."""
    height, width = image.shape[-2:]
    padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(1, 1), (1, 1)], mode="reflect")
    corners = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    return [padded[..., i : i + height, j : j + width] for i, j in corners]


def without_lines(image: Array) -> Array:
    """Subtract the means of rows and columns, which may be row noise or a fixed pattern of the camera."""
    for axis in (-1, -2):
        image = image - image.mean(axis, keepdims=True)
    return image


# -- brightness and correlation of the signals ---------------------------------------------------------------------


def compare(pair: Pair, shift: Array) -> Relation:
    """Estimate all of the relation but the shift, which is given.

    z, the mean of a pixel's neighbours, is an instrumental variable: it is correlated with the signal s, but not with
    the pixel's noise. So Σ z₁ x₁ and Σ z₂ x₂, after subtracting means, are the variances of the signals up to one
    factor, and gain² is their ratio. (Regression of x₂ on x₁ gives gain · var s / (var s + var noise) instead.) The
    correlation of the signals is Σ z₁ x₂ over the root of their product.

    Source: Fuller 1987, Measurement Error Models, doi:10.1002/9780470316665, section 1.4 (instrumental variables).
    """
    at, second, ring = pair.inner(shift), pair.shifted(shift), neighbourhood(pair)
    x1, x2, z1, z2 = (pair.image(part)[at] for part in (pair.first, second, ring * pair.first, ring * second))
    found = without_structure(x1 + pair.means[0], x2 + pair.means[1])
    mean = float(x1.mean()) + pair.means[0]
    x1, x2, z1, z2 = (part - part.mean() for part in (x1, x2, z1, z2))
    var1, var2, shared = (float(product.sum()) for product in (z1 * x1, z2 * x2, (z1 * x2 + z2 * x1) / 2))
    if not (var1 > 0 and var2 > 0):
        return found
    gain = math.sqrt(var2 / var1)
    residual = x2 - gain * x1
    least1, least2 = std_of_noise(z1, x1 - z1, residual / gain), std_of_noise(z2, x2 - z2, residual)
    if var1 < DETECTION * least1 or var2 < DETECTION * least2:
        return found
    root = math.sqrt(var1 * var2)
    correlation = shared / root
    of_gain = (gain * z1 + z2) * residual / (2 * gain * var1)
    of_correlation = (z1 * x2 + z2 * x1) / root - correlation * (z1 * x1 / var1 + z2 * x2 / var2)
    gain_error, correlation_error = np.sqrt(covariance_of_sums([of_gain, of_correlation / 2]).diagonal()).tolist()
    found = replace(found, signal_correlation=correlation, signal_correlation_error=correlation_error)
    if found.different_scenes:
        return found
    return replace(
        found,
        gain=gain,
        gain_error=gain_error,
        offset=found.difference - (gain - 1) * mean,
        difference_error=math.sqrt(covariance_of_sums([residual])[0, 0]) / residual.size,
        noise=float(residual.std()) / math.sqrt(1 + gain**2),
    )


def std_of_noise(instrument: Array, *residuals: Array) -> float:
    """Standard deviation of Σ z x for pure noise x, estimated from residuals with less signal; the smallest counts."""
    return min(math.sqrt(2 * float((instrument**2 * residual**2).sum())) for residual in residuals)


def neighbourhood(pair: Pair) -> Array:
    """Transform of the weights of a pixel's neighbours: a Gaussian without the pixel's own rows and columns.

    So hot pixels, and noise shared by rows, columns or adjacent pixels, do not count as signal.
    """
    ring = np.ones([1] * len(pair.shape))
    for axis in (-2, -1):
        far = np.abs(np.fft.fftfreq(pair.whole[axis], 1 / pair.whole[axis]))
        line = np.exp(-(far**2) / (2 * RING_PX**2)) * (far >= HOLE_PX)
        transform = np.fft.rfft(line) if axis == -1 else np.fft.fft(line)
        shape = [1] * len(pair.shape)
        shape[axis] = -1
        ring = ring * (transform.real / line.sum()).reshape(shape)
    return ring
