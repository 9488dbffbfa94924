"""One noisy image taken apart into two with independent noise, by the law of its noise."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.noise.base import Noise, drawn, normal_like
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gamma_poisson import GammaPoisson, heights
from noisewise.noise.models.poisson_gaussian import FEWEST, PoissonGaussian, likely_electrons, log_poisson

SPAN = 3.0  # standard deviations of an image to each side of its mean, over which a law's variance is a line
POINTS = 65
FLAT = 0.05  # of the steepest slope
MANY = 1000.0  # photons, from which on their noise is Gaussian
NEAR, NUMBERS = 4.0, 17  # standard deviations of the photon number, given x, that are drawn from; values in them


@lru_cache(maxsize=64)
def linear_variance(noise_model: Noise, mean: float, std: float) -> tuple[float, float]:
    """Slope (ADU) and intercept (ADU²) of Var[x|s] against s, over the signals of an image of this mean and spread."""
    signal = torch.linspace(mean - SPAN * std, mean + SPAN * std, POINTS, dtype=torch.float64)
    variance = noise_model.typical().mean_var(signal)[1]
    slopes = variance.diff() / signal.diff()
    rises = slopes > FLAT * slopes.max()  # in the dark, below what an image holds, a law has a floor
    if slopes.max() <= 0 or not rises.any():
        return 0.0, float(variance.mean())
    slope = float(slopes[rises].median())
    return slope, float((variance - slope * signal)[1:][rises].median())


def split_noisy(
    noise_model: Noise, noisy: Tensor, share: float, image_statistics: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """x₁, x₂ of noisy images (N, 1, *S), ADU: independent given s, both with mean s, and (1 − α) x₁ + α x₂ = x.

    For photons and read noise, x = o + y + n, where k photons make y, and the share α:
    k₂ ~ Binomial(k, α), n₂ = α n + √(α (1 − α)) σ z;  x₂ = o + (y₂ + n₂) / α, and x₁ what is left over 1 − α.
    Poisson numbers k₂ and k − k₂ are independent, and so are the Gaussian n₂ and n − n₂. Counted, y = g k; of gamma
    pulses of the shape a, y₂ / y ~ Beta(a k₂, a (k − k₂)). y and k themselves are not known: they are drawn given x and
    a guess of s, the mean of the neighbours. Of counted photons, it matters only where read noise and photons are of a
    size: k is certain where read noise is below half an electron, and n alone matters where photons are many.

    Of other laws see `photon_law`. about: mean and standard deviation of the images.
    """
    noise_model = as_photon_noise(noise_model, *image_statistics)
    guess = neighbour_mean(noisy)
    whole = part = torch.zeros_like(noisy)
    sigma = noise_model.mean_var(guess)[1].clamp(min=0).sqrt()
    if isinstance(noise_model, PoissonGaussian | GammaPoisson) and float(noise_model.gain) > 0:
        given = noisy, guess, share, generator
        whole, part = (
            part_of_pulses(noise_model, *given)
            if isinstance(noise_model, GammaPoisson)
            else part_of_counts(noise_model, *given)
        )
        sigma = (noise_model.read_noise**2 + noise_model.quantization.step**2 / 12).sqrt()
    lots = normal_like(noisy.cpu(), generator).to(noisy)
    second = noisy + (part - share * whole) / share + ((1 - share) / share) ** 0.5 * sigma.to(noisy) * lots
    return (noisy - share * second) / (1 - share), second


@lru_cache(maxsize=64)
def as_photon_noise(noise_model: Noise, mean: float, std: float) -> Noise:
    """The law of photons and read noise that is like another law, for images of this mean and spread.

    A law that was measured says how large the noise is, not what it is made of. Where its variance grows with the
    signal, v = a s + b, all of it is taken for photons of the gain a, which stand on an offset where v would vanish:
    read noise is like so many photons more. Noise of few photons is skewed, and parts of it that are taken out as if
    it were Gaussian depend on the rest. Of more than `MANY` photons, and where the variance does not grow, it is
    Gaussian, and the law itself comes back.

    Source: Snyder et al. 1995 (read noise as photons).
    """
    noise_model = noise_model.spectral()
    noise_model = (noise_model.pixel_noise if isinstance(noise_model, Correlated) else noise_model).typical()
    if isinstance(noise_model, PoissonGaussian | GammaPoisson):
        return noise_model
    slope, intercept = linear_variance(noise_model, mean, std)
    if slope <= 0 or slope * mean + intercept > MANY * slope**2:
        return noise_model
    # What lies between whole photons stays with them: as noise of its own, it would be taken off where there is none.
    return PoissonGaussian(
        slope, (noise_model.quantization.step**2 / 12 - intercept) / slope, 0.0, noise_model.quantization
    )


def part_of_counts(
    noise_model: PoissonGaussian, noisy: Tensor, guess: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """y and y₂, ADU: photon numbers k ~ p(k | x, s = guess) ∝ Poisson(k; (s − o)/g) N(x; o + g k, σ²), times g."""
    seen, expected = ((value - noise_model.offset.to(noisy)) / noise_model.gain.to(noisy) for value in (noisy, guess))
    expected, std = expected.clamp(min=FEWEST), noise_model.read_noise_e(noisy)
    peak = likely_electrons(seen, expected, std)
    number = numbers(peak, (1 / (1 / peak + 1 / std**2)).sqrt())
    logits = log_poisson(number, expected[..., None]) - 0.5 * ((seen[..., None] - number) / std) ** 2
    k, gain = pick(number, logits, generator).round(), noise_model.gain.to(noisy)
    return gain * k, gain * thinned(k, share, generator)


def part_of_pulses(
    noise_model: GammaPoisson, noisy: Tensor, guess: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """y and y₂, ADU: y ~ p(y | x, s = guess), then k ~ p(k | y, s) ∝ zᵏ / (k! Γ(a k)), z = λ (a y / g)ᵃ."""
    log_weight, mean, std = noise_model.components(guess, noisy)
    electrons, missing = noise_model.electrons(guess)
    output = pick(mean, log_weight - 0.5 * ((noisy[..., None] - mean) / std) ** 2 - std.log(), generator)
    output = (output - noise_model.offset.to(noisy) - missing).clamp(min=0)
    a, log_u = noise_model.shape, (output / noise_model.gain.to(noisy)).clamp(min=1e-12).log()
    peak = ((electrons.log() + a * log_u) / (1 + a)).exp()
    number = 1 + numbers(peak - 1, (peak / (1 + a)).sqrt())
    log_z = electrons.log() + a * (log_u + math.log(a))
    logits = number * log_z[..., None] - torch.lgamma(number + 1) - torch.lgamma(a * number)
    k = torch.where(output > 0, pick(number, logits, generator).round(), 0.0)
    taken = thinned(k, share, generator)
    mine, others = (heights(part, a, generator) for part in (taken, k - taken))
    return output, output * mine / (mine + others).clamp(min=1e-12)


def numbers(peak: Tensor, width: Tensor) -> Tensor:
    """Photon numbers (..., K) around the likeliest, several standard deviations to each side."""
    terms = min(NUMBERS, 2 * math.ceil(NEAR * float(width.max())) + 1)
    spacing = (2 * NEAR * width / (terms - 1)).clamp(min=1.0)[..., None]
    first = (peak[..., None] / spacing).round() - (terms - 1) // 2
    return (first.clamp(min=0) + torch.arange(terms, device=peak.device)) * spacing


def pick(values: Tensor, logits: Tensor, generator: torch.Generator) -> Tensor:
    """One of the values (..., K), by its logarithmic weight."""
    lots = torch.rand((*logits.shape[:-1], 1), generator=generator).to(logits)
    return values.gather(-1, drawn(logits.softmax(-1), lots))[..., 0]


def thinned(k: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Of k photons, each with this probability."""
    return torch.binomial(k.cpu(), torch.full(k.shape, share), generator=generator).to(k)


def neighbour_mean(image: Tensor) -> Tensor:
    """Mean of the 3 x 3 (x 3) neighbours of each pixel of (N, C, *S), without itself."""
    pool = {4: F.avg_pool2d, 5: F.avg_pool3d}[image.ndim]
    total: Tensor = pool(image, 3, 1, 1, count_include_pad=False)
    count: Tensor = 1 / pool(torch.ones_like(image[:1, :1]), 3, 1, 1, divisor_override=1).clamp(min=2)
    return (total - image * count) / (1 - count)
