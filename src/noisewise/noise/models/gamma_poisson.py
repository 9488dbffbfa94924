"""The law of multiplying detectors: each photon makes a pulse, and pulses are of different heights."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.base import GaussianSum, Value, normal_like
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.models.poisson_gaussian import FEWEST, SHARPEST
from noisewise.noise.quantization import CONTINUOUS, Quantization

LEAST_SPREAD = 0.2
SPREADS = (0.3, 0.4, 0.5, 0.65, 0.8, 1.0)  # that are tried
READ_NOISES = 8  # that are tried, between none and all noise of the darkest signal
MOST_PAIRS = 4000
CELLS, FINE = 21, 129  # of the integral over the detector's output: about one noisy value; over all of it
REACH = 5.0  # standard deviations of the read noise, and in the root of the photon number, that it covers
EVEN = 1.7  # standard deviations apart, up to which Gaussians side by side are even to a thousandth
LEAST, MOST, NODES = 1e-4, 300.0, 2048  # of κ, in the table of `log_sum`


class GammaPoisson(GaussianSum):
    """x = o + y + N(0, σ²), y the sum of k pulses, k ~ Poisson(λ = (s − o) / g).

    Mean s, variance (1 + c²) g (s − o) + σ².

    gain: g, mean height of a photon's pulse, ADU. spread: c, relative standard deviation of the heights, at least 0.2;
    pulses that are more alike are better counted. offset: o, ADU. read_noise: σ, ADU. darkest: signal (ADU) below which
    the noise is that of this signal, moved: the law is not known there, and on the line the noise would vanish.
    Errors: `UserError` if the pulses are more alike than that.

    Heights are gamma-distributed with the shape a = 1/c²: c = 1 is the exponential of an EMCCD's register, and c = 0.5
    a common photomultiplier. 1 + c² is the excess noise factor. Where no photon came, x is the offset, whatever s.

    With u = y / g, p(y|s) = e^{−λ} δ(y) + Σₖ Pois(k; λ) Gamma(y; a k, g / a)
    = e^{−λ} δ(y) + e^{−λ − a u} W(λ (a u)ᵃ) / y, W(z) = Σₖ zᵏ / (k! Γ(a k)), summed over cells of v = √u.

    Sources: Hirsch et al. 2013 (EMCCD); Jørgensen 1987 (compound Poisson-gamma law).
    """

    gain: Tensor
    spread: Tensor
    offset: Tensor
    read_noise: Tensor
    darkest: Tensor

    def __init__(
        self, gain: Value, spread: Value, offset: Value, read_noise: Value, darkest: Value,
        quantization: Quantization = CONTINUOUS,
    ) -> None:  # fmt: skip
        super().__init__(quantization)
        if not float(spread) >= LEAST_SPREAD:
            raise UserError(f"pulses: a spread of {float(spread):g} is out of range; give {LEAST_SPREAD} or more")
        self.keep(gain=gain, spread=spread, offset=offset, read_noise=read_noise, darkest=darkest)

    @property
    def shape(self) -> float:
        """a, of the distribution of the heights."""
        return 1 / float(self.spread) ** 2

    def electrons(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """λ = (s − o) / g, at least that of the darkest signal; and what is missing of s, ADU."""
        offset, gain = self.offset.to(signal), self.gain.to(signal)
        least = (self.offset + FEWEST * self.gain).maximum(self.darkest).to(signal)
        lit = signal.maximum(least)
        return (lit - offset) / gain, signal - lit

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        electrons, missing = self.electrons(signal)
        zero, gain = (self.offset.to(signal) + missing)[..., None], self.gain.to(signal)
        least = torch.as_tensor(SHARPEST * (self.quantization.step or self.gain))
        std = torch.maximum(self.read_noise, least).to(signal)
        with torch.no_grad():
            low, high = self.window(electrons, zero[..., 0], std, noisy)
            cells = FINE if noisy is None else CELLS
            width = ((high - low) / cells)[..., None]
            v = low[..., None] + width * (torch.arange(cells, device=signal.device) + 0.5)
        log_weight = self.log_density(v**2, electrons[..., None]) + torch.log(2 * v * width)
        cell = 2 * gain * v * width
        spread = torch.where(cell < EVEN * std, std, (std**2 + cell**2 / 12).sqrt())
        dark, lit = (-electrons[..., None], zero, std), (log_weight, zero + gain * v**2, spread)
        like = log_weight[..., :1]
        log_weight, mean, std = (torch.cat([d.expand_as(like), m], -1) for d, m in zip(dark, lit, strict=True))
        return log_weight, mean, std

    def window(self, electrons: Tensor, zero: Tensor, std: Tensor, noisy: Tensor | None) -> tuple[Tensor, Tensor]:
        """Between which v = √(y / g) cells are laid: where a noisy value may have come from, or else all there are."""
        root = electrons.sqrt()
        low, high = (root - REACH).clamp(min=0), root + REACH
        if noisy is None:
            return low, high
        gain, limits = self.gain.to(std), self.quantization
        half = (REACH * std + limits.step / 2) / gain
        seen = (noisy - zero) / gain
        near, far = (seen - half).clamp(min=0).sqrt(), (seen + half).maximum(half).sqrt()
        anywhere = far - near > 2 * REACH  # as at a limit, where x may have been anything beyond
        if limits.low is not None:
            anywhere |= noisy <= limits.low
        if limits.high is not None:
            anywhere |= noisy >= limits.high
        return torch.where(anywhere, low, near), torch.where(anywhere, high, far)

    def log_density(self, u: Tensor, electrons: Tensor) -> Tensor:
        """log of p(u|λ) for u > 0, photons included that made the output u, in units of the mean height."""
        a, log_u = self.shape, u.log()
        part = a / (1 + a) * (log_u - electrons.log())
        # λ + a u − (1 + a) κ, κ = (λ uᵃ)^(1 / (1 + a)), so written that large numbers cancel before they are rounded.
        distance = a * (u - electrons) - (1 + a) * electrons * torch.expm1(part)
        return log_sum(part + electrons.log(), a) - distance - log_u

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        electrons, missing = self.electrons(signal)
        photons = torch.poisson(electrons, generator=generator)
        drawn = self.offset + missing + self.gain * heights(photons, self.shape, generator)
        return self.quantization((drawn + self.read_noise * normal_like(signal, generator)).to(signal.dtype))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        electrons, _ = self.electrons(signal)
        variance = (1 + self.spread**2) * self.gain**2 * electrons + self.read_noise**2 + self.quantization.step**2 / 12
        return signal, variance.to(signal)

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """See `on_line`; of the line of the variance against the signal.

        Errors: `UserError` if the signals do not span a range.
        """
        noisy, signal = noisy.double().flatten(), signal.double().flatten()
        line = fit_line(signal, (noisy - signal) ** 2)
        return cls.on_line(line, float(signal.min()), noisy, signal, quantization)

    @classmethod
    def on_line(
        cls, line: VarianceLine, darkest: float, noisy: Tensor, signal: Tensor, quantization: Quantization = CONTINUOUS
    ) -> Self:
        """The law with this line of variance against signal under which the pairs are most likely.

        The line leaves open how different the pulses are, and how much of the noise in the dark is of reading out.
        """
        slope = max(line.slope, 1e-9 * max(line(darkest), 1e-9))
        free = line.intercept - quantization.step**2 / 12
        most = max(free + slope * darkest, 0.0) ** 0.5
        order = signal.argsort()[: len(signal) // 2 + 1]  # few photons tell
        some = order[:: max(1, len(order) // MOST_PAIRS)]
        noise_models = (
            cls(slope / (1 + spread**2), spread, (read_noise**2 - free) / slope, read_noise, darkest, quantization)
            for read_noise in torch.linspace(0.0, most, READ_NOISES).tolist()
            for spread in SPREADS
        )
        return max(noise_models, key=lambda noise_model: float(noise_model.log_prob(noisy[some], signal[some]).mean()))


def heights(photons: Tensor, shape: float, generator: torch.Generator | None) -> Tensor:
    """The sum of so many pulses of mean height one; of none, zero."""
    drawn = torch._standard_gamma((shape * photons).clamp(min=1e-6), generator=generator) / shape
    return torch.where(photons > 0, drawn, 0.0)


def log_sum(log_k: Tensor, shape: float) -> Tensor:
    """log Σₖ zᵏ / (k! Γ(a k)) − (1 + a) κ, with z = (aᵃ) κ^(1 + a), from log κ: about κ is the likeliest k.

    From a table, whose ends go on as lines: of fewer, the sum is its first term; of more, by Stirling, √κ times a
    constant.
    """
    table = tabulated(shape).to(log_k)
    low, high = math.log(LEAST), math.log(MOST)
    at = (log_k - low) * ((NODES - 1) / (high - low))
    index = at.detach().clamp(0, NODES - 2).long()
    return table[index] + (at - index) * (table[1:] - table[:-1])[index]


@lru_cache
def tabulated(shape: float) -> Tensor:
    """`log_sum` at even steps of log κ."""
    log_k = torch.linspace(math.log(LEAST), math.log(MOST), NODES, dtype=torch.float64)[:, None]
    k = torch.arange(1.0, 3 * MOST, dtype=torch.float64)
    log_z = (1 + shape) * log_k + shape * math.log(shape)
    terms = k * log_z - torch.lgamma(k + 1) - torch.lgamma(shape * k)
    return torch.logsumexp(terms, 1) - (1 + shape) * log_k.exp()[:, 0]
