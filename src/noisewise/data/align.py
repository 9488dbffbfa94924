"""Estimate the shift between two noisy images of one scene, with subpixel precision and standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array, Region

SHORTEST = 8  # pixels: no shift is estimated along shorter axes
SHIFT_DIVISOR = 4  # shifts are searched up to side / SHIFT_DIVISOR
DETECTION = 6.0  # standard deviations of pure noise; larger values are structure, also for the best of many lags
BINS = 48  # of the spectrum
NOISE_FREQUENCY = 0.85 * math.pi  # radians per pixel: above it, a well sampled scene has no power, only the noise
LEAST_NOISE = 0.1  # fraction of the power: with less noise, the weight of a frequency grows no more
STEPS, STEP_PX, NEAR_PX, CLOSE_PX = 8, 1.0, 2, 0.01  # Newton's method: steps, largest step, range, convergence
LARGEST_ERROR_PX = 1.0  # a shift with a larger standard error is not determined
BLOCKS, BLOCK_PX = 8, 4  # for standard errors: blocks along an axis at most, pixels in a block at least
TINY = 1e-300


def find_shift(pair: Pair) -> tuple[Array, Array]:
    """Estimate the shift of the second image, pixels along `pair.axes`, and its standard errors.

    With a and b the filtered images, b shifted back: a ∇b − b ∇a is zero in each pixel where the signals coincide, for
    any gain and at any border, and independent noise does not bias it. Newton's method makes its sum zero. The filter
    weights frequencies by coherence² / (1 − coherence²), the maximum-likelihood weights. Along axes that the images do
    not determine, the shift is 0 and its error infinite.

    Source: Hannan and Thomson 1973, Estimating group delay, Biometrika 60:241 (weights).
    """
    rings = Rings(pair)
    for start in best_lags(pair, rings):
        found = newton(pair, rings, start)
        if found is not None:
            return found
    return np.zeros(len(pair.axes)), np.full(len(pair.axes), math.inf)


def newton(pair: Pair, rings: Rings, start: Array) -> tuple[Array, Array] | None:
    """`find_shift` from a start that is a few pixels off; None if it does not converge."""
    weight, shift = rings.weight(start), start
    root = np.sqrt(weight)
    a, a_slopes = pair.image(root * pair.first), pair.slopes(root * pair.first)
    for _ in range(STEPS):
        shifted, at = root * pair.shifted(shift), pair.inner(shift)
        b, b_slopes = pair.image(shifted), pair.slopes(shifted)
        curvature = np.array([[(p[at] * q[at]).sum() for q in b_slopes] for p in a_slopes])
        curvature = curvature + curvature.T
        least = curvature_of_noise(pair, rings.noise(weight, shift)) * math.sqrt(a[at].size / a.size)
        axes = determined_axes(curvature, DETECTION / 2 * least)
        if not len(axes):
            return None
        step = np.zeros(len(start))
        score = np.array([(a[at] * b_slopes[i][at] - b[at] * a_slopes[i][at]).sum() for i in axes])
        step[axes] = np.linalg.solve(curvature[np.ix_(axes, axes)], score)
        shift = shift + np.clip(step, -STEP_PX, STEP_PX)
        if np.abs(shift - start).max() > NEAR_PX:
            return None
        if np.abs(step).max() < CLOSE_PX:
            axes = determined_axes(curvature, DETECTION * least)
            error = np.full(len(start), math.inf)
            if len(axes):
                error[axes] = shift_error(pair, weight, shift, axes, curvature[np.ix_(axes, axes)])
            error[error > LARGEST_ERROR_PX] = math.inf
            return np.where(np.isfinite(error), shift, 0.0), error
    return None


def curvature_of_noise(pair: Pair, noise: Array) -> Array:
    """Standard deviation, along `pair.axes`, of the curvature of images without a common signal."""
    size = math.prod(pair.whole[axis] for axis in pair.axes)
    return np.array([2 / size * math.sqrt(2 * float((noise * along**4).sum())) for along in pair.frequency])


def determined_axes(curvature: Array, least: Array) -> Array:
    """Axes along which the curvature is significant; none if the peak is a ridge oblique to them."""
    axes = np.flatnonzero(curvature.diagonal() > least)
    if not len(axes):
        return axes
    sharp = curvature[np.ix_(axes, axes)]
    root = np.sqrt(np.maximum(least[axes], 1e-9 * sharp.diagonal()))
    return axes if np.linalg.eigvalsh(sharp / np.outer(root, root))[0] > 1 else axes[:0]


def shift_error(pair: Pair, weight: Array, shift: Array, axes: Array, curvature: Array) -> Array:
    """Standard errors of the shift along the determined axes.

    To first order the sum of a ∇b − b ∇a is that of e ∇s, with s the signal filtered twice and e the noise in the
    difference of the images. The inverse curvature transforms its covariance to that of the shift.
    """
    at, second = pair.inner(shift), pair.shifted(shift)
    contrast = [max(float(pair.image(weight * part)[at].std()), TINY) for part in (pair.first, second)]
    gain = contrast[1] / contrast[0]
    residual = pair.image(second - gain * pair.first)[at]
    slopes = pair.slopes(weight * (pair.first + second / gain))
    inverse = np.linalg.inv(curvature)
    terms = [slopes[i][at] * (residual - residual.mean()) for i in axes]
    return np.asarray(np.sqrt((inverse @ covariance_of_sums(terms) @ inverse).diagonal()))


def best_lags(pair: Pair, rings: Rings) -> list[Array]:
    """Shifts in whole pixels, along `pair.axes`, with the highest correlation: the best nearby, then the best of all.

    Only the best of all if it is significantly better.
    """
    weight = rings.weight()
    match = pair.image(weight * pair.second * pair.first.conj())
    match = match.sum(tuple(axis for axis in range(match.ndim) if axis not in pair.axes))
    largest = [pair.shape[axis] // SHIFT_DIVISOR for axis in pair.axes]
    near, best = highest(match, [min(NEAR_PX, most) for most in largest]), highest(match, largest)
    noise = math.sqrt(2 * float(rings.noise(weight, np.array(best, float)).sum())) / match.size
    lags = [best] if match[best] - match[near] > DETECTION * noise else list(dict.fromkeys((near, best)))
    return [np.array(lag, float) for lag in lags]


def highest(match: Array, largest: list[int]) -> tuple[int, ...]:
    """The lag, up to the largest ones, of the maximum of a correlation map; its negative lags are at the end."""
    lags = [np.r_[0 : most + 1, -most:0] for most in largest]
    inside = match[np.ix_(*lags)]
    return tuple(int(lag[i]) for lag, i in zip(lags, np.unravel_index(inside.argmax(), inside.shape), strict=True))


@dataclass(frozen=True)
class Pair:
    """Spectra of two images, padded with linear ramps to zero on all sides, so that they are periodic.

    Short axes are not transformed: a stack of three planes is three images with a common shift.
    """

    first: Array
    second: Array
    means: tuple[float, ...]
    shape: tuple[int, ...]
    whole: tuple[int, ...]
    """shape including ramps"""
    ramps: tuple[int, ...]
    """pixels of the ramp at the lower end"""
    axes: list[int]
    """axes along which a shift is estimated; shifts are arrays along these"""

    @classmethod
    def of(cls, first: Array, second: Array) -> Pair:
        shape = first.shape
        axes = [axis for axis, size in enumerate(shape) if size >= SHORTEST]
        ramps = tuple(min(max(size // 16, 4), 32) if size >= SHORTEST else 0 for size in shape)
        # multiples of eight are fast to transform
        whole = tuple(-(-(n + 2 * ramp) // 8) * 8 if ramp else n for n, ramp in zip(shape, ramps, strict=True))
        widths = [(ramp, full - n - ramp) for n, ramp, full in zip(shape, ramps, whole, strict=True)]
        means = tuple(float(image.mean()) for image in (first, second))
        spectra = [
            np.fft.rfftn(np.pad(image - mean, widths, mode="linear_ramp"), axes=axes)
            for image, mean in zip((first, second), means, strict=True)
        ]
        return cls(spectra[0], spectra[1], means, shape, whole, ramps, axes)

    @property
    def frequency(self) -> list[Array]:
        """Radians per pixel along each of `axes`, shaped to broadcast against the spectra."""
        lines = [np.fft.fftfreq(self.whole[axis]) for axis in self.axes[:-1]] + [np.fft.rfftfreq(self.whole[-1])]
        sides = range(len(self.shape))
        return [
            2 * math.pi * line.reshape([-1 if side == axis else 1 for side in sides])
            for axis, line in zip(self.axes, lines, strict=True)
        ]

    def image(self, spectrum: Array) -> Array:
        """The image of a spectrum, including ramps."""
        return np.fft.irfftn(spectrum, [self.whole[axis] for axis in self.axes], axes=self.axes)

    def slopes(self, spectrum: Array) -> list[Array]:
        """The derivatives of that image along `axes`."""
        return [self.image(1j * along * spectrum) for along in self.frequency]

    def shifted(self, shift: Array) -> Array:
        """Spectrum of the second image shifted back: second(p + shift)."""
        spectrum = self.second
        for along, by in zip(self.frequency, shift, strict=True):
            if by:
                spectrum = spectrum * np.exp(1j * by * along)
        return spectrum

    def inner(self, shift: Array) -> Region:
        """The region in which both images, the second shifted back, are inside and away from the ramps."""
        parts = [slice(None)] * len(self.shape)
        for axis, by in zip(self.axes, shift, strict=True):
            size, start = self.shape[axis], self.ramps[axis]
            border = min(size // 8, 8)
            low, high = border + max(0, math.ceil(-by)), size - border - max(0, math.ceil(by))
            parts[axis] = slice(start + low, start + high)
        return tuple(parts)

    def along_all(self, values: Array, otherwise: float) -> tuple[float, ...]:
        """One value for each axis of the image; `otherwise` for axes without a shift."""
        known = dict(zip(self.axes, values.tolist(), strict=True))
        return tuple(known.get(axis, otherwise) for axis in range(len(self.shape)))


class Rings:
    """Power of a pair averaged over rings of frequencies, and the coherence of the two images."""

    def __init__(self, pair: Pair) -> None:
        radius = np.sqrt(sum((along**2 for along in pair.frequency), np.zeros(pair.first.shape)))
        self.pair, self.shape = pair, radius.shape
        self.place = radius.ravel() * (min(BINS, min(pair.whole[-2:]) // 2) / math.pi)
        self.index = self.place.astype(int)
        self.count = np.maximum(np.bincount(self.index), 1)
        powers, signal = [], np.ones(len(self.count))
        for spectrum in (pair.first, pair.second):
            square = spectrum.real**2 + spectrum.imag**2
            power, noise = self.mean(square), float(square[radius > NOISE_FREQUENCY].mean())
            signal *= np.maximum(power - noise * (1 + 2 / np.sqrt(self.count)), 0.0)
            powers.append(power)
        self.both = np.maximum(powers[0] * powers[1], TINY)
        self.expected = np.sqrt(signal / self.both)
        """coherence if the noise is white, with its power at the highest frequencies"""

    def mean(self, values: Array) -> Array:
        """Mean in each ring."""
        return np.asarray(np.bincount(self.index, values.ravel()) / self.count)

    def interpolated(self, rings: Array) -> Array:
        """Values of rings, interpolated at each frequency."""
        filled = np.unique(self.index)
        centre = np.bincount(self.index, self.place)[filled] / self.count[filled]
        return np.asarray(np.interp(self.place, centre, rings[filled]).reshape(self.shape))

    def coherence(self, shift: Array) -> Array:
        """Coherence of the two images in each ring, with the second shifted back."""
        product = self.pair.shifted(shift) * self.pair.first.conj()
        return np.asarray(np.clip(self.mean(product.real) / np.sqrt(self.both), 0.0, 1.0))

    def weight(self, shift: Array | None = None) -> Array:
        """Weights of the cross-spectrum; with a shift, reduced where the images are less coherent than expected."""
        weight = self.expected / np.maximum(1 - self.expected**2, LEAST_NOISE) / np.sqrt(self.both)
        if shift is not None:
            weight *= np.minimum(self.coherence(shift) / np.maximum(self.expected, TINY), 1.0)
        return self.interpolated(weight)

    def noise(self, weight: Array, shift: Array) -> Array:
        """Variance that noise of any spectrum adds to the weighted cross-spectrum: the power that is not coherent."""
        coherence = self.coherence(shift)
        # Subtract what chance may add to the coherence.
        coherence = np.maximum(coherence - (1 - coherence**2) * np.sqrt(2 / self.count), 0.0)
        return weight**2 * self.interpolated(self.both * (1 - coherence**2))


def covariance_of_sums(terms: list[Array]) -> Array:
    """Covariance of sums over pixels, estimated from their terms, arrays of mean about 0.

    From the squares of single pixels, which are most precise. If noise is correlated or objects moved, those of rows,
    columns, or blocks overlapping by half are larger, and the largest is used.

    Sources: White 1980, doi:10.2307/1912934 (single pixels); Newey and West 1987, doi:10.2307/1913610 (blocks).
    """
    single = np.stack([term.ravel() for term in terms])
    covariance = single @ single.T
    blocks, overlap, part = block_sums(terms), 1, 1.0
    for axis in range(1, blocks.ndim):
        if blocks.shape[axis] > 1:
            zero = np.zeros_like(np.take(blocks, [0], axis))
            part *= 2 / blocks.shape[axis]
            blocks = np.concatenate([zero, blocks], axis) + np.concatenate([blocks, zero], axis)
            overlap *= 2
    # The fit reduced the sums over blocks by this part.
    coarse = [(blocks.reshape(len(terms), -1) ** 2).sum(1) / overlap / max(1 - part, 0.25)]
    coarse += [np.array([(term.sum(axis) ** 2).sum() for term in terms]) for axis in (-1, -2)]
    growth = np.sqrt(np.maximum(np.max(coarse, 0) / np.maximum(covariance.diagonal(), TINY), 1.0))
    return np.asarray(covariance * np.outer(growth, growth))


def block_sums(terms: list[Array]) -> Array:
    """Sums over blocks: (terms, *blocks)."""
    sums = np.stack(terms)
    for axis in range(1, sums.ndim):
        size = sums.shape[axis]
        blocks = max(min(BLOCKS, size // BLOCK_PX), 1)
        sums = np.add.reduceat(sums, np.arange(blocks) * size // blocks, axis)
    return sums
