"""The noise variance of a single image against its signal, from the most homogeneous blocks of each brightness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import torch

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import SMALLEST, Autocorrelation
from noisewise.estimate.dct_blocks import MIN_BLOCKS, Blocks, brightness_classes, homogeneous_spectra, radial_frequency
from noisewise.noise.fit.variance_line import VarianceLine, fit_line, fit_log_line
from noisewise.noise.quantization import Quantization

CLASSES = 16  # of brightness
FRACTIONS = (0.1, 0.2, 0.4, 0.8)  # of the blocks, most homogeneous first; the largest that adds no texture is used
ADDED_TEXTURE = 0.05  # of the noise: texture that more blocks may add
PIXEL_FRACTION = 0.2  # of the blocks, most homogeneous first, whose pixels show the distribution of the noise
HIGH_FREQUENCY = 0.8  # from here on the noise is measured: the optics transmit little of the image there
FIELD, FIELD_BLOCKS, FLAT = 3, 40, 1.2  # parts of the image along an axis; blocks in each; power, low over high
HARDLY_CLIPPED, MOSTLY_CLIPPED = 0.02, 0.9  # of the pixels: too few to matter; too many to tell what was before
LEFT_AT_LIMIT = 0.35  # of the squared gain: variance that photon noise does not have where there are no photons
FALLING = 0.8  # of the variance at the darkest signals
CHI2_MEDIAN = 0.455  # of one degree of freedom
TEXTURE_ERROR = 0.03  # fraction of the texture at low frequencies that the high ones may contain too
# The variance is nonlinear if this number of levels lie this far below the line, by this number of standard errors.
NONLINEAR_LEVELS, NONLINEAR_DEVIATION, STANDARD_ERRORS = 3, 0.05, 2.0
FALLING_ERRORS, FALLING_ERRORS_READ = 4.0, 2.5  # standard errors of the slope; where a network reads the noise
MAX_GAIN_ERROR = 0.3  # relative standard error of the gain, above which it is not reported
MUCH_LIGHT, HARDLY_RISING = 3.0, 0.55  # ratio of the brightest to the darkest signal; exponent of the variance


@dataclass(frozen=True)
class NoiseLevels:
    """Noise variance (ADU²) at several signals (ADU), dark to bright, with its degrees of freedom.

    texture: power at low frequencies over that of noise, minus one: how much of the image remains in the blocks.
    clipped: fraction of the pixels at the lower limit, for which signal and variance are `corrected`; or zeros.
    pixels: at each level, half of the pixels (M, w² / 2) of the most homogeneous blocks, ADU. shared (levels, ·):
    errors of the logarithm of the variance that the levels have in common, as factors of its covariance matrix; None
    where each has only errors of its own. relative_error: of all variances together.
    """

    signal: Array
    variance: Array
    freedom: Array
    texture: Array
    clipped: Array
    pixels: list[Array]
    shared: Array | None = None
    relative_error: float = 0.0

    @property
    def corrected(self) -> bool:
        """Whether signals and variances are those before clipping; the pixels are not."""
        return bool(self.clipped.any())

    @property
    def third_cumulant(self) -> Array:
        """κ₃ (ADU³) at each signal."""
        return np.array([third_cumulant(pixels) for pixels in self.pixels])

    @property
    def pairs(self) -> tuple[Array, Array]:
        """Noisy values in homogeneous places and their signals, the means of their blocks; ADU, both (N,)."""
        noisy = np.concatenate(self.pixels)
        return noisy.ravel(), np.repeat(noisy.mean(1), noisy.shape[1])

    def fit(self) -> VarianceLine:
        """The line of variance against signal, with low weight for levels with texture; without the relative error.

        Errors: `UserError` for a single level.
        """
        if self.shared is not None:
            covariance = np.diag(2 / self.freedom) + self.shared @ self.shared.T
            return fit_log_line(*(torch.as_tensor(part) for part in (self.signal, self.variance, covariance)))
        uncertainty = 1 + self.freedom / 2 * (TEXTURE_ERROR * np.maximum(self.texture, 0)) ** 2
        freedom = self.freedom / uncertainty
        line = fit_line(*(torch.as_tensor(part) for part in (self.signal, self.variance, freedom)))
        return line.with_scaled_errors(self.error_factor(line, freedom))

    def is_nonlinear(self, line: VarianceLine) -> bool:
        """Whether the variance does not follow the line: several levels lie clearly below it.

        Image structure in a block only increases its variance: levels above the line may be texture, levels below it
        are not. The cause may be pixel values that are not proportional to the light.
        """
        upper = self.variance * (1 + STANDARD_ERRORS * np.sqrt(2 / self.freedom))
        below = upper < (1 - NONLINEAR_DEVIATION) * line(self.signal)
        return bool(below.sum() >= NONLINEAR_LEVELS)

    @property
    def centre(self) -> tuple[float, float]:
        """Mean signal (ADU) and variance (ADU²) of the levels, weighted by the errors of the variance."""
        weight = self.freedom / self.variance**2
        signal, variance = (float((weight * part).sum() / weight.sum()) for part in (self.signal, self.variance))
        return signal, variance

    @property
    def fall(self) -> bool:
        """Whether the variance is clearly lower at high signals, along a line or not, as after taking a logarithm.

        Image texture adds to the variance of dark levels too, where the dark parts are the textured ones, as in bright
        field: as far as it may explain the difference, nothing falls.
        """
        third = len(self.signal) // 3
        if not third:
            return False
        without_texture = self.variance / (1 + TEXTURE_ERROR * np.maximum(self.texture, 0))
        dark, bright = float(np.median(without_texture[:third])), float(np.median(self.variance[-third:]))
        error = float((2 / self.freedom[:third].sum() + 2 / self.freedom[-third:].sum()) ** 0.5)
        return bright * (1 + STANDARD_ERRORS * error) < FALLING * dark

    def hardly_rises(self, darkest: float) -> bool:
        """Whether the variance rises by no more than about the square root of the light, where that rises much.

        Texture is a part of the light: its variance rises with the square. darkest: the lowest pixel value, ADU.
        """
        light = self.signal - darkest
        if len(light) < 3 or light.min() <= 0 or light.max() < MUCH_LIGHT * light.min():
            return False
        return bool(np.polyfit(np.log(light), np.log(self.variance), 1)[0] < HARDLY_RISING)

    def are_clipped(self, limit: float) -> bool:
        """Whether noise was cut off at a limit (ADU), and not that few photons left many pixels there.

        Photon noise of gain g, counted from the limit, vanishes at the limit. Where noise was cut off, some is left:
        the line through the levels has a variance of more than about g² / 3 there, even if g is two standard errors
        larger. False where hardly any pixels are at the limit, and where all signals are equal.
        """
        some = (self.clipped > HARDLY_CLIPPED) & (self.clipped < MOSTLY_CLIPPED)
        if not some.any() or len(self.signal) < 3 or not np.ptp(self.signal) > 0:
            return False
        line, (signal, variance) = self.fit(), self.centre
        gain = max(line.slope + STANDARD_ERRORS * line.slope_error, 0.0)
        return variance - gain * (signal - limit) > LEFT_AT_LIMIT * gain**2

    def read_noise_variance(self, line: VarianceLine) -> float:
        """σ² (ADU²) of the read noise, which is symmetric, unlike shot noise.

        Shot noise has κ₃ = g² (s − o) = g (v − σ²), Gaussian read noise has none: each level gives σ² = v − κ₃ / g.
        With an electron-multiplying detector κ₃ is up to 1.5 times larger, and the estimate is biased towards zero.
        Limited to the range from zero to all of the noise at the darkest signal.
        """
        if line.slope <= 0:
            return float(max(line.intercept, 0.0))
        weight = self.freedom / self.variance**3
        estimate = float((weight * (self.variance - self.third_cumulant / line.slope)).sum() / weight.sum())
        return float(np.clip(estimate, 0.0, max(line(self.signal.min()), 0.0)))

    def slope_from_shape(self) -> float:
        """The slope from the skewness of the noise at one signal: κ₃ / v = g (1 − σ²/v), so with read noise less.

        From the darker half of the levels, whose pixels contain least of the image.
        """
        half = slice(max(len(self.signal) // 2, 1))
        return float(self.third_cumulant[half].mean() / self.variance[half].mean())

    def error_factor(self, line: VarianceLine, freedom: Array) -> float:
        """Factor by which errors exceed those expected from the degrees of freedom, at least 1: from the median χ²."""
        expected = np.maximum(line(self.signal), 1e-9 * self.variance.mean())
        chi2 = freedom / 2 * (self.variance / expected - 1) ** 2
        return float(max(np.sqrt(np.median(chi2) / CHI2_MEDIAN), 1.0))


def estimate_noise_levels(
    blocks: Blocks, correlation: Autocorrelation, clipped_by: Quantization | None = None
) -> NoiseLevels:
    """Estimate the variance by brightness from blocks (8 pixels wide), without that of row and column offsets.

    correlation: autocorrelation of the noise, which determines its spectrum. clipped_by: what cut off dark noise;
    the levels are then those before.
    """
    side = blocks.side
    expected = correlation.spectrum(side)
    expected = np.maximum(expected, 0.01 * expected.max())
    u, v = np.mgrid[:side, :side]
    inside = (u > 0) & (v > 0)
    high, low = inside & (radial_frequency(side) >= HIGH_FREQUENCY), inside & (radial_frequency(side) < 0.6)
    # Sorted by their own means, blocks that noise made brighter would count as bright, and the slope be too small.
    classes = brightness_classes(blocks.surround, CLASSES, split_brightest=True)
    least = max(1e-12 * float(blocks.power.mean()), SMALLEST)
    levels = []
    for members in classes:
        found = []
        for selected in homogeneous_spectra(blocks, members, [(0.0, fraction) for fraction in FRACTIONS]):
            spectrum = selected.power / expected
            variance = max(float(spectrum[high].mean()), least)
            texture, signal = spectrum[low].mean() / variance - 1, selected.signal
            if clipped_by is not None and HARDLY_CLIPPED < selected.clipped < MOSTLY_CLIPPED:
                signal, variance = before_clipping(variance, selected.clipped, clipped_by)
            found.append((signal, variance, selected.count * high.sum(), texture, selected.clipped))
        most_texture = max(found[0][3], 0) + ADDED_TEXTURE
        levels.append(next((level for level in reversed(found) if level[3] <= most_texture), found[0]))
    order = np.argsort([level[0] for level in levels], kind="stable")  # of classes alike, the signals may be swapped
    signal, variance, freedom, texture, clipped = np.array(levels)[order].T
    pixels = [homogeneous_pixels(blocks, classes[number]) for number in order]
    return NoiseLevels(signal, variance, freedom, texture, clipped, pixels)


def before_clipping(variance: float, clipped: float, by: Quantization) -> tuple[float, float]:
    """Signal (ADU) and variance (ADU²) of normal noise of which a fraction is at the lower limit.

    All values below the edge, half a step d above the limit, are stored as the limit. With a = (s − edge) / σ, the
    cumulative normal distribution Φ and the normal density φ at a, their fraction is p = Φ(−a), and the stored values
    have the variance k σ² + 2 d p m σ + d² p (1 − p), where m = a Φ + φ and k = (a² + 1) Φ + a φ − m². This is solved
    for σ.

    Source: the moments of a censored normal distribution, Tobin 1958, doi:10.2307/1907382.
    """
    normal, below, low = NormalDist(), by.step / 2, by.low or 0.0
    a = -normal.inv_cdf(clipped)
    above, density = 1 - clipped, normal.pdf(a)
    mean = a * above + density
    k, h = (a**2 + 1) * above + a * density - mean**2, below * clipped * mean
    rest = max(variance - below**2 * clipped * above, 0.0)
    std = (-h + (h**2 + k * rest) ** 0.5) / k
    return low + below + a * std, max(std**2, SMALLEST)


def field_ratio(blocks: Blocks, levels: NoiseLevels) -> float:
    """How much the noise variance differs over the field at equal signals: of the ninths of the image, high over low.

    Compared are blocks without image texture, whose low frequencies have no more power than their high ones. 1 where
    there are too few.
    """
    frequency = radial_frequency(blocks.side)
    high = blocks.power[:, frequency >= HIGH_FREQUENCY].mean(1)
    low = blocks.power[:, (frequency > 0) & (frequency < 0.6)].mean(1)
    relative = high / np.maximum(np.interp(blocks.mean, levels.signal, levels.variance), SMALLEST)
    cell = (blocks.place * FIELD).astype(int) @ np.array([FIELD, 1])
    flat = (low < FLAT * high) & (blocks.clipped == 0)
    parts = [relative[flat & (cell == number)] for number in range(FIELD**2)]
    medians = [float(np.median(part)) for part in parts if len(part) >= FIELD_BLOCKS]
    return max(medians) / max(min(medians), SMALLEST) if len(medians) > 1 else 1.0


def homogeneous_pixels(blocks: Blocks, members: Array) -> Array:
    """Half of the pixels (M, w² / 2) of the most homogeneous of some blocks, ADU, in a checkerboard pattern.

    The other half selects the blocks: no block is selected by the pixels that are returned, so the tails of the noise
    are kept.
    """
    row, column = np.mgrid[: blocks.side, : blocks.side]
    selecting = (row + column) % 2 == 0
    variance = blocks.pixels[members][:, selecting].var(1)
    chosen = members[np.argsort(variance)[: max(int(PIXEL_FRACTION * len(members)), MIN_BLOCKS)]]
    return np.asarray(blocks.pixels[chosen][:, ~selecting])


def third_cumulant(pixels: Array) -> float:
    """κ₃ (ADU³) of noise from pixels (M, n) of blocks with one signal each."""
    deviation = pixels - pixels.mean(1, keepdims=True)
    return float((deviation**3).mean() / (1 - 3 / pixels.shape[1]))


def variance_line(levels: NoiseLevels) -> VarianceLine:
    """The line through the levels; their mean where they neither rise nor clearly fall, as in inverted images."""
    line = None
    if len(levels.signal) > 2 and np.ptp(levels.signal) > 0:
        line = within_errors(levels.fit(), levels)
    if line is None or not (line.slope > 0 or falls(line, levels)):
        error = float(np.sqrt(2 / (levels.freedom / levels.variance**2).sum()))
        line = VarianceLine(0.0, levels.centre[1], ((np.inf, 0.0), (0.0, error**2)))
    return line.with_relative_error(levels.relative_error)


def within_errors(line: VarianceLine, levels: NoiseLevels) -> VarianceLine:
    """The line; where its slope is uncertain, with that which the shape of the noise suggests, as far as both agree.

    Sparse spots on an even background are such images: the signals of their homogeneous parts hardly differ. The shape
    shows a slope that is too small where there is read noise, so it may raise the slope more than lower it.
    """
    slope, error = levels.slope_from_shape(), line.slope_error
    if levels.corrected or levels.shared is not None or error < MAX_GAIN_ERROR * max(slope, abs(line.slope)):
        return line
    slope = min(max(slope, line.slope - error), line.slope + 2 * error)
    signal, variance = levels.centre
    return replace(line, slope=slope, intercept=variance - slope * signal)


def falls(line: VarianceLine, levels: NoiseLevels) -> bool:
    """Whether the variance clearly decreases with the signal, and follows a line."""
    ends = line(float(levels.signal.min())), line(float(levels.signal.max()))
    errors = FALLING_ERRORS if levels.shared is None else FALLING_ERRORS_READ
    clear = -line.slope > errors * line.slope_error
    return clear and ends[1] < FALLING * ends[0] and ends[1] > 0 and not levels.is_nonlinear(line)
