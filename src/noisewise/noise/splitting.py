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


@lru_cache(maxsize=64)
def variance_line(law: Noise, mean: float, std: float) -> tuple[float, float]:
    """Slope (ADU) and intercept (ADU²) of Var[x|s] against s, over the signals of an image of this mean and spread."""
    if isinstance(law, Correlated):
        slope, intercept = variance_line(law.law, mean, std)
        return slope, intercept + float(law.offset_variance()) + law.digital.step**2 / 12
    law = law.typical()
    if isinstance(law, PoissonGaussian):  # exact, and without the bend where there are no photons
        gain, offset = float(law.gain), float(law.offset)
        return gain, float(law.read_noise) ** 2 - gain * offset + law.digital.step**2 / 12
    signal = torch.linspace(mean - SPAN * std, mean + SPAN * std, POINTS, dtype=torch.float64)
    variance = law.mean_var(signal)[1]
    centred = signal - signal.mean()
    slope = float((centred * variance).sum() / (centred**2).sum())
    return slope, float(variance.mean() - slope * signal.mean())


def split(law: Noise, noisy: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x₁, x₂ of noisy images (N, 1, *S), ADU: independent given s, both with mean s, and (1 − α) x₁ + α x₂ = x.

    For photons and read noise, x = o + g k + n, and the share α:
    k₂ ~ Binomial(k, α), n₂ = α n + √(α (1 − α)) σ z;  x₂ = o + (g k₂ + n₂) / α, and x₁ what is left over 1 − α.
    Poisson numbers k₂ and k − k₂ are independent, and so are the Gaussian n₂ and n − n₂. k itself is not known: it is
    drawn given x and a guess of s, the mean of the neighbours. The guess matters only where read noise and photons are
    of a size; k is certain where read noise is below half an electron, and n alone matters where photons are many.

    Other laws say how large the noise is, not what it is made of: all of it is n, with the variance at the guess.
    """
    law = (law.law if isinstance(law, Correlated) else law).typical()
    guess = neighbour_mean(noisy)
    second, sigma = share * noisy, law.mean_var(guess)[1].clamp(min=0).sqrt()
    if isinstance(law, PoissonGaussian) and float(law.gain) > 0:
        electrons = draw_electrons(law, noisy, guess, generator)
        thinned = torch.binomial(electrons.cpu(), torch.full(electrons.shape, share), generator=generator)
        second = second + law.gain.to(noisy) * (thinned.to(noisy) - share * electrons)
        sigma = (law.read_noise**2 + law.digital.step**2 / 12).sqrt()
    lots = normal_like(noisy.cpu(), generator).to(noisy)
    second = second / share + ((1 - share) / share) ** 0.5 * sigma.to(noisy) * lots
    return (noisy - share * second) / (1 - share), second


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
