"""The noise of a single image as a network reads it from block statistics, with its uncertainty.

The network is trained on synthetic scenes with synthetic noise (simulation-based inference): its answer is the
posterior p(noise | statistics) over such images. See `training/README.md`.

Source: amortised inference by simulation, Cranmer et al. 2020, doi:10.1073/pnas.1912789117.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import SMALLEST, Autocorrelation
from noisewise.estimate.block_statistics import COARSE, FINE, LAGS, WHOLE, BlockStatistics
from noisewise.estimate.variance import NoiseLevels
from noisewise.nets.noise_estimator import NoiseEstimator

RHO_ERROR = 0.02  # of the classical autocorrelation
LEAST_RATIO = 1e-3  # of the variance of line offsets, below which their spectrum is not known
WEIGHTS = Path(__file__).parent / "noise_estimator.safetensors"


@dataclass(frozen=True)
class LearnedNoise:
    """Posterior of the noise at K signals, dark to bright.

    signal (K,): ADU. variance (K,): ADU², the median. std (K,), factors (K, ·): errors of its logarithm, whose
    covariance matrix is diag(std²) + factors factorsᵀ. rho, rho_std (LAGS, LAGS): autocorrelation at vertical and
    horizontal lags, and its error. lines, lines_std (2,): log(1 + ratio), and its error, of the variances of row and
    column offsets over that of the rest. correlated: probability that neighbours are correlated. pixels: as in
    `NoiseLevels`.
    """

    signal: Array
    variance: Array
    std: Array
    factors: Array
    rho: Array
    rho_std: Array
    lines: Array
    lines_std: Array
    correlated: float
    pixels: list[Array]

    @property
    def total_std(self) -> Array:
        """Standard deviation (K,) of the logarithm of the variance."""
        return np.asarray(np.sqrt(self.std**2 + (self.factors**2).sum(1)))

    def distance(self, correlation: Autocorrelation, levels: NoiseLevels) -> float:
        """How far away classical estimates are, in standard deviations.

        The largest of: the variances of the dark, medium and bright third; the correlation of neighbours; the variances
        of row and column offsets.
        """
        near = tuple(np.array([(0, 1), (1, 0), (1, 1)]).T)
        of_rho = np.abs(correlation.rho[:LAGS, :LAGS] - self.rho)[near] / (self.rho_std[near] + RHO_ERROR)
        ratios = np.array([correlation.row_variance_ratio, correlation.column_variance_ratio])
        of_lines = np.abs(np.log1p(np.maximum(ratios, 0)) - self.lines) / (self.lines_std + RHO_ERROR)
        order = np.argsort(self.signal)
        expected, std = (
            np.interp(levels.signal, self.signal[order], part[order])
            for part in (np.log(self.variance), self.total_std)
        )
        apart = (np.log(levels.variance) - expected) / std
        thirds = [abs(float(np.median(part))) for part in np.array_split(apart, 3) if len(part)]
        return float(max(*thirds, of_rho.max(), of_lines.max()))

    @property
    def levels(self) -> NoiseLevels:
        """The noise levels, with errors of their own and shared ones."""
        none = np.zeros(len(self.signal))
        return NoiseLevels(self.signal, self.variance, 2 / self.std**2, none, none, self.pixels, self.factors)

    def autocorrelation(self, classical: Autocorrelation) -> Autocorrelation:
        """The autocorrelation; what is not larger than its error counts as none.

        classical: gives the correlation between the offsets of neighbouring rows, and of columns.
        """
        rho = np.zeros_like(classical.rho)
        rho[:LAGS, :LAGS] = shrunk(self.rho, self.rho_std)
        rho[0, 0] = 1.0
        powers = [
            power * max(wanted, 0.0) / found if found > LEAST_RATIO else np.full_like(power, max(wanted, 0.0))
            for power, found, wanted in zip(
                (classical.row_power, classical.column_power),
                (classical.row_variance_ratio, classical.column_variance_ratio),
                np.expm1(shrunk(self.lines, self.lines_std)), strict=True,
            )
        ]  # fmt: skip
        return Autocorrelation(rho, powers[0], powers[1], 0.0)


def shrunk(value: Array, error: Array) -> Array:
    """Values reduced by their errors, to zero where these are as large."""
    size = np.maximum(np.abs(value), SMALLEST)
    return np.asarray(value * np.maximum(1 - (error / size) ** 2, 0.0))


def is_trained() -> bool:
    """Whether the package holds a trained network; without one, the classical estimates are used."""
    return WEIGHTS.exists()


def read_noise(statistics: BlockStatistics, correlated: bool | None = None) -> LearnedNoise:
    """What the network reads from the statistics of an image. correlated: whether its noise is, if that is given."""
    assumed = torch.tensor([0.0 if correlated is None else 2.0 * correlated - 1.0])
    tensors = (torch.from_numpy(part[None]).float() for part in (statistics.fine, statistics.coarse, statistics.whole))
    with torch.no_grad():
        out = network()(*tensors, torch.tensor([[len(statistics.fine), len(statistics.coarse)]]), assumed)
    std, factors = out.std[0].double(), out.factors[0].double()
    rho, rho_std = np.eye(1, LAGS**2).ravel(), np.zeros(LAGS**2)
    value, error = out.correlation[0].double().numpy(), out.correlation_std[0].double().numpy()
    rho[1:], rho_std[1:] = value[:-2], error[:-2]
    return LearnedNoise(
        statistics.signal, statistics.floor * out.variance[0].double().exp().numpy(),
        std.numpy(), factors.numpy(), rho.reshape(LAGS, LAGS), rho_std.reshape(LAGS, LAGS),
        value[-2:], error[-2:], float(out.correlated.sigmoid()), statistics.pixels,
    )  # fmt: skip


@cache
def network() -> NoiseEstimator:
    """The trained network."""
    net = NoiseEstimator(FINE, COARSE, WHOLE, LAGS**2 - 1)
    net.load_state_dict({name: tensor.float() for name, tensor in load_file(WEIGHTS).items()})
    return net.eval()
