"""The variance law in a single image: what the flattest blocks of each brightness say, and a line through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import Autocorrelation
from noisewise.estimate.dct_blocks import FEWEST_BLOCKS, Blocks, classes, flattest, radius
from noisewise.noise.fit.variance_line import VarianceLine, fit_line

CLASSES = 16  # of brightness
SHARES = (0.1, 0.2, 0.4, 0.8)  # of the blocks, flattest first: as many as are as flat as the first
CALM = 0.2  # of the blocks, flattest first, that show the shape of the noise
AS_FLAT = 0.05  # of the noise: texture that more blocks may add
HIGH = 0.8  # frequencies from here on measure the noise: the optics leave little of the image there
CHI2_MEDIAN = 0.455  # of one degree of freedom
TEXTURE_ERROR = 0.03  # of the texture that is seen at low frequencies may be in the high ones too
BENT, SURE, BENDS = 0.05, 2.0, 3  # a level this far below the line, by so many standard errors; as many bend it


@dataclass(frozen=True)
class NoiseLevels:
    """Noise variance (ADU²) at some signals (ADU), dark to bright; freedom: how many squares each is the mean of.

    texture: power at low frequencies over that of noise, less one: how much of the image is left in the blocks.
    calm: of each level, half of the pixels (M, w² / 2) of the flattest blocks, ADU.
    """

    signal: Array
    variance: Array
    freedom: Array
    texture: Array
    calm: list[Array]

    @property
    def third(self) -> Array:
        """κ₃ (ADU³) at each signal."""
        return np.array([third_moment(pixels) for pixels in self.calm])

    @property
    def pairs(self) -> tuple[Array, Array]:
        """Noisy values and their signals, the means of their blocks, in flat places; ADU, both (N,)."""
        noisy = np.concatenate(self.calm)
        return noisy.ravel(), np.repeat(noisy.mean(1), noisy.shape[1])

    def fit(self) -> VarianceLine:
        """The line of variance against signal; textured levels count less. Errors: `UserError` for a single level."""
        doubt = 1 + self.freedom / 2 * (TEXTURE_ERROR * np.maximum(self.texture, 0)) ** 2
        line = fit_line(*(torch.as_tensor(part) for part in (self.signal, self.variance, self.freedom / doubt)))
        return line.stretched(self.misfit(line, self.freedom / doubt))

    def bend(self, line: VarianceLine) -> bool:
        """Whether the variance stops following the line: some levels lie clearly below it.

        What is left of the image in a block adds to its variance and never takes off: levels above the line may be
        texture, levels below it are not. Grey values that are not linear can make it so.
        """
        most = self.variance * (1 + SURE * np.sqrt(2 / self.freedom))
        below = most < (1 - BENT) * line(self.signal)
        return bool(below.sum() >= BENDS)

    def read_variance(self, line: VarianceLine) -> float:
        """σ² (ADU²) of the read noise, told from shot noise by its symmetry.

        Counting has κ₃ = g² (s − o) = g (v − σ²), Gaussian read noise none: each level gives σ² = v − κ₃ / g. Behind a
        multiplying detector κ₃ is up to 1.5 times larger, and the answer rather zero. Between zero and all noise of
        the darkest signal.
        """
        if line.slope <= 0:
            return float(max(line.intercept, 0.0))
        weight = self.freedom / self.variance**3
        found = float((weight * (self.variance - self.third / line.slope)).sum() / weight.sum())
        return float(np.clip(found, 0.0, max(line(self.signal.min()), 0.0)))

    def misfit(self, line: VarianceLine, freedom: Array) -> float:
        """By how much errors are larger than counting says, at least 1: from the median of chi²."""
        expected = np.maximum(line(self.signal), 1e-9 * self.variance.mean())
        chi2 = freedom / 2 * (self.variance / expected - 1) ** 2
        return float(max(np.sqrt(np.median(chi2) / CHI2_MEDIAN), 1.0))


def noise_levels(blocks: Blocks, correlation: Autocorrelation) -> NoiseLevels:
    """Variance by brightness from blocks (8 pixels wide), for noise with this correlation; rows and columns apart."""
    side = blocks.side
    shape = np.maximum(correlation.spectrum(side), 0.01 * correlation.spectrum(side).max())
    u, v = np.mgrid[:side, :side]
    inside = (u > 0) & (v > 0)
    high, low = inside & (radius(side) >= HIGH), inside & (radius(side) < 0.6)
    # Sorted by their own means, blocks that noise made bright would count as bright ones, and the line be too flat.
    members_of = classes(blocks.around, CLASSES, split_brightest=True)
    rows = []
    for members in members_of:
        found = []
        for chosen in flattest(blocks, members, [(0.0, share) for share in SHARES]):
            spectrum = chosen.power / shape
            variance = max(float(spectrum[high].mean()), 1e-12)
            texture = spectrum[low].mean() / variance - 1
            found.append((chosen.level, variance, chosen.count * high.sum(), texture))
        rows.append(next(row for row in reversed(found) if row[3] <= max(found[0][3], 0) + AS_FLAT or row is found[0]))
    calm = [calm_pixels(blocks, members) for members in members_of]
    signal, variance, freedom, texture = np.array(rows).T
    return NoiseLevels(signal, variance, freedom, texture, calm)


def calm_pixels(blocks: Blocks, members: Array) -> Array:
    """Half of the pixels (M, w² / 2) of the flattest of some blocks, ADU; the other half, by chessboard, tells which.

    A block is so not chosen for the pixels that are taken: the tails of the noise stay in.
    """
    row, column = np.mgrid[: blocks.side, : blocks.side]
    chess = (row + column) % 2 == 0
    roughness = blocks.pixels[members][:, chess].var(1)
    chosen = members[np.argsort(roughness)[: max(int(CALM * len(members)), FEWEST_BLOCKS)]]
    return np.asarray(blocks.pixels[chosen][:, ~chess])


def third_moment(pixels: Array) -> float:
    """κ₃ (ADU³) of noise from pixels (M, n) of blocks of one signal each."""
    deviation = pixels - pixels.mean(1, keepdims=True)
    return float((deviation**3).mean() / (1 - 3 / pixels.shape[1]))
