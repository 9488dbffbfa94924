"""One noisy image taken apart into two with independent noise, by the law of its noise."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.noise.base import Noise, normal_like
from noisewise.noise.correlated import Correlated
from noisewise.noise.poisson_gaussian import PoissonGaussian

SPAN = 3.0  # standard deviations of an image to each side of its mean, over which a law's variance is a line
POINTS = 65
FEW = 1e-6  # of the variance: a slope so small is none


@lru_cache(maxsize=64)
def variance_line(law: Noise, mean: float, std: float) -> tuple[float, float]:
    """Slope (ADU) and intercept (ADU²) of Var[x|s] against s, over the signals of an image of this mean and spread."""
    if isinstance(law, Correlated):
        slope, intercept = variance_line(law.law, mean, std)
        return slope, intercept + float(law.offset_variance()) + law.digital.step**2 / 12
    if isinstance(law, PoissonGaussian):  # exact, and without the bend where there are no photons
        gain, offset = float(law.gain), float(law.offset)
        return gain, float(law.read_noise) ** 2 - gain * offset + law.digital.step**2 / 12
    signal = torch.linspace(mean - SPAN * std, mean + SPAN * std, POINTS, dtype=torch.float64)
    variance = law.mean_var(signal)[1]
    centred = signal - signal.mean()
    slope = float((centred * variance).sum() / (centred**2).sum())
    return slope, float(variance.mean() - slope * signal.mean())


@lru_cache(maxsize=64)
def counting_law(law: Noise, mean: float, std: float) -> PoissonGaussian:
    """Photons and read noise with this law's variance over the signals of an image of this mean and spread."""
    slope, intercept = variance_line(law, mean, std)
    inner = law.law if isinstance(law, Correlated) else law
    if isinstance(inner, PoissonGaussian):
        offset = float(inner.offset)
    else:
        offset = max(mean - SPAN * std, -intercept / slope if slope > 0 else mean)
    slope = max(slope, 0.0)
    return PoissonGaussian(slope, offset, max(slope * offset + intercept, 0.0) ** 0.5)


def split(law: PoissonGaussian, noisy: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x₁, x₂ of noisy images (N, 1, *S), ADU: independent given s, both with mean s.

    With k electrons and read noise n in x = o + g k + n, and the share α:
    k₂ ~ Binomial(k, α), n₂ = α n + √(α (1 − α)) σ z,
    x₂ = o + (g k₂ + n₂) / α, x₁ = o + (g (k − k₂) + n − n₂) / (1 − α).
    Poisson numbers k₂ and k − k₂ are independent, and so are the Gaussian n₂ and n − n₂. k itself is not known: it is
    drawn given x and a guess of s, the mean of the neighbours. The guess matters only where read noise and photons are
    of a size; k is certain where read noise is below half an electron, and n alone matters where photons are many.
    """
    gain, offset, sigma = (float(part) for part in (law.gain, law.offset, law.read_noise))
    above = noisy - offset
    electrons = torch.zeros_like(noisy)
    if gain > FEW * max(sigma**2, FEW):
        electrons = draw_electrons(law, noisy, neighbour_mean(noisy), generator)
    rest = above - gain * electrons
    taken = torch.binomial(electrons.cpu(), torch.full(electrons.shape, share), generator=generator).to(noisy)
    part = share * rest + (share * (1 - share)) ** 0.5 * sigma * normal_like(noisy.cpu(), generator).to(noisy)
    second = gain * taken + part
    return offset + (above - second) / (1 - share), offset + second / share


def draw_electrons(law: PoissonGaussian, noisy: Tensor, guess: Tensor, generator: torch.Generator) -> Tensor:
    """Photon numbers k ~ p(k | x, s = guess) ∝ Poisson(k; (s − o)/g) N(x; o + g k, σ²)."""
    log_weight, mean, std = law.components(guess, noisy)
    # The law moves signals below the offset as a whole; here the counts are wanted, and the offset stays.
    number = ((mean - mean[..., :1]) / law.gain.to(mean)).round() + first_number(law, mean, guess)
    centre = law.offset.to(mean) + law.gain.to(mean) * number
    logits = log_weight - 0.5 * ((noisy[..., None] - centre) / std) ** 2
    lots = torch.rand(logits.shape, generator=generator).to(logits).clamp(min=1e-20)
    chosen = (logits - torch.log(-torch.log(lots))).argmax(-1, keepdim=True)
    return number.gather(-1, chosen)[..., 0]


def first_number(law: PoissonGaussian, mean: Tensor, guess: Tensor) -> Tensor:
    """The photon number of a law's first component."""
    _, missing = law.electrons(guess)
    return ((mean[..., :1] - (law.offset.to(mean) + missing)[..., None]) / law.gain.to(mean)).round()


def neighbour_mean(image: Tensor) -> Tensor:
    """Mean of the 3 x 3 (x 3) neighbours of each pixel of (N, C, *S), without itself."""
    pool = {4: F.avg_pool2d, 5: F.avg_pool3d}[image.ndim]
    total: Tensor = pool(image, 3, 1, 1, count_include_pad=False)
    count: Tensor = 1 / pool(torch.ones_like(image[:1, :1]), 3, 1, 1, divisor_override=1).clamp(min=2)
    return (total - image * count) / (1 - count)
