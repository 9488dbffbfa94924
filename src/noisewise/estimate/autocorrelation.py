"""The autocorrelation of the noise in a single image, separated from image texture, and from row and column offsets.

Even the most homogeneous blocks contain some texture. Its shape shows where it is stronger: the spectrum of less
homogeneous blocks minus that of the most homogeneous ones contains no noise. Its amount follows from a property that
noise does not have: a correlation over many pixels, equal along both axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.estimate.dct_blocks import Blocks, brightness_classes, dct_basis, homogeneous_spectra, radial_frequency

SMALLEST = np.finfo(float).tiny  # in place of zero, in any unit
MAX_LAG = 7  # pixels: the longest lag of the autocovariance that is fitted
FAR_LAGS = (4, 6)  # pixels: where noise is no longer correlated, but texture is
CLASSES = 6  # of brightness
MOST_HOMOGENEOUS, LESS_HOMOGENEOUS = (0.0, 0.05), (0.3, 0.7)  # ranks in homogeneity
MAX_TEXTURE_AMOUNT = 3.0  # times the difference between less and most homogeneous blocks
MAX_TEXTURE_SHARE = 0.7  # of the variance in the most homogeneous blocks: more is not attributed to texture
MIN_LINE_SHARE = 0.01  # of the variance, above which row or column offsets are removed before the rest is fitted


@dataclass(frozen=True)
class Autocorrelation:
    """The correlation between the noise of neighbouring pixels.

    rho: autocorrelation (1 + lags, 1 + lags) at vertical and horizontal lags, without row and column offsets.
    row_power, column_power: power of an offset that a whole row (column) shares, at each vertical (horizontal)
    frequency (w − 1,), in units of the variance of the rest; its mean is the offset's variance. texture: variance that
    was attributed to image texture, in the same units.
    """

    rho: Array
    row_power: Array
    column_power: Array
    texture: float

    @property
    def row_variance_ratio(self) -> float:
        """Variance of the row offsets over that of the rest."""
        return max(float(self.row_power.mean()), 0.0)

    @property
    def column_variance_ratio(self) -> float:
        """Variance of the column offsets over that of the rest."""
        return max(float(self.column_power.mean()), 0.0)

    def along(self, axis: str, lag: int = 1) -> float:
        """Autocorrelation along `Y` or `X`."""
        return float(self.rho[lag, 0] if axis == "Y" else self.rho[0, lag])

    @property
    def high_frequency_ratio(self) -> float:
        """Power at the highest frequencies over the mean power; 1 for white noise."""
        return float(np.clip(self.spectrum(8)[radial_frequency(8) > 0.8].mean(), 0.01, 1.0))

    @property
    def independent_fraction(self) -> float:
        """Variance of a pixel's noise minus the mean of its four neighbours', relative to independent pixels.

        Var(n − (n_up + n_down + n_left + n_right) / 4) / (5/4) for n with variance 1; at most 1, as for white noise.
        """
        rho = np.zeros((3, 3))
        rows, columns = (min(size, 3) for size in self.rho.shape)
        rho[:rows, :columns] = self.rho[:rows, :columns]
        residual = 5 / 4 - rho[1, 0] - rho[0, 1] + rho[1, 1] / 2 + (rho[2, 0] + rho[0, 2]) / 8
        return float(np.clip(residual / (5 / 4), 0.05, 1.0))

    def spectrum(self, side: int) -> Array:
        """Expected power of unit-variance noise at each frequency (w, w) of a block, without row and column offsets."""
        lags = min(len(self.rho), side)
        weight = lag_weights(side, lags)
        return np.asarray(weight @ self.rho[:lags, :lags] @ weight.T)


def estimate_autocorrelation(blocks: Blocks) -> Autocorrelation:
    """Estimate the autocorrelation of the noise from blocks (16 pixels wide)."""
    most, less = class_spectra(blocks)
    weight = class_weights(most)
    most, less = (np.tensordot(weight, spectra, (0, 0)) for spectra in (most, less))
    row_power, column_power = line_offset_power(most), line_offset_power(most.T)
    spectrum = without_line_offsets(most, row_power, column_power)
    error = np.maximum(spectrum, 0.02 * spectrum.max())
    total, texture = fit_autocovariance(spectrum, error), fit_autocovariance(less - most, error)
    noise = total - texture_amount(total, texture) * texture
    noise = noise - np.clip(noise[far_lags(noise)].mean(), 0, max(min(noise[0, 1], noise[1, 0]), 0))
    variance = noise[0, 0]
    return Autocorrelation(
        taper(noise / variance), row_power / variance, column_power / variance, float(total[0, 0] / variance - 1)
    )


def class_spectra(blocks: Blocks) -> tuple[Array, Array]:
    """Spectra of most and less homogeneous blocks of each brightness (classes, w, w), relative to their white noise."""
    ranges = (MOST_HOMOGENEOUS, LESS_HOMOGENEOUS)
    found = [homogeneous_spectra(blocks, members, ranges) for members in brightness_classes(blocks.surround, CLASSES)]
    most, less = (np.array([spectrum.power for spectrum in part]) for part in zip(*found, strict=True))
    least = max(1e-12 * float(less.mean()), SMALLEST)
    level = np.maximum(most[:, radial_frequency(blocks.side) > 0.8].mean(1)[:, None, None], least)
    return most / level, less / level


def class_weights(spectra: Array) -> Array:
    """Weights of the brightness classes: low where the power at low frequencies shows texture.

    The reference is the class with the second lowest power there. Classes without any noise have no weight.
    """
    frequency = radial_frequency(spectra.shape[-1])
    low = spectra[:, (frequency > 0) & (frequency < 0.4)].mean(1)
    noisy = low > 0
    if not noisy.any():
        raise UserError(
            "its most homogeneous places hold a single pixel value: there are too few photons, or the noise is weaker "
            "than a quantization step; give a noise model, or use a method that needs none (noisewise methods)"
        )
    reference = np.sort(low[noisy])[min(1, noisy.sum() - 1)]
    weight = noisy / (np.maximum(low - reference, 0) + 0.15 * reference) ** 2
    return np.asarray(weight / weight.sum())


def line_offset_power(spectrum: Array) -> Array:
    """Power of row offsets at each vertical frequency (w − 1,): the excess at horizontal frequency zero.

    The power without offsets is extrapolated from the neighbouring frequencies by a parabola that does not rise. A row
    offset of variance 1 has power w in a block of side w. At the lowest frequencies edges add to the excess, which is
    limited there to the mean of the others.
    """
    side = len(spectrum)
    v = np.arange(1, 5)
    parabola = v**2 - (v**2).mean()
    curvature = np.minimum(spectrum[side // 4 :, 1:5] @ parabola / (parabola @ parabola), 0).mean()
    expected = spectrum[1:, 1:5].mean(1) - curvature * (v**2).mean()
    excess = (spectrum[1:, 0] - expected) / side
    lowest = side // 4 - 1
    excess[:lowest] = np.minimum(excess[:lowest], max(float(excess[lowest:].mean()), 0.0))
    return np.asarray(excess)


def without_line_offsets(spectrum: Array, row_power: Array, column_power: Array) -> Array:
    """A spectrum from which row and column offsets were removed, where there are any."""
    cleaned = spectrum.copy()
    if row_power.mean() > MIN_LINE_SHARE:
        cleaned[1:, 0] = np.minimum(spectrum[1:, 0], np.median(spectrum[1:, 1:5], 1))
    if column_power.mean() > MIN_LINE_SHARE:
        cleaned[0, 1:] = np.minimum(spectrum[0, 1:], np.median(spectrum[1:5, 1:], 0))
    return cleaned


def far_lags(autocovariance: Array) -> Array:
    """Mask of the lags at which noise is no longer correlated, but texture is."""
    lag = np.maximum(*np.indices(autocovariance.shape))
    return np.asarray((lag >= FAR_LAGS[0]) & (lag <= FAR_LAGS[1]))


def texture_amount(noise: Array, texture: Array) -> float:
    """Factor of the texture's autocovariance to subtract so that none is left at far lags.

    Limited so that the noise of neighbouring pixels does not become negatively correlated, which is rare for noise.
    """
    far = far_lags(noise)
    error = 0.003 * noise[0, 0]
    amount = (noise[far] * texture[far]).sum() / ((texture[far] ** 2).sum() + far.sum() * error**2)
    for near in ((0, 1), (1, 0)):
        if noise[near] > 0 and texture[near] > 0:
            amount = min(amount, noise[near] / texture[near])
    if texture[0, 0] > 0:
        amount = min(amount, MAX_TEXTURE_SHARE * noise[0, 0] / texture[0, 0])
    return float(np.clip(amount, 0, MAX_TEXTURE_AMOUNT))


def fit_autocovariance(spectrum: Array, error: Array) -> Array:
    """Autocovariance (1 + MAX_LAG, 1 + MAX_LAG) of blocks with this power, by least squares without frequency 0."""
    side = len(spectrum)
    weight = lag_weights(side, MAX_LAG + 1)
    design = np.einsum("ud,ve->uvde", weight, weight).reshape(side * side, -1)
    scale = 1 / error.ravel()[1:]
    found = np.linalg.lstsq(design[1:] * scale[:, None], spectrum.ravel()[1:] * scale, rcond=None)[0]
    return np.asarray(found.reshape(MAX_LAG + 1, MAX_LAG + 1))


@cache
def lag_weights(side: int, lags: int) -> Array:
    """Power at each frequency per autocovariance at each lag (w, lags): Σᵢ cᵤ(i) cᵤ(i + d), for lags of both signs."""
    basis = dct_basis(side)
    columns = [(basis[:, : side - d] * basis[:, d:]).sum(1) * (1 if d == 0 else 2) for d in range(lags)]
    return np.stack(columns, 1)


def taper(rho: Array) -> Array:
    """Reduce the autocorrelation to zero between lag 3 and the last far lag, from where it contains only errors."""
    lag_y, lag_x = np.indices(rho.shape)
    distance = np.hypot(lag_y, lag_x)
    return np.asarray(rho * np.clip((FAR_LAGS[1] - distance) / (FAR_LAGS[1] - 3), 0, 1))
