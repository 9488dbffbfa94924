"""How far one noisy image lies from another of the same scene, to a part of a pixel, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array, Region

SHORTEST = 8  # pixels along an axis, for a shift along it to be sought
REACH = 4  # shifts are sought up to one part in so many of a side
CLEAR = 6.0  # standard deviations of pure noise: what exceeds them is structure, whichever lag it was picked from
BINS = 48  # of the spectrum
FLOOR = 0.85 * math.pi  # radians per pixel: beyond, a well sampled scene has nothing, so the power is the noise's
CLEANEST = 0.1  # of the power: with less noise than that a frequency weighs no more
STEPS, STEP_PX, NEAR_PX, CLOSE_PX = 8, 1.0, 2, 0.01  # of Newton's method
VAGUE_PX = 1.0  # a shift known no better is not known
BLOCKS, BLOCK_PX = 8, 4  # along an axis at most, pixels at least: what errors are read from
TINY = 1e-300


def find_shift(pair: Pair) -> tuple[Array, Array]:
    """How much further the second lies, pixels along `pair.axes`, and standard errors; 0 and infinite if not told.

    With a and b the filtered images, b fetched from the shift: a ∇b − b ∇a vanishes in every pixel where the signals
    coincide, whatever gain and borders, and noise that is independent does not bias it. Newton's method brings its sum
    to 0. The filter weighs frequencies by coherence² / (1 − coherence²), as maximum likelihood does.

    Source: Hannan and Thomson 1973, Estimating group delay, Biometrika 60:241 (weights).
    """
    rings = Rings(pair)
    for start in best_lags(pair, rings):
        found = climb(pair, rings, start)
        if found is not None:
            return found
    return np.zeros(len(pair.axes)), np.full(len(pair.axes), math.inf)


def climb(pair: Pair, rings: Rings, start: Array) -> tuple[Array, Array] | None:
    """`find_shift` from a start a few pixels off; None where it leads nowhere."""
    weight, shift = rings.weight(start), start
    root = np.sqrt(weight)
    a, a_slopes = pair.image(root * pair.first), pair.slopes(root * pair.first)
    for _ in range(STEPS):
        fetched, at = root * pair.moved(shift), pair.inner(shift)
        b, b_slopes = pair.image(fetched), pair.slopes(fetched)
        curvature = np.array([[(p[at] * q[at]).sum() for q in b_slopes] for p in a_slopes])
        curvature = curvature + curvature.T
        least = curvature_of_noise(pair, rings.noise(weight, shift)) * math.sqrt(a[at].size / a.size)
        told = axes_told(curvature, CLEAR / 2 * least)
        if not len(told):
            return None
        step = np.zeros(len(start))
        score = np.array([(a[at] * b_slopes[i][at] - b[at] * a_slopes[i][at]).sum() for i in told])
        step[told] = np.linalg.solve(curvature[np.ix_(told, told)], score)
        shift = shift + np.clip(step, -STEP_PX, STEP_PX)
        if np.abs(shift - start).max() > NEAR_PX:
            return None
        if np.abs(step).max() < CLOSE_PX:
            told = axes_told(curvature, CLEAR * least)
            error = np.full(len(start), math.inf)
            if len(told):
                error[told] = shift_error(pair, weight, shift, told, curvature[np.ix_(told, told)])
            error[error > VAGUE_PX] = math.inf
            return np.where(np.isfinite(error), shift, 0.0), error
    return None


def curvature_of_noise(pair: Pair, noise: Array) -> Array:
    """Standard deviation, along `pair.axes`, of the curvature that images without a common signal have."""
    size = math.prod(pair.whole[axis] for axis in pair.axes)
    return np.array([2 / size * math.sqrt(2 * float((noise * along**4).sum())) for along in pair.frequency])


def axes_told(curvature: Array, least: Array) -> Array:
    """Axes along which the peak is sharper than the least; none if it is a ridge that runs across them."""
    told = np.flatnonzero(curvature.diagonal() > least)
    if not len(told):
        return told
    sharp = curvature[np.ix_(told, told)]
    root = np.sqrt(np.maximum(least[told], 1e-9 * sharp.diagonal()))
    return told if np.linalg.eigvalsh(sharp / np.outer(root, root))[0] > 1 else told[:0]


def shift_error(pair: Pair, weight: Array, shift: Array, told: Array, curvature: Array) -> Array:
    """Standard errors of the shift along the axes `told`.

    To first order the sum of a ∇b − b ∇a is that of e ∇s, with s the signal filtered twice and e what the second has
    beyond the first, which is noise. The inverse curvature carries its covariance over to the shift.
    """
    at, second = pair.inner(shift), pair.moved(shift)
    spread = [max(float(pair.image(weight * part)[at].std()), TINY) for part in (pair.first, second)]
    gain = spread[1] / spread[0]
    apart = pair.image(second - gain * pair.first)[at]
    slopes = pair.slopes(weight * (pair.first + second / gain))
    inverse = np.linalg.inv(curvature)
    moments = [slopes[i][at] * (apart - apart.mean()) for i in told]
    return np.asarray(np.sqrt((inverse @ chance(moments) @ inverse).diagonal()))


def best_lags(pair: Pair, rings: Rings) -> list[Array]:
    """Whole pixels, along `pair.axes`, where the filtered images correlate most: nearby, then within reach.

    The one within reach comes alone if it is better by more than chance.
    """
    weight = rings.weight()
    match = pair.image(weight * pair.second * pair.first.conj())
    match = match.sum(tuple(axis for axis in range(match.ndim) if axis not in pair.axes))
    reach = [pair.shape[axis] // REACH for axis in pair.axes]
    near, best = highest(match, [min(NEAR_PX, far) for far in reach]), highest(match, reach)
    noise = math.sqrt(2 * float(rings.noise(weight, np.array(best, float)).sum())) / match.size
    lags = [best] if match[best] - match[near] > CLEAR * noise else list(dict.fromkeys((near, best)))
    return [np.array(lag, float) for lag in lags]


def highest(match: Array, reach: list[int]) -> tuple[int, ...]:
    """The lag, within reach, at which a map is highest; its negative lags are at the end."""
    lags = [np.r_[0 : far + 1, -far:0] for far in reach]
    inside = match[np.ix_(*lags)]
    return tuple(int(lag[i]) for lag, i in zip(lags, np.unravel_index(inside.argmax(), inside.shape), strict=True))


@dataclass(frozen=True)
class Pair:
    """Spectra of two images that run out into ramps on all sides, so that their ends meet.

    Along short axes there is no transform: a stack of three planes is three images that move together.
    """

    first: Array
    second: Array
    means: tuple[float, ...]
    shape: tuple[int, ...]
    whole: tuple[int, ...]
    """shape with ramps"""
    ramps: tuple[int, ...]
    """pixels of the ramp at the lower end"""
    axes: list[int]
    """along which a shift is sought; shifts are arrays along these"""

    @classmethod
    def of(cls, first: Array, second: Array) -> Pair:
        shape = first.shape
        axes = [axis for axis, size in enumerate(shape) if size >= SHORTEST]
        ramps = tuple(min(max(size // 16, 4), 32) if size >= SHORTEST else 0 for size in shape)
        # multiples of eight are transformed fast
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
        """Radians per pixel along each of `axes`, to be broadcast against the spectra."""
        lines = [np.fft.fftfreq(self.whole[axis]) for axis in self.axes[:-1]] + [np.fft.rfftfreq(self.whole[-1])]
        sides = range(len(self.shape))
        return [
            2 * math.pi * line.reshape([-1 if side == axis else 1 for side in sides])
            for axis, line in zip(self.axes, lines, strict=True)
        ]

    def image(self, spectrum: Array) -> Array:
        """The image of a spectrum, ramps included."""
        return np.fft.irfftn(spectrum, [self.whole[axis] for axis in self.axes], axes=self.axes)

    def slopes(self, spectrum: Array) -> list[Array]:
        """The derivatives of that image along `axes`."""
        return [self.image(1j * along * spectrum) for along in self.frequency]

    def moved(self, shift: Array) -> Array:
        """Spectrum of the second image, fetched from where it lies: second(p + shift)."""
        spectrum = self.second
        for along, by in zip(self.frequency, shift, strict=True):
            if by:
                spectrum = spectrum * np.exp(1j * by * along)
        return spectrum

    def inner(self, shift: Array) -> Region:
        """Where both hold the scene and lie off the ramps, if the second is fetched from the shift."""
        parts = [slice(None)] * len(self.shape)
        for axis, by in zip(self.axes, shift, strict=True):
            size, start = self.shape[axis], self.ramps[axis]
            margin = min(size // 8, 8)
            low, high = margin + max(0, math.ceil(-by)), size - margin - max(0, math.ceil(by))
            parts[axis] = slice(start + low, start + high)
        return tuple(parts)

    def along_all(self, values: Array, otherwise: float) -> tuple[float, ...]:
        """One value for each axis of the image."""
        known = dict(zip(self.axes, values.tolist(), strict=True))
        return tuple(known.get(axis, otherwise) for axis in range(len(self.shape)))


class Rings:
    """A pair's power averaged over rings of frequencies, and how much of it is one and the same signal."""

    def __init__(self, pair: Pair) -> None:
        radius = np.sqrt(sum((along**2 for along in pair.frequency), np.zeros(pair.first.shape)))
        self.pair, self.shape = pair, radius.shape
        self.place = radius.ravel() * (min(BINS, min(pair.whole[-2:]) // 2) / math.pi)
        self.index = self.place.astype(int)
        self.count = np.maximum(np.bincount(self.index), 1)
        powers, signal = [], np.ones(len(self.count))
        for spectrum in (pair.first, pair.second):
            square = spectrum.real**2 + spectrum.imag**2
            power, floor = self.mean(square), float(square[radius > FLOOR].mean())
            signal *= np.maximum(power - floor * (1 + 2 / np.sqrt(self.count)), 0.0)
            powers.append(power)
        self.both = np.maximum(powers[0] * powers[1], TINY)
        self.expected = np.sqrt(signal / self.both)
        """coherence, if the noise is white: scenes have nothing at the highest frequencies"""

    def mean(self, values: Array) -> Array:
        """Mean in each ring."""
        return np.asarray(np.bincount(self.index, values.ravel()) / self.count)

    def spread(self, rings: Array) -> Array:
        """Values of rings at each frequency, interpolated."""
        filled = np.unique(self.index)
        centre = np.bincount(self.index, self.place)[filled] / self.count[filled]
        return np.asarray(np.interp(self.place, centre, rings[filled]).reshape(self.shape))

    def coherence(self, shift: Array) -> Array:
        """Part of each ring's power that both have in common, if the second is fetched from the shift."""
        product = self.pair.moved(shift) * self.pair.first.conj()
        return np.asarray(np.clip(self.mean(product.real) / np.sqrt(self.both), 0.0, 1.0))

    def weight(self, shift: Array | None = None) -> Array:
        """Weights of the cross-spectrum; with a shift, less for what is not found coherent there."""
        weight = self.expected / np.maximum(1 - self.expected**2, CLEANEST) / np.sqrt(self.both)
        if shift is not None:
            weight *= np.minimum(self.coherence(shift) / np.maximum(self.expected, TINY), 1.0)
        return self.spread(weight)

    def noise(self, weight: Array, shift: Array) -> Array:
        """Variance of what noise of any colour adds to the weighted cross-spectrum: all that is not coherent."""
        same = self.coherence(shift)
        same = np.maximum(same - (1 - same**2) * np.sqrt(2 / self.count), 0.0)  # less what chance may add
        return weight**2 * self.spread(self.both * (1 - same**2))


def chance(moments: list[Array]) -> Array:
    """Covariance of sums over pixels, read from the terms of the sums, whose means are about 0.

    From squares of single pixels (White 1980), which are many. Where noise is correlated, or things moved, those of
    rows, of columns, or of blocks overlapped by half (Newey and West 1987) are larger, and count.
    """
    single = np.stack([term.ravel() for term in moments])
    covariance = single @ single.T
    blocks, overlap, part = block_sums(moments), 1, 1.0
    for axis in range(1, blocks.ndim):
        if blocks.shape[axis] > 1:
            none = np.zeros_like(np.take(blocks, [0], axis))
            part *= 2 / blocks.shape[axis]
            blocks = np.concatenate([none, blocks], axis) + np.concatenate([blocks, none], axis)
            overlap *= 2
    coarse = [(blocks.reshape(len(moments), -1) ** 2).sum(1) / overlap / max(1 - part, 0.25)]  # the fit took its part
    coarse += [np.array([(term.sum(axis) ** 2).sum() for term in moments]) for axis in (-1, -2)]
    growth = np.sqrt(np.maximum(np.max(coarse, 0) / np.maximum(covariance.diagonal(), TINY), 1.0))
    return np.asarray(covariance * np.outer(growth, growth))


def block_sums(moments: list[Array]) -> Array:
    """(terms, *blocks)."""
    sums = np.stack(moments)
    for axis in range(1, sums.ndim):
        size = sums.shape[axis]
        blocks = max(min(BLOCKS, size // BLOCK_PX), 1)
        sums = np.add.reduceat(sums, np.arange(blocks) * size // blocks, axis)
    return sums
