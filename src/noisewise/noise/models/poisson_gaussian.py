"""The law of most cameras: photons are counted, amplified, and read out with Gaussian noise."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import FAR, GaussianSum, Value, normal_like
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.quantization import CONTINUOUS, Quantization

TERMS = 27  # of the sum over photon numbers
REACH = 6.5  # standard deviations of the photon number, given x, that the terms cover on each side
FEWEST = 1e-3  # electrons: a darker signal is this dark, and shifted
RAREST = 1e-290  # mass at a limit, below which its logarithm is approximate
SHARPEST = 0.05  # read noise in units of the gain or the step, below which peaks are as good as lines


class PoissonGaussian(GaussianSum):
    """x = g k + o + N(0, σ²) with k ~ Poisson((s − o) / g): mean s, variance g (s − o) + σ².

    gain: g, ADU per electron. offset: o, ADU. read_noise: σ, ADU. With an EM register or a photomultiplier, g is the
    gain times the excess noise factor: the variance is exact, the shape approximate.

    p(x|s) = Σₖ Pois(k; λ) N(x; g k + o, σ²), summed around the most probable k; where many k matter, k is taken as
    continuous and the sum as an integral with the trapezoid rule. Signals below the offset (as denoisers return) are
    read noise around s.
    """

    gain: Tensor
    offset: Tensor
    read_noise: Tensor

    def __init__(self, gain: Value, offset: Value, read_noise: Value, quantization: Quantization = CONTINUOUS) -> None:
        super().__init__(quantization)
        self.keep(gain=gain, offset=offset, read_noise=read_noise)

    def electrons(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """λ = (s − o) / g, at least `FEWEST`; and what is missing of s, ADU."""
        gain, offset = self.gain.to(signal), self.offset.to(signal)
        wanted = (signal - offset) / gain
        electrons = wanted.clamp(min=FEWEST)
        return electrons, (wanted - electrons) * gain

    def read_noise_e(self, like: Tensor) -> Tensor:
        """σ / g, at least wide enough for a density."""
        least = SHARPEST * (self.quantization.step or self.gain)
        return (torch.maximum(self.read_noise, torch.as_tensor(least)) / self.gain).to(like)

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        electrons, missing = self.electrons(signal)
        std = self.read_noise_e(signal)
        with torch.no_grad():
            k, spacing = self.photon_numbers(noisy, electrons, missing, std)
        log_weight = log_poisson(k, electrons[..., None]) + torch.log(spacing)
        gain = self.gain.to(signal)[..., None]
        mean = (self.offset.to(signal) + missing)[..., None] + gain * k
        return log_weight, mean, (std[..., None] * gain).expand(mean.shape)

    def photon_numbers(
        self, noisy: Tensor | None, electrons: Tensor, missing: Tensor, std: Tensor
    ) -> tuple[Tensor, Tensor]:
        """k (..., K), around the most probable ones, and the spacing (..., 1) between them."""
        if noisy is None:
            peak, width = electrons, electrons.sqrt()
        else:
            seen = (noisy - self.offset.to(noisy) - missing) / self.gain.to(noisy)
            peak = likely_electrons(seen, electrons, std)
            width = (1 / (1 / peak + 1 / std**2)).sqrt()
        spacing = (2 * REACH * width / (TERMS - 1)).clamp(min=1.0)[..., None]
        steps = torch.arange(TERMS, device=peak.device, dtype=peak.dtype) - (TERMS - 1) // 2
        first = (peak[..., None] / spacing).round() + steps[0]
        return (first.clamp(min=0) + steps - steps[0]) * spacing, spacing

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        found = super().log_prob(noisy, signal)
        half, unit = self.quantization.step / 2, math.log(self.quantization.step or 1.0)
        for side, limit in ((1, self.quantization.low), (-1, self.quantization.high)):
            if limit is None:
                continue
            at = (side * noisy <= side * limit).expand(found.shape)
            if at.any():
                # Where x is at a limit, the photon numbers that matter are not those around x.
                mass = self.portion(torch.as_tensor(limit + side * half), signal, side, at)
                log_mass = torch.where(mass > RAREST, mass.clamp(min=RAREST).log() - unit, found[at].double())
                found = found.masked_scatter(at, log_mass.to(found))
        return found

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        below = self.portion(noisy + self.quantization.step / 2, signal)
        return self.quantization.clip_cdf(below.clamp(max=1).to(signal.dtype), noisy)

    def portion(self, value: Tensor, signal: Tensor, side: int = 1, where: Tensor | None = None) -> Tensor:
        """P(X <= value), or with side −1 P(X > value), before rounding; float64, exact far out; flat under a mask."""
        electrons, missing = self.electrons(signal.double())
        std = self.read_noise_e(electrons)
        seen = (value.double() - self.offset - missing) / self.gain
        if where is not None:
            electrons, std, seen = (part.expand(where.shape)[where] for part in (electrons, std, seen))
        # The window lies where the narrower of the two is: around x for the read noise, around λ for the photons.
        # All photon numbers below the window give less than x, all above give more.
        with torch.no_grad():
            photon_width = electrons.sqrt()
            centre = torch.where(photon_width < std, electrons, seen)
            spacing = (2 * REACH * torch.minimum(photon_width, std) / (TERMS - 1)).clamp(min=1.0)
            steps = torch.arange(TERMS, device=centre.device) - (TERMS - 1) // 2
            first = ((centre / spacing).round() + steps[0]).clamp(min=0)
            k = (first[..., None] + steps - steps[0]) * spacing[..., None]
            bound = k[..., 0] + (1 - spacing) / 2 if side > 0 else k[..., -1] + (1 + spacing) / 2
        inside = spacing[..., None] * torch.exp(log_poisson(k, electrons[..., None]))
        window = (inside * torch.special.ndtr(side * (seen[..., None] - k) / std[..., None])).sum(-1)
        beyond = (torch.special.gammaincc if side > 0 else torch.special.gammainc)(bound.clamp(min=0), electrons)
        total: Tensor = window + torch.where(photon_width < std, 0.0, beyond)
        return total

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        electrons, missing = self.electrons(signal)
        photons = torch.poisson(electrons, generator=generator)
        read = self.read_noise * normal_like(signal, generator)
        return self.quantization((self.offset + missing + self.gain * photons + read).to(signal.dtype))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        electrons, _ = self.electrons(signal)
        return signal, self.gain**2 * electrons + self.read_noise**2 + self.quantization.step**2 / 12

    def span(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """No x is far below that of no photon."""
        low, high = super().span(signal)
        _, missing = self.electrons(signal)
        return low.maximum(self.offset + missing - FAR * self.read_noise), high

    @classmethod
    def fit(
        cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS, offset: float | None = None
    ) -> Self:
        """The line of the variance against the signal; see `from_line` for what it leaves open.

        Errors: `UserError` if the signals do not span a range.
        """
        noisy, signal = noisy.double().flatten(), signal.double().flatten()
        line = fit_line(signal, (noisy - signal) ** 2)
        return cls.from_line(line, float(signal.min()), quantization, offset=offset)

    @classmethod
    def from_line(
        cls, line: VarianceLine, lowest: float, quantization: Quantization = CONTINUOUS, *, offset: float | None = None
    ) -> Self:
        """The law with this line of variance against signal.

        The line fixes σ² − g o, not both. Without a known offset it is `lowest`, the darkest signal there is; where
        that would leave a negative σ², it is where the variance vanishes, and σ is zero.
        """
        slope = max(line.slope, 1e-9 * max(line(lowest), 1e-9))
        rounding = quantization.step**2 / 12
        if offset is None:
            offset = max(lowest, (rounding - line.intercept) / slope)
        return cls(slope, offset, max(line.intercept + slope * offset - rounding, 0.0) ** 0.5, quantization)


def likely_electrons(seen: Tensor, electrons: Tensor, std: Tensor) -> Tensor:
    """The most probable photon number k given that k + N(0, std²) was seen and k ~ Poisson(electrons).

    Root of k + std² log(k / electrons) = seen, by Newton's method in log k: the function is convex and increasing,
    the start is on its right, so no step overshoots.
    """
    log_electrons = electrons.log()
    t = torch.maximum(seen, electrons).log()
    for _ in range(12):
        k = t.exp()
        t = t - (k + std**2 * (t - log_electrons) - seen) / (k + std**2)
    return t.exp().clamp(min=1e-30)


def log_poisson(k: Tensor, mean: Tensor) -> Tensor:
    """log of the Poisson probability; also between whole numbers; exact in float32 for large k.

    For large k by Stirling's series, with the deviance as k (u − log(1 + u)), u = mean / k − 1.
    Source: Loader 2000.
    """
    few = torch.xlogy(k, mean) - mean - torch.lgamma(k + 1)
    many = k.clamp(min=16.0)
    u = ((mean - many) / many).clamp(min=-1 + 1e-7)
    series = -many * (u - torch.log1p(u)) - 0.5 * torch.log(2 * math.pi * many) - 1 / (12 * many)
    return torch.where(k < 16, few, series)
