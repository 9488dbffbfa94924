"""Whether two noisy copies of one scene fit each other, as Noise2Noise asks: place, brightness, likeness."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from noisewise.axes import Array, Region
from noisewise.data.align import CLEAR, SHORTEST, Pair, chance, find_shift

SURE = 4.0  # standard errors: a smaller finding is chance
SHIFT_PX = 0.3  # a smaller shift blurs less than a pixel does
GAIN = 0.02  # a smaller change of brightness is lost in the noise
STEP = 0.1  # difference of brightness, as a part of the noise of a pixel
UNLIKE, LIKELY = 0.7, 2.0  # likeness below which these are two scenes, and by how many of its standard errors

MOST_PIXELS = 2**20  # the middle of larger images says enough
HOT = 3.0  # times what neighbours differ by: a pixel that stands out so far is the camera's, not the scene's
RING_PX, HOLE_PX = 2.0, 2  # the neighbours that stand for a pixel: how far out, and from where on


@dataclass(frozen=True)
class Relation:
    """How the second of two copies lies to the first: signal₂(p + shift) = gain · signal₁(p) + offset.

    Lengths in pixels, one for each spatial axis; brightness in grey values; errors are standard errors. Where there is
    nothing to go by, a shift is 0 and the gain 1, with an infinite error.
    """

    shift: tuple[float, ...]
    """how much further along each axis the second lies"""
    shift_error: tuple[float, ...]
    gain: float
    gain_error: float
    offset: float
    difference: float
    """mean of the second less that of the first, where they overlap"""
    difference_error: float
    noise: float
    """standard deviation of a pixel's noise, in the first's grey values if both are as noisy"""
    likeness: float
    """correlation of the two signals, freed of noise: 1 for one scene, about 0 for two; NaN if one has no structure"""
    likeness_error: float
    identical: bool = False
    """whether the two are equal pixel by pixel, noise and all: then they teach nothing"""

    @property
    def unlike(self) -> bool:
        """Whether each has structure, but not the other's."""
        return self.likeness + LIKELY * self.likeness_error < UNLIKE  # False for NaN

    @property
    def correction(self) -> tuple[float, float]:
        """(gain, offset) by which (second − offset) / gain is in the first's units; only what is sure, else (1, 0)."""
        if abs(self.gain - 1) > SURE * self.gain_error:
            return self.gain, self.offset
        return 1.0, self.difference if abs(self.difference) > SURE * self.difference_error else 0.0

    def doubts(self, name_first: str, name_second: str) -> list[str]:
        """What to tell the user; empty if the copies fit each other."""
        first, second = name_first, name_second
        if self.identical:
            return [f"{second} is {first} pixel by pixel: identical copies teach nothing; give two recordings"]
        if self.unlike:
            return [
                f"{second} does not show the scene of {first} (freed of noise, they correlate by {self.likeness:.2f}): "
                "check which images belong together, and register them"
            ]
        said = []
        far = [
            f"{by:.1f} pixels along {axis}"
            for by, error, axis in zip(self.shift, self.shift_error, "ZYX"[-len(self.shift) :], strict=True)
            if abs(by) > max(SHIFT_PX, SURE * error)
        ]
        if far:
            where = " and ".join(far)
            said.append(f"{second} is shifted by {where} against {first}: register them first, or Noise2Noise blurs")
        gain, offset = self.correction
        if abs(gain - 1) > GAIN:
            how = f"{gain:.3g} times as bright as {first}, with an offset of {offset:.3g}"
            said.append(f"{second} is {how}: taken into account")
        elif abs(self.difference) > max(STEP * self.noise, SURE * self.difference_error):
            how = "brighter" if self.difference > 0 else "darker"
            said.append(f"{second} is {how} than {first} by {abs(self.difference):.3g}: taken into account")
        return said


def relation(first: Array, second: Array) -> Relation:
    """How two noisy recordings of one scene lie to each other; both (Y, X) or (Z, Y, X), finite, of the same shape.

    The noise of the two must be independent, and shared within each by rows, columns and adjacent pixels at most. Then
    products of one with the other, or with its own neighbours across the diagonal, hold nothing of the noise; only
    these are used, so its size and law need not be known. Of large images the middle is looked at. Shifts are found
    up to a quarter of a side, along axes of eight pixels or more.

    Errors: `ValueError` for shapes that differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"copies of shapes {first.shape} and {second.shape}")
    at = middle(first.shape)
    images = without_hot_pixels(*(np.asarray(image[at], np.float64) for image in (first, second)))
    found = unknown(*images)
    if min(first.shape[-2:]) >= SHORTEST:
        shift, error = find_shift(Pair.of(*(without_lines(image) for image in images)))
        pair = Pair.of(*images)
        found = compare(pair, np.where(np.abs(shift) > SURE * error, shift, 0.0))
        if not found.unlike:  # two scenes cannot be aligned
            found = replace(found, shift=pair.along_all(shift, 0.0), shift_error=pair.along_all(error, math.inf))
    return replace(found, identical=bool(np.array_equal(first, second)))


def middle(shape: tuple[int, ...]) -> Region:
    """The middle of an image, so that it has at most `MOST_PIXELS`: the longest sides are cut."""
    side = max(shape)
    while math.prod(min(size, side) for size in shape) > MOST_PIXELS:
        side = int(0.95 * side)
    return tuple(slice((size - min(size, side)) // 2, (size + min(size, side)) // 2) for size in shape)


def unknown(first: Array, second: Array) -> Relation:
    """Of images without structure: the difference of their means is all there is."""
    apart = second - first
    step = float(apart.mean())
    error, noise = math.sqrt(chance([apart - step])[0, 0]) / apart.size, float(apart.std()) / math.sqrt(2)
    nowhere, vague = (0.0,) * first.ndim, (math.inf,) * first.ndim
    return Relation(nowhere, vague, 1.0, math.inf, step, step, error, noise, math.nan, math.inf)


# -- patterns of the camera, which both copies share and which lie still when the scene does not -------------------


def without_hot_pixels(first: Array, second: Array) -> tuple[Array, Array]:
    """Both with the mean of the neighbours where either has a pixel that stands out as no scene's does."""
    where = np.nonzero(stands_out(first) | stands_out(second))
    images = first.copy(), second.copy()
    for image in images:
        image[where] = np.mean([near[where] for near in neighbours(image)], 0)
    return images


