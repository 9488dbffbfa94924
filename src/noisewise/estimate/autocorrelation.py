"""The noise's autocorrelation in a single image: texture told from noise, rows and columns from both.

In the flattest blocks some texture is left. Its shape is seen where it grows: the spectrum of less flat blocks minus
that of the flattest holds no noise. Its amount is what noise cannot be: a correlation over many pixels, the same
along both axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from noisewise.axes import Array
from noisewise.estimate.dct_blocks import Blocks, classes, cosines, flattest, radius

LAGS = 7  # pixels: the farthest autocovariance that is fitted
FAR = (4, 6)  # pixels: where noise no longer correlates, and texture still does
CLASSES = 6  # of brightness
FLATTEST, LESS_FLAT = (0.0, 0.05), (0.3, 0.7)  # ranks of flatness
MOST_TEXTURE = 3.0  # times the difference between less flat and flattest blocks
LARGEST_SHARE = 0.7  # of the variance in the flattest blocks: more is not taken for texture
LINE_SHARE = 0.01  # of the variance, above which rows or columns are taken out before the rest is fitted


@dataclass(frozen=True)
class Autocorrelation:
    """How the noise of neighbouring pixels goes together.

    rho: autocorrelation (1 + lags, 1 + lags) at vertical and horizontal distances, without rows and columns.
    rows, columns: variance of an offset that a whole row (column) shares, as power at each vertical (horizontal)
    frequency (w − 1,), in units of the variance of the rest. texture: what was taken for texture, in the same units.
    """

    rho: Array
    rows: Array
    columns: Array
    texture: float

    @property
    def row_share(self) -> float:
        """Variance of the row offsets over that of the rest."""
        return max(float(self.rows.mean()), 0.0)

    @property
    def column_share(self) -> float:
        """Variance of the column offsets over that of the rest."""
        return max(float(self.columns.mean()), 0.0)

    def along(self, axis: str, lag: int = 1) -> float:
        """Autocorrelation along `Y` or `X`."""
        return float(self.rho[lag, 0] if axis == "Y" else self.rho[0, lag])

    @property
    def finest_share(self) -> float:
        """Power at the finest frequencies over the mean power; 1 for white noise."""
        return float(np.clip(self.spectrum(8)[radius(8) > 0.8].mean(), 0.01, 1.0))

    @property
    def own_share(self) -> float:
        """Variance that a pixel's noise has beyond the mean of its four neighbours', over that of independent pixels.

        Var(n − (n_up + n_down + n_left + n_right) / 4) / (5/4), of n with variance 1; white noise has 1, the most.
        """
        rho = np.zeros((3, 3))
        rows, columns = (min(size, 3) for size in self.rho.shape)
        rho[:rows, :columns] = self.rho[:rows, :columns]
        beyond = 5 / 4 - rho[1, 0] - rho[0, 1] + rho[1, 1] / 2 + (rho[2, 0] + rho[0, 2]) / 8
        return float(np.clip(beyond / (5 / 4), 0.05, 1.0))

    def spectrum(self, side: int) -> Array:
        """Expected power of unit noise at each frequency of a block (w, w), rows and columns left out."""
        lags = min(len(self.rho), side)
        weight = weights(side, lags)
        return np.asarray(weight @ self.rho[:lags, :lags] @ weight.T)


WHITE = Autocorrelation(np.eye(1), np.zeros(1), np.zeros(1), 0.0)


def correlate(blocks: Blocks) -> Autocorrelation:
    """The autocorrelation of the noise in blocks (16 pixels wide)."""
    flat, less = class_spectra(blocks)
    weight = trust(flat)
    flat, less = (np.tensordot(weight, spectra, (0, 0)) for spectra in (flat, less))
    rows, columns = line_excess(flat), line_excess(flat.T)
    quiet = without_lines(flat, rows, columns)
    floor = np.maximum(quiet, 0.02 * quiet.max())
    noise, texture = autocovariance(quiet, floor), autocovariance(less - flat, floor)
    amount = texture_amount(noise, texture)
    clean = noise - amount * texture
    rest = np.clip(clean[far_lags(clean)].mean(), 0, max(min(clean[0, 1], clean[1, 0]), 0))
    clean = clean - rest
    total = clean[0, 0]
    return Autocorrelation(tapered(clean / total), rows / total, columns / total, float(noise[0, 0] / total - 1))


def class_spectra(blocks: Blocks) -> tuple[Array, Array]:
    """Spectra of flattest and of less flat blocks of each brightness (classes, w, w), in units of the white level."""
    found = [flattest(blocks, members, (FLATTEST, LESS_FLAT)) for members in classes(blocks.around, CLASSES)]
    flat, less = (np.array([spectrum.power for spectrum in part]) for part in zip(*found, strict=True))
    level = flat[:, radius(blocks.side) > 0.8].mean(1)[:, None, None]
    level = np.maximum(level, 1e-30)
    return flat / level, less / level


def trust(flat: Array) -> Array:
    """Weights of the classes: little for those with more low frequencies than the second least, which are texture."""
    distance = radius(flat.shape[-1])
    low = flat[:, (distance > 0) & (distance < 0.4)].mean(1)
    least = np.sort(low)[min(1, len(low) - 1)]
    weight = 1 / (np.maximum(low - least, 0) + 0.15 * least) ** 2
    return np.asarray(weight / weight.sum())


def line_excess(spectrum: Array) -> Array:
    """Power of row offsets at each vertical frequency (w − 1,): what stands out at horizontal frequency zero.

    The neighbouring frequencies say what would be there without, by a parabola that does not rise. A row offset of
    variance 1 has power w in a block of side w. At the lowest frequencies edges stand out too: they count no more
    than the others.
    """
    side = len(spectrum)
    v = np.arange(1, 5)
    curve = v**2 - (v**2).mean()
    bend = np.minimum(spectrum[side // 4 :, 1:5] @ curve / (curve @ curve), 0).mean()
    without = spectrum[1:, 1:5].mean(1) - bend * (v**2).mean()
    excess = (spectrum[1:, 0] - without) / side
    few = side // 4 - 1
    excess[:few] = np.minimum(excess[:few], max(float(excess[few:].mean()), 0.0))
    return np.asarray(excess)


def without_lines(spectrum: Array, rows: Array, columns: Array) -> Array:
    """A spectrum with row and column offsets taken out, where there are any."""
    cleaned = spectrum.copy()
    if rows.mean() > LINE_SHARE:
        cleaned[1:, 0] = np.minimum(spectrum[1:, 0], np.median(spectrum[1:, 1:5], 1))
    if columns.mean() > LINE_SHARE:
        cleaned[0, 1:] = np.minimum(spectrum[0, 1:], np.median(spectrum[1:5, 1:], 0))
    return cleaned


def far_lags(autocovariance: Array) -> Array:
    """Where noise no longer correlates, and texture still does."""
    lag = np.maximum(*np.indices(autocovariance.shape))
    return np.asarray((lag >= FAR[0]) & (lag <= FAR[1]))


def texture_amount(noise: Array, texture: Array) -> float:
    """How much of the texture's autocovariance to take off so that none is left at far lags.

    Never so much that the noise of neighbouring pixels would become opposed: texture could do that, noise rarely does.
    """
    far = far_lags(noise)
    error = 0.003 * noise[0, 0]
    amount = (noise[far] * texture[far]).sum() / ((texture[far] ** 2).sum() + far.sum() * error**2)
    for near in ((0, 1), (1, 0)):
        if noise[near] > 0 and texture[near] > 0:
            amount = min(amount, noise[near] / texture[near])
    if texture[0, 0] > 0:
        amount = min(amount, LARGEST_SHARE * noise[0, 0] / texture[0, 0])
    return float(np.clip(amount, 0, MOST_TEXTURE))


def autocovariance(spectrum: Array, error: Array) -> Array:
    """Autocovariance (1 + LAGS, 1 + LAGS) whose blocks have this power; least squares, frequency 0 left out."""
    side = len(spectrum)
    design = np.einsum("ud,ve->uvde", weights(side, LAGS + 1), weights(side, LAGS + 1)).reshape(side * side, -1)
    scale = 1 / error.ravel()[1:]
    found = np.linalg.lstsq(design[1:] * scale[:, None], spectrum.ravel()[1:] * scale, rcond=None)[0]
    return np.asarray(found.reshape(LAGS + 1, LAGS + 1))


@cache
def weights(side: int, lags: int) -> Array:
    """What autocovariance at each lag adds to the power at each frequency (w, lags): Σᵢ cᵤ(i) cᵤ(i + d), both signs."""
    basis = cosines(side)
    columns = [(basis[:, : side - d] * basis[:, d:]).sum(1) * (1 if d == 0 else 2) for d in range(lags)]
    return np.stack(columns, 1)


def tapered(rho: Array) -> Array:
    """Without the far lags, which hold errors only: down to zero between lag 3 and the last."""
    lag_y, lag_x = np.indices(rho.shape)
    distance = np.hypot(lag_y, lag_x)
    return np.asarray(rho * np.clip((FAR[1] - distance) / (FAR[1] - 3), 0, 1))
