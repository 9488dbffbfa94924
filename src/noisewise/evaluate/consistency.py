"""Whether a denoised image is consistent with the noisy image and its noise model; no truth is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import NormalDist
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from noisewise.noise.base import Noise
from noisewise.posterior import Posterior

STEP = 0.3  # standard deviations of the noise, by which an image is changed to estimate a denoiser's divergence
TOO_MUCH, TOO_LITTLE = 1.25, 0.75  # of the residual, beyond which a result is in doubt
STRUCTURED, OTHER_SHAPE, UNSTABLE = 0.15, 0.2, 1.5  # of correlation, shape and stability
FEW_PHOTONS, SHAPE_SHARE = 5.0, 0.1  # photons of a pixel whose shape of the noise counts; share of such pixels
OFTEN = 0.9  # of the pixels, whose change tells whether a result is stable
QUANTILES, MOST_VALUES = (0.05, 0.25, 0.75, 0.95), 1 << 17  # of the values that are removed
BLOCK, BLOCK_SHARE = 16, 0.5  # pixels; fraction of a block that must count
SEED = 1_000_003  # not one from which others draw noise

DenoiseFunction = Callable[[Tensor], Posterior[Tensor]]


@dataclass(frozen=True)
class ConsistencyCheck:
    """What a denoiser removed, compared with the noise model; n: noise of the model at D(x), v: its variance, D: D(x).

    residual: Σ (x − D)² / v over Σ (n² − n · dD(x + t n)/dt) / v. It is 1 where as much is removed as a posterior mean
    under the right noise model removes. Less: the model has too much noise (or the image was overfitted). More: it has
    too little (or structure was removed with the noise).
    residual_noise_fraction: (Σ n · dD/dt) / Σ n², the fraction of the noise that is left in D.
    correlation: by axis, of neighbours in (x − D)/√v, minus that of the noise itself: structure removed, or noise left.
    shape: logarithm of how much wider the middle 90 % of (x − D)/√v are than those of n/√v, both relative to the middle
    50 %, in pixels of five photons or more: below zero where the removed values are less spread than such noise, as
    image texture may be.
    risk: expected squared error of D, mean of ((x − D)² − n² + 2 n · dD/dt) w (Stein's estimate); risk_error: its
    standard error. noise: that of x itself, mean of n² w. Where D is better than x, risk is below noise; it is clearly
    below zero only where the noise model has too much noise. removed, kept: means of (x − D)² w and of n · dD/dt w.
    stability: how far 90 % of D(D + n), D with new noise and denoised again, are from D at most, in units of the
    predicted standard deviation σ, and of a normal distribution's 1.645: well above 1 where D contains what the
    denoiser itself takes for noise. None without σ.
    """

    residual: float
    residual_noise_fraction: float
    correlation: dict[str, float]
    shape: float
    stability: float | None
    risk: float
    risk_error: float
    noise: float
    removed: float
    kept: float

    @property
    def other_noise(self) -> bool:
        """Whether what was removed is not such noise, whatever its variance."""
        return max(self.correlation.values()) > STRUCTURED or abs(self.shape) > OTHER_SHAPE


class NoiseLike(Protocol):
    """What is needed of a noise model."""

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x at signals."""

    def sample(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy images of signals."""


@dataclass(frozen=True)
class ChannelNoise:
    """The noise models of all channels of images (N, C, *S): one for all, or one each."""

    models: Sequence[Noise]

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x at signals."""
        found = [model.mean_var(part) for model, part in self._parts(signal)]
        mean, variance = (torch.stack(part, 1) for part in zip(*found, strict=True))
        return mean, variance

    def sample(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy images of signals."""
        return torch.stack([model.sample(part, generator) for model, part in self._parts(signal)], 1)

    def _parts(self, signal: Tensor) -> Iterator[tuple[Noise, Tensor]]:
        return zip(cycle(self.models), signal.unbind(1), strict=False)


def check_consistency(
    noisy: Tensor, noise_model: NoiseLike, denoise: DenoiseFunction, *, valid: Tensor | None = None,
    stability: bool = True, weight: Tensor | None = None, denoised: Posterior[Tensor] | None = None,
) -> ConsistencyCheck:  # fmt: skip
    """Check a denoiser's result on images (N, C, *S), ADU; four passes of the denoiser.

    valid: True where pixels count (default: all; also where none does). weight: w, of squared errors (default: 1 / v).
    stability: whether to compute it, one of the passes. denoised: the result, if it is known, another pass.

    Source: for the posterior mean D of Gaussian noise, E (x − D)² = σ² (1 − div D / n), as E (D − s)² = σ² div D / n
    (Stein 1981, doi:10.1214/aos/1176345632; Raphan and Simoncelli 2011, doi:10.1162/NECO_a_00076); the divergence along
    random directions: Ramani et al. 2008, doi:10.1109/TIP.2008.2001404.
    """
    generator = torch.Generator().manual_seed(SEED)
    counts = torch.ones_like(noisy, dtype=torch.bool) if valid is None or not valid.any() else valid
    found = denoise(noisy) if denoised is None else denoised
    mean = found.mean
    variance = noise_model.mean_var(mean.double())[1].to(mean).clamp(min=torch.finfo(mean.dtype).tiny)
    noise = noise_model.sample(mean, generator) - mean
    ahead, back = (denoise(noisy + sign * STEP * noise).mean for sign in (1, -1))
    kept = noise * (ahead - back) / (2 * STEP)

    def average(values: Tensor) -> float:
        return float(values[counts].double().mean())

    def in_units(values: Tensor) -> Tensor:
        return torch.where(counts, (values / variance.sqrt()).double(), 0.0)

    power, kept_power = average(noise**2 / variance), average(kept / variance)
    residual = average((noisy - mean) ** 2 / variance)
    correlation = {
        axis: neighbour_correlation(in_units(noisy - mean), axis) - neighbour_correlation(in_units(noise), axis)
        for axis in "YX"
    }
    change = None
    if stability and found.std is not None:
        again = (denoise(noise_model.sample(mean, generator)).mean - mean) / found.std
        off = again[counts].abs().float()
        change = float(off.kthvalue(max(1, int(OFTEN * len(off)))).values) / NormalDist().inv_cdf(0.5 + OFTEN / 2)
    weight = 1 / variance if weight is None else weight
    terms = ((noisy - mean) ** 2 - noise**2 + 2 * kept) * weight
    return ConsistencyCheck(
        residual / max(power - kept_power, 1e-12), kept_power / power, correlation,
        difference_of_shape(noisy - mean, noise, mean, variance, counts, noise_model), change,
        average(terms),
        error_of_mean(terms, counts), average(noise**2 * weight), average((noisy - mean) ** 2 * weight),
        average(kept * weight),
    )  # fmt: skip


def difference_of_shape(
    removed: Tensor, noise: Tensor, mean: Tensor, variance: Tensor, counts: Tensor, noise_model: NoiseLike
) -> float:  # fmt: skip
    """Logarithm of how much wider the tails of what was removed are than those of noise; 0 where photons are too few.

    The noise of a few photons takes a few values: their shares depend on the signal more than the result tells.
    """
    std = variance.sqrt()
    brighter = noise_model.mean_var((mean + std).double())[1].to(variance)
    enough = counts & (variance**2 > FEW_PHOTONS * (brighter - variance) ** 2)
    if enough.sum() < SHAPE_SHARE * counts.sum():
        return 0.0
    return tail_width(removed / std, enough) - tail_width(noise / std, enough)


def tail_width(values: Tensor, counts: Tensor) -> float:
    """Logarithm of the width of the middle 90 % of some values over that of the middle 50 %."""
    chosen = values[counts].double()
    chosen = chosen[:: max(1, len(chosen) // MOST_VALUES)]
    low, first, third, high = chosen.quantile(chosen.new_tensor(QUANTILES)).tolist()
    return math.log(max(high - low, 1e-12) / max(third - first, 1e-12))


def error_of_mean(values: Tensor, counts: Tensor) -> float:
    """Standard error of the mean of correlated pixels: from the means of squares of 16 x 16 pixels."""
    side = min(BLOCK, *values.shape[-2:])

    def blocks(part: Tensor) -> Tensor:
        return avg_pool2d(part.flatten(0, -3)[:, None].double(), side).flatten()

    share = blocks(counts.double())
    mean = blocks(torch.where(counts, values, 0.0)) / share.clamp(min=1e-9)
    mean = mean[share > BLOCK_SHARE]
    return float(mean.std() / len(mean) ** 0.5) if len(mean) > 1 else math.inf


def neighbour_correlation(unit: Tensor, axis: str) -> float:
    """Correlation of neighbours along Y or X, of a residual in units of the noise; 0 where pixels do not count."""
    along = {"Y": -2, "X": -1}[axis]
    size = unit.shape[along]
    first, second = unit.narrow(along, 0, size - 1), unit.narrow(along, 1, size - 1)
    return float((first * second).mean() / (unit**2).mean().clamp(min=1e-30))