def stands_out(image: Array) -> Array:
    """True where a pixel lies above or below its eight neighbours by far more than these differ."""
    near = neighbours(image)
    high, low = near[0].copy(), near[0].copy()
    for other in near[1:]:
        np.maximum(high, other, out=high)
        np.minimum(low, other, out=low)
    beyond = np.maximum(image - high, low - image)
    peaks = beyond[beyond > 0]
    # neighbours that happen to be equal, as without photons, do not make their pixel hot
    usual = float(np.minimum(peaks, 10 * np.median(peaks)).mean()) if len(peaks) else 0.0
    return np.asarray(beyond > HOT * (high - low + usual))


def neighbours(image: Array) -> list[Array]:
    """Eight views: each pixel's neighbours in its plane."""
    height, width = image.shape[-2:]
    padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(1, 1), (1, 1)], mode="reflect")
    corners = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    return [padded[..., i : i + height, j : j + width] for i, j in corners]


def without_lines(image: Array) -> Array:
    """The image less the means of its rows and columns, which may be noise or the camera's pattern."""
    for axis in (-1, -2):
        image = image - image.mean(axis, keepdims=True)
    return image


# -- brightness and likeness ---------------------------------------------------------------------------------------


def compare(pair: Pair, shift: Array) -> Relation:
    """Everything but the shift, which is given.

    z, the mean of a pixel's neighbours, is an instrument: it knows the signal s, but not the pixel's noise. So Σ z₁ x₁
    and Σ z₂ x₂, means taken off, are the variances of the signals up to one factor, and gain² is their ratio, where
    regression of x₂ on x₁ gives gain · var s / (var s + var noise). Likeness: Σ z₁ x₂ over the root of both.

    Source: Fuller 1987, Measurement Error Models, section 1.4 (instrumental variables).
    """
    at, second, ring = pair.inner(shift), pair.moved(shift), neighbourhood(pair)
    x1, x2, z1, z2 = (pair.image(part)[at] for part in (pair.first, second, ring * pair.first, ring * second))
    found = unknown(x1 + pair.means[0], x2 + pair.means[1])
    mean = float(x1.mean()) + pair.means[0]
    x1, x2, z1, z2 = (part - part.mean() for part in (x1, x2, z1, z2))
    var1, var2, shared = (float(product.sum()) for product in (z1 * x1, z2 * x2, (z1 * x2 + z2 * x1) / 2))
    if not (var1 > 0 and var2 > 0):
        return found
    gain = math.sqrt(var2 / var1)
    apart = x2 - gain * x1
    if var1 < CLEAR * by_noise(z1, x1 - z1, apart / gain) or var2 < CLEAR * by_noise(z2, x2 - z2, apart):
        return found
    likeness = shared / math.sqrt(var1 * var2)
    of_gain = (gain * z1 + z2) * apart / (2 * gain * var1)
    of_likeness = (z1 * x2 + z2 * x1) / math.sqrt(var1 * var2) - likeness * (z1 * x1 / var1 + z2 * x2 / var2)
    gain_error, likeness_error = np.sqrt(chance([of_gain, of_likeness / 2]).diagonal()).tolist()
    found = replace(found, likeness=likeness, likeness_error=likeness_error)
    if found.unlike:
        return found
    return replace(
        found,
        gain=gain,
        gain_error=gain_error,
        offset=found.difference - (gain - 1) * mean,
        difference_error=math.sqrt(chance([apart])[0, 0]) / apart.size,
        noise=float(apart.std()) / math.sqrt(1 + gain**2),
    )


def by_noise(instrument: Array, *rests: Array) -> float:
    """Standard deviation of Σ z x if x were but noise; rests are x less some of its signal, and the least counts."""
    return min(math.sqrt(2 * float((instrument**2 * rest**2).sum())) for rest in rests)


def neighbourhood(pair: Pair) -> Array:
    """Transform of the weights of a pixel's neighbours: a Gaussian without the pixel's own rows and columns.

    So hot pixels, and noise that rows, columns or adjacent pixels share, do not count as signal.
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
