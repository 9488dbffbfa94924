"""Thinning: split one noisy image into two with independent noise, by its noise model."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.noise.base import Noise, normal_like, sample_component
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gamma_poisson import GammaPoisson, sample_responses
from noisewise.noise.models.poisson_gaussian import (
    LEAST_ELECTRONS,
    PoissonGaussian,
    log_poisson,
    most_probable_electrons,
)
from noisewise.noise.ops.linear_variance import linear_variance

MANY = 1000.0  # photons above which their noise is Gaussian
COVERED_STD, NUMBERS = 4.0, 17  # half-width of a grid of photon numbers, in their standard deviations; its size


def split_noisy(
    noise_model: Noise, noisy: Tensor, fraction: float, image_statistics: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Split noisy images (N, 1, *S), ADU, into x₁, x₂: independent given s, both of mean s, (1 − α) x₁ + α x₂ = x.

    For photons and read noise, x = o + y + n with k photons in y, and the fraction α:
    k₂ ~ Binomial(k, α), n₂ = α n + √(α (1 − α)) σ z;  x₂ = o + (y₂ + n₂) / α, and x₁ from the rest over 1 − α.
    The Poisson numbers k₂ and k − k₂ are independent, and so are the Gaussian n₂ and n − n₂. For photon counts,
    y = g k; for gamma-distributed responses of shape a, y₂ / y ~ Beta(a k₂, a (k − k₂)). y and k are unknown: they are
    sampled given x and an estimate of s, the mean of the neighbours. For counts, the estimate matters only where read
    noise and photon noise are similar: k is certain below half an electron of read noise, and for many photons only
    their total noise matters.

    Other noise models are replaced as in `as_photon_noise`. image_statistics: (mean, standard deviation) of the images,
    ADU.
    """
    noise_model = as_photon_noise(noise_model, *image_statistics)
    estimate = neighbour_mean(noisy)
    whole = part = torch.zeros_like(noisy)
    sigma = noise_model.mean_var(estimate)[1].clamp(min=0).sqrt()
    if isinstance(noise_model, PoissonGaussian | GammaPoisson) and float(noise_model.gain) > 0:
        given = noisy, estimate, fraction, generator
        whole, part = (
            split_gamma_poisson(noise_model, *given)
            if isinstance(noise_model, GammaPoisson)
            else split_counts(noise_model, *given)
        )
        sigma = (noise_model.read_noise**2 + noise_model.rounding_variance).sqrt()
    z = normal_like(noisy.cpu(), generator).to(noisy)
    second = noisy + (part - fraction * whole) / fraction + ((1 - fraction) / fraction) ** 0.5 * sigma.to(noisy) * z
    return (noisy - fraction * second) / (1 - fraction), second


@lru_cache(maxsize=64)
def as_photon_noise(noise_model: Noise, mean: float, std: float) -> Noise:
    """Model of photon and read noise that approximates another model, for images of this mean and std (ADU).

    A measured model gives the variance of the noise, not its origin. Where the variance grows with the signal,
    v = a s + b, all of it is modelled as photon noise of gain a, with the offset at which v vanishes: read noise is
    equivalent to additional photons. Noise of few photons is skewed, and splitting it as Gaussian noise would leave the
    parts dependent. Above `MANY` photons, and where the variance does not grow, the noise is Gaussian, and the model is
    returned unchanged.

    Source: Snyder et al. 1995, doi:10.1364/JOSAA.12.000272 (read noise as photons).
    """
    noise_model = noise_model.spectral_approximation()
    noise_model = (noise_model.pixel_noise if isinstance(noise_model, Correlated) else noise_model).typical()
    if isinstance(noise_model, PoissonGaussian | GammaPoisson):
        return noise_model
    slope, intercept = linear_variance(noise_model, mean, std)
    if slope <= 0 or slope * mean + intercept > MANY * slope**2:
        return noise_model
    # Values between whole photons belong to the photon noise: separate read noise would be split where there is none.
    return PoissonGaussian(
        slope, (noise_model.quantization.rounding_variance - intercept) / slope, 0.0, noise_model.quantization
    )


