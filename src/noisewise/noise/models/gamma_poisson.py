"""Gamma-Poisson noise of multiplying detectors (EMCCD, photomultiplier), which have excess noise."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.base import GaussianSum, Value, normal_like
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.models.poisson_gaussian import LEAST_ELECTRONS, LEAST_READ_NOISE
from noisewise.noise.ops.lookup import index_below
from noisewise.noise.quantization import CONTINUOUS, Quantization

LEAST_RESPONSE_STD = 0.2
RESPONSE_STDS = (0.3, 0.4, 0.5, 0.65, 0.8, 1.0)  # candidates of a fit
READ_NOISES = 8  # candidates of a fit, from zero to all noise at the darkest signal
MOST_PAIRS, FIRST_PAIRS, FINALISTS = 4000, 400, 6  # all candidates are compared on few pairs, the best on all
CELLS, FINE_CELLS = 21, 129  # of the integral over the detector output: around one noisy value; over all of it
COVERED_STD = 5.0  # half-width of the integral: standard deviations of the read noise, or √electrons (std 1/2)
SMOOTH_SPACING = 1.7  # standard deviations: Gaussians at this spacing add up to a constant within 0.1 %
LEAST, MOST, NODES = 1e-4, 300.0, 2048  # range of κ and size of the table of `log_wright_bessel`


class GammaPoisson(GaussianSum):
    """x = o + y + N(0, σ²), y the sum of k gamma-distributed single-photon responses, k ~ Poisson(λ = (s − o) / g).

    Mean s, variance F² g (s − o) + σ², with the excess noise factor F² = 1 + c².

    gain: g, mean single-photon response, ADU. response_std: c, its relative standard deviation, at least 0.2; for less,
    use `PoissonGaussian`. offset: o, ADU. read_noise: σ, ADU. darkest: signal (ADU) below which the noise is that of
    this signal, shifted: darker signals were not measured, and the variance line would vanish there.
    Errors: `UserError` for a response_std below 0.2.

    The gamma shape is a = 1/c²: c = 1 is the exponential response of an EM register, c = 0.5 that of a common
    photomultiplier. Pixels without photons have the value of the offset (plus read noise) for any s.

    With u = y / g, p(y|s) = e^{−λ} δ(y) + Σₖ Pois(k; λ) Gamma(y; a k, g / a)
    = e^{−λ} δ(y) + e^{−λ − a u} W(λ (a u)ᵃ) / y, W(z) = Σₖ zᵏ / (k! Γ(a k)) (a Wright-Bessel function), summed over
    cells of v = √u.

    Sources: Hirsch et al. 2013, doi:10.1371/journal.pone.0053671 (EMCCD); Jørgensen 1987,
    doi:10.1111/j.2517-6161.1987.tb01685.x (compound Poisson-gamma).
    """

    gain: Tensor
    response_std: Tensor
    offset: Tensor
    read_noise: Tensor
    darkest: Tensor

    def __init__(
        self, gain: Value, response_std: Value, offset: Value, read_noise: Value, darkest: Value,
        quantization: Quantization = CONTINUOUS,
    ) -> None:  # fmt: skip
        super().__init__(quantization)
        if not float(response_std) >= LEAST_RESPONSE_STD:
            raise UserError(f"response_std {float(response_std):g} is out of range; give {LEAST_RESPONSE_STD} or more")
        self.store(gain=gain, response_std=response_std, offset=offset, read_noise=read_noise, darkest=darkest)

    @property
    def gamma_shape(self) -> float:
        """Shape a of the gamma distribution of single-photon responses."""
        return 1 / float(self.response_std) ** 2

    def electrons(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Expected electrons λ = (s − o) / g, at least those of the darkest signal, and the rest of s (ADU)."""
        offset, gain = self.offset.to(signal), self.gain.to(signal)
        least = (self.offset + LEAST_ELECTRONS * self.gain).maximum(self.darkest).to(signal)
        bounded = signal.maximum(least)
        return (bounded - offset) / gain, signal - bounded

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        electrons, rest = self.electrons(signal)
        zero, gain = (self.offset.to(signal) + rest)[..., None], self.gain.to(signal)
        least = torch.as_tensor(LEAST_READ_NOISE * (self.quantization.step or self.gain))
        std = torch.maximum(self.read_noise, least).to(signal)
        with torch.no_grad():
            low, high = self.window(electrons, zero[..., 0], std, noisy)
            cells = FINE_CELLS if noisy is None else CELLS
            width = ((high - low) / cells)[..., None]
            v = low[..., None] + width * (torch.arange(cells, device=signal.device) + 0.5)
        log_weight = self.log_density(v**2, electrons[..., None]) + torch.log(2 * v * width)
        cell = 2 * gain * v * width
        cell_std = torch.where(cell < SMOOTH_SPACING * std, std, (std**2 + cell**2 / 12).sqrt())
        dark, bright = (-electrons[..., None], zero, std), (log_weight, zero + gain * v**2, cell_std)
        like = log_weight[..., :1]
        log_weight, mean, std = (torch.cat([d.expand_as(like), b], -1) for d, b in zip(dark, bright, strict=True))
        return log_weight, mean, std

    def window(self, electrons: Tensor, zero: Tensor, std: Tensor, noisy: Tensor | None) -> tuple[Tensor, Tensor]:
        """Range of v = √(y / g) to integrate over: outputs that may give the noisy value, or all of them."""
        root = electrons.sqrt()
        low, high = (root - COVERED_STD).clamp(min=0), root + COVERED_STD
        if noisy is None:
            return low, high
        gain, limits = self.gain.to(std), self.quantization
        half = (COVERED_STD * std + limits.step / 2) / gain
        observed = (noisy - zero) / gain
        near, far = (observed - half).clamp(min=0).sqrt(), (observed + half).maximum(half).sqrt()
        everything = far - near > 2 * COVERED_STD
        # A value at a limit stands for every output on the other side.
        if limits.low is not None:
            everything |= noisy <= limits.low
        if limits.high is not None:
            everything |= noisy >= limits.high
        return torch.where(everything, low, near), torch.where(everything, high, far)

    def log_density(self, u: Tensor, electrons: Tensor) -> Tensor:
        """log p(u|λ) of the output u > 0, in units of the mean single-photon response, summed over photon numbers."""
        a, log_u = self.gamma_shape, u.log()
        part = a / (1 + a) * (log_u - electrons.log())
        # λ + a u − (1 + a) κ, κ = (λ uᵃ)^(1 / (1 + a)), written so that large terms cancel without rounding errors.
        distance = a * (u - electrons) - (1 + a) * electrons * torch.expm1(part)
        return log_wright_bessel(part + electrons.log(), a) - distance - log_u

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        electrons, rest = self.electrons(signal)
        photons = torch.poisson(electrons, generator=generator)
        output = self.offset + rest + self.gain * sample_responses(photons, self.gamma_shape, generator)
        return self.quantization((output + self.read_noise * normal_like(signal, generator)).to(signal.dtype))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        electrons, _ = self.electrons(signal)
        excess = 1 + self.response_std**2
        variance = excess * self.gain**2 * electrons + self.read_noise**2 + self.rounding_variance
        return signal, variance.to(signal)

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Fit the variance line, then the rest as in `from_line`. Errors: `UserError` for constant signals."""
        noisy, signal = noisy.double().flatten(), signal.double().flatten()
        line = fit_line(signal, (noisy - signal) ** 2)
        return cls.from_line(line, float(signal.min()), noisy, signal, quantization)

    @classmethod
    def from_line(
        cls, line: VarianceLine, darkest: float, noisy: Tensor, signal: Tensor, quantization: Quantization = CONTINUOUS
    ) -> Self:
        """Maximum-likelihood model among those with this variance line.

        The line determines neither the excess noise nor the part of the dark noise that is read noise.
        """
        slope = max(line.slope, 1e-9 * max(line(darkest), 1e-9))
        intercept = line.intercept - quantization.rounding_variance
        most = max(intercept + slope * darkest, 0.0) ** 0.5
        order = signal.argsort()[: len(signal) // 2 + 1]  # the shape is most informative at few photons
        candidates = [
            cls(slope / (1 + c**2), c, (read_noise**2 - intercept) / slope, read_noise, darkest, quantization)
            for read_noise in torch.linspace(0.0, most, READ_NOISES).tolist()
            for c in RESPONSE_STDS
        ]
        for pairs, kept in ((FIRST_PAIRS, FINALISTS), (MOST_PAIRS, 1)):
            some = order[:: max(1, len(order) // pairs)]
            likelihood = [float(model.log_prob(noisy[some], signal[some]).mean()) for model in candidates]
            best = sorted(range(len(candidates)), key=lambda i: -likelihood[i])
            candidates = [candidates[i] for i in best[:kept]]
        return candidates[0]


def sample_responses(photons: Tensor, shape: float, generator: torch.Generator | None) -> Tensor:
    """Sum of the responses to these photon numbers, gamma-distributed with mean one each; zero without photons."""
    response = torch._standard_gamma((shape * photons).clamp(min=1e-6), generator=generator) / shape
    return torch.where(photons > 0, response, 0.0)


def log_wright_bessel(log_kappa: Tensor, shape: float) -> Tensor:
    """log Σₖ zᵏ / (k! Γ(a k)) − (1 + a) κ with z = aᵃ κ^(1 + a); κ is about the most probable k.

    Linear in a table over log κ, also outside: for small κ the sum is its first term, for large κ it is proportional to
    √κ (Stirling).
    """
    table = log_wright_bessel_table(shape).to(log_kappa)
    low, high = math.log(LEAST), math.log(MOST)
    at = (log_kappa - low) * ((NODES - 1) / (high - low))
    index = index_below(at, NODES - 2)
    return table[index] + (at - index) * (table[1:] - table[:-1])[index]


@lru_cache
def log_wright_bessel_table(shape: float) -> Tensor:
    """`log_wright_bessel` at even steps of log κ."""
    log_kappa = torch.linspace(math.log(LEAST), math.log(MOST), NODES, dtype=torch.float64)[:, None]
    k = torch.arange(1.0, 3 * MOST, dtype=torch.float64)
    log_z = (1 + shape) * log_kappa + shape * math.log(shape)
    terms = k * log_z - torch.lgamma(k + 1) - torch.lgamma(shape * k)
    return torch.logsumexp(terms, 1) - (1 + shape) * log_kappa.exp()[:, 0]
