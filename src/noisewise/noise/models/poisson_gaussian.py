"""Poisson-Gaussian noise of most cameras: photon counts, amplified, with Gaussian read noise."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import SPAN_STD, GaussianSum, Value, normal_like
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.quantization import CONTINUOUS, Quantization

TERMS = 27  # of the sum over photon numbers
COVERED_STD = 6.5  # standard deviations of the photon number given x that the terms cover on each side
LEAST_ELECTRONS = 1e-3  # expected electrons of darker signals, which are shifted instead
LEAST_MASS = 1e-290  # mass at a limit below which its logarithm is approximate
LEAST_READ_NOISE = 0.05  # in units of the gain or the step: narrower peaks are widened to this


class PoissonGaussian(GaussianSum):
    """x = g k + o + N(0, σ²) with k ~ Poisson((s − o) / g): mean s, variance g (s − o) + σ².

    gain: g, ADU per electron. offset: o, ADU. read_noise: σ, ADU. With an EM register or a photomultiplier, g is the
    gain times the excess noise factor: the variance is exact, the shape approximate.

    p(x|s) = Σₖ Pois(k; λ) N(x; g k + o, σ²), summed around the most probable k. Where many k contribute, the sum is an
    integral over continuous k, by the trapezoid rule. Signals below the offset (as denoisers return) have read noise
    around s only.
    """

    gain: Tensor
    offset: Tensor
    read_noise: Tensor

    def __init__(self, gain: Value, offset: Value, read_noise: Value, quantization: Quantization = CONTINUOUS) -> None:
        super().__init__(quantization)
        self.store(gain=gain, offset=offset, read_noise=read_noise)

    def electrons(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Expected electrons λ = (s − o) / g, at least `LEAST_ELECTRONS`, and the rest of s (ADU, at most 0)."""
        gain, offset = self.gain.to(signal), self.offset.to(signal)
        expected = (signal - offset) / gain
        electrons = expected.clamp(min=LEAST_ELECTRONS)
        return electrons, (expected - electrons) * gain

    def read_noise_e(self, like: Tensor) -> Tensor:
        """σ / g (electrons), at least `LEAST_READ_NOISE` of a step or of the gain, so that it is a density."""
        least = LEAST_READ_NOISE * (self.quantization.step or self.gain)
        return (torch.maximum(self.read_noise, torch.as_tensor(least)) / self.gain).to(like)

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        electrons, rest = self.electrons(signal)
        std = self.read_noise_e(signal)
        with torch.no_grad():
            k, spacing = self.photon_numbers(noisy, electrons, rest, std)
        log_weight = log_poisson(k, electrons[..., None]) + torch.log(spacing)
        gain = self.gain.to(signal)[..., None]
        mean = (self.offset.to(signal) + rest)[..., None] + gain * k
        return log_weight, mean, (std[..., None] * gain).expand(mean.shape)

    def photon_numbers(
        self, noisy: Tensor | None, electrons: Tensor, rest: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Photon numbers k (..., K) around the most probable one, and the spacing (..., 1) between them."""
        if noisy is None:
            peak, width = electrons, electrons.sqrt()
        else:
            observed = (noisy - self.offset.to(noisy) - rest) / self.gain.to(noisy)
            peak = most_probable_electrons(observed, electrons, std)
            width = (1 / (1 / peak + 1 / std**2)).sqrt()
        spacing = (2 * COVERED_STD * width / (TERMS - 1)).clamp(min=1.0)[..., None]
        steps = torch.arange(TERMS, device=peak.device, dtype=peak.dtype) - (TERMS - 1) // 2
        first = (peak[..., None] / spacing).round() + steps[0]
        return (first.clamp(min=0) + steps - steps[0]) * spacing, spacing

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        log_prob = super().log_prob(noisy, signal)
        half, log_step = self.quantization.step / 2, math.log(self.quantization.step or 1.0)
        for side, limit in ((1, self.quantization.low), (-1, self.quantization.high)):
            if limit is None:
                continue
            at_limit = (side * noisy <= side * limit).expand(log_prob.shape)
            if at_limit.any():
                # For x at a limit, the contributing photon numbers are not those around x.
                mass = self.tail_probability(torch.as_tensor(limit + side * half), signal, side, at_limit)
                exact = mass.clamp(min=LEAST_MASS).log() - log_step
                log_mass = torch.where(mass > LEAST_MASS, exact, log_prob[at_limit].double())
                log_prob = log_prob.masked_scatter(at_limit, log_mass.to(log_prob))
        return log_prob

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        below = self.tail_probability(noisy + self.quantization.step / 2, signal)
        return self.quantization.clip_cdf(below.clamp(max=1).to(signal.dtype), noisy)

    def tail_probability(self, value: Tensor, signal: Tensor, side: int = 1, where: Tensor | None = None) -> Tensor:
        """P(X <= value), or P(X > value) for side −1, before rounding; float64, exact in the tails.

        value, signal: ADU. where: mask of the elements to compute; the result is then flat.
        """
        electrons, rest = self.electrons(signal.double())
        std = self.read_noise_e(electrons)
        observed = (value.double() - self.offset - rest) / self.gain
        if where is not None:
            electrons, std, observed = (part.expand(where.shape)[where] for part in (electrons, std, observed))
        # The window is centred on the narrower distribution: on x for the read noise, on λ for the photon number.
        # Photon numbers below the window give values below x, those above it give values above x.
        with torch.no_grad():
            photon_std = electrons.sqrt()
            centre = torch.where(photon_std < std, electrons, observed)
            spacing = (2 * COVERED_STD * torch.minimum(photon_std, std) / (TERMS - 1)).clamp(min=1.0)
            steps = torch.arange(TERMS, device=centre.device) - (TERMS - 1) // 2
            first = ((centre / spacing).round() + steps[0]).clamp(min=0)
            k = (first[..., None] + steps - steps[0]) * spacing[..., None]
            bound = k[..., 0] + (1 - spacing) / 2 if side > 0 else k[..., -1] + (1 + spacing) / 2
        inside = spacing[..., None] * torch.exp(log_poisson(k, electrons[..., None]))
        window = (inside * torch.special.ndtr(side * (observed[..., None] - k) / std[..., None])).sum(-1)
        outside = (torch.special.gammaincc if side > 0 else torch.special.gammainc)(bound.clamp(min=0), electrons)
        total: Tensor = window + torch.where(photon_std < std, 0.0, outside)
        return total

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        electrons, rest = self.electrons(signal)
        photons = torch.poisson(electrons, generator=generator)
        read = self.read_noise * normal_like(signal, generator)
        return self.quantization((self.offset + rest + self.gain * photons + read).to(signal.dtype))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        electrons, _ = self.electrons(signal)
        return signal, self.gain**2 * electrons + self.read_noise**2 + self.rounding_variance

    @property
    def rounding_variance(self) -> float:
        """Variance that rounding adds, ADU²: none to photon counts, which are multiples of the step already."""
        step = self.quantization.step
        counts = step > 0 and not (self.read_noise or self.gain % step or self.offset % step)
        return 0.0 if counts else self.quantization.rounding_variance

    def span(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Range of x (ADU) that holds nearly all values; it ends at the values of pixels without photons."""
        low, high = super().span(signal)
        _, rest = self.electrons(signal)
        return low.maximum(self.offset + rest - SPAN_STD * self.read_noise), high

    @classmethod
    def fit(
        cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS, offset: float | None = None
    ) -> Self:
        """Fit the variance line; see `from_line` for the offset, which the line does not determine.

        Errors: `UserError` for constant signals.
        """
        noisy, signal = noisy.double().flatten(), signal.double().flatten()
        line = fit_line(signal, (noisy - signal) ** 2)
        return cls.from_line(line, float(signal.min()), quantization, offset=offset)

    @classmethod
    def from_line(
        cls, line: VarianceLine, lowest: float, quantization: Quantization = CONTINUOUS, *, offset: float | None = None
    ) -> Self:
        """Noise model with this variance line.

        The line determines σ² − g o, not both. If no offset is given, it is `lowest`, the darkest signal (ADU); where
        that makes σ² negative, it is the signal at which the variance vanishes, and σ is zero.
        """
        slope = max(line.slope, 1e-9 * max(line(lowest), 1e-9))
        rounding = quantization.rounding_variance
        if offset is None:
            offset = max(lowest, (rounding - line.intercept) / slope)
        return cls(slope, offset, max(line.intercept + slope * offset - rounding, 0.0) ** 0.5, quantization)


def most_probable_electrons(observed: Tensor, electrons: Tensor, std: Tensor) -> Tensor:
    """Most probable k for observed = k + N(0, std²) and k ~ Poisson(electrons); all in electrons.

    Root of k + std² log(k / electrons) = observed by Newton's method in log k: the function is convex and increasing,
    and the start lies to the right of the root, so no step overshoots.
    """
    log_electrons = electrons.log()
    log_k = torch.maximum(observed, electrons).log()
    for _ in range(12):
        k = log_k.exp()
        log_k = log_k - (k + std**2 * (log_k - log_electrons) - observed) / (k + std**2)
    return log_k.exp().clamp(min=1e-30)


def log_poisson(k: Tensor, mean: Tensor) -> Tensor:
    """log of the Poisson probability, continued to real k; exact in float32 for large k.

    Large k: Stirling's series, with the deviance as k (u − log(1 + u)), u = mean / k − 1.

    Source: Loader 2000, Fast and accurate computation of binomial probabilities (Bell Laboratories).
    """
    small = torch.xlogy(k, mean) - mean - torch.lgamma(k + 1)
    large = k.clamp(min=16.0)
    u = ((mean - large) / large).clamp(min=-1 + 1e-7)
    series = -large * (u - torch.log1p(u)) - 0.5 * torch.log(2 * math.pi * large) - 1 / (12 * large)
    return torch.where(k < 16, small, series)