def split_counts(
    noise_model: PoissonGaussian, noisy: Tensor, estimate: Tensor, fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """y and y₂, ADU: g times photon numbers k ~ p(k | x, s) ∝ Poisson(k; (s − o)/g) N(x; o + g k, σ²)."""
    offset, gain = noise_model.offset.to(noisy), noise_model.gain.to(noisy)
    observed, expected = (noisy - offset) / gain, ((estimate - offset) / gain).clamp(min=LEAST_ELECTRONS)
    std = noise_model.read_noise_e(noisy)
    peak = most_probable_electrons(observed, expected, std)
    number = photon_number_grid(peak, (1 / (1 / peak + 1 / std**2)).sqrt())
    logits = log_poisson(number, expected[..., None]) - 0.5 * ((observed[..., None] - number) / std) ** 2
    k = sample_value(number, logits, generator).round()
    return gain * k, gain * thin_photons(k, fraction, generator)


def split_gamma_poisson(
    noise_model: GammaPoisson, noisy: Tensor, estimate: Tensor, fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """y and y₂, ADU: y ~ p(y | x, s), then k ~ p(k | y, s) ∝ zᵏ / (k! Γ(a k)), z = λ (a y / g)ᵃ."""
    log_weight, mean, std = noise_model.components(estimate, noisy)
    electrons, rest = noise_model.electrons(estimate)
    output = sample_value(mean, log_weight - 0.5 * ((noisy[..., None] - mean) / std) ** 2 - std.log(), generator)
    output = (output - noise_model.offset.to(noisy) - rest).clamp(min=0)
    a, log_u = noise_model.gamma_shape, (output / noise_model.gain.to(noisy)).clamp(min=1e-12).log()
    peak = ((electrons.log() + a * log_u) / (1 + a)).exp()
    number = 1 + photon_number_grid(peak - 1, (peak / (1 + a)).sqrt())
    log_z = electrons.log() + a * (log_u + math.log(a))
    logits = number * log_z[..., None] - torch.lgamma(number + 1) - torch.lgamma(a * number)
    k = torch.where(output > 0, sample_value(number, logits, generator).round(), 0.0)
    k2 = thin_photons(k, fraction, generator)
    second, first = (sample_responses(photons, a, generator) for photons in (k2, k - k2))
    return output, output * second / (second + first).clamp(min=1e-12)


def photon_number_grid(peak: Tensor, width: Tensor) -> Tensor:
    """Photon numbers (..., K) around the most probable one, several standard deviations (`width`) to each side."""
    terms = min(NUMBERS, 2 * math.ceil(COVERED_STD * float(width.max())) + 1)
    spacing = (2 * COVERED_STD * width / (terms - 1)).clamp(min=1.0)[..., None]
    first = (peak[..., None] / spacing).round() - (terms - 1) // 2
    return (first.clamp(min=0) + torch.arange(terms, device=peak.device)) * spacing


def sample_value(values: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one of the values (..., K) by their log weights."""
    uniform = torch.rand((*logits.shape[:-1], 1), generator=generator).to(logits)
    return values.gather(-1, sample_component(logits.softmax(-1), uniform))[..., 0]


def thin_photons(k: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Draw from k photons, each with this probability."""
    return torch.binomial(k.cpu(), torch.full_like(k.cpu(), fraction), generator=generator).to(k)


def neighbour_mean(image: Tensor) -> Tensor:
    """Mean of the 3 x 3 (x 3) neighbours of each pixel of (N, C, *S), without itself."""
    pool, border = {4: F.avg_pool2d, 5: F.avg_pool3d}[image.ndim], (1, 1) * (image.ndim - 2)
    total, number = (
        pool(F.pad(part, border), 3, 1, divisor_override=1) for part in (image, torch.ones_like(image[:1, :1]))
    )
    share = 1 / number.clamp(min=2)
    found: Tensor = (total / number - image * share) / (1 - share)
    return found
