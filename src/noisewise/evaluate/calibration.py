"""Whether errors are as large as standard deviations claim: by the truth, or by the noisy image and its law alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.posterior import Posterior

BINS = 15
COVERAGES = (0.5, 0.9, 0.95)
LIKELY = 0.3  # standard deviation of what spreads are before anything is known of them
NOISE_ERROR = 0.03  # relative error of a variance that was measured

Denoiser = Callable[[Tensor], Posterior[Tensor]]


@dataclass(frozen=True)
class Reliability:
    """Claimed standard deviations σ and errors e, in bins of equally many pixels, the surest first; image units.

    claimed: √ mean σ² of each bin. actual: √ mean e². doubt: standard error of mean e² over all, relative to mean σ².
    coverage: share of the pixels whose truth lies in the interval that should hold so many; NaN where the truth is
    unknown.
    """

    predicted: tuple[float, ...]
    actual: tuple[float, ...]
    ratio: float
    ratio_error: float
    coverage: dict[float, float]

    @property
    def ence(self) -> float:
        """Expected normalised calibration error: mean of |actual − claimed| / claimed (Levi et al. 2022)."""
        return sum(abs(a - c) / c for a, c in zip(self.actual, self.predicted, strict=True)) / len(self.predicted)

    def record(self) -> dict[str, float]:
        """What is kept of it with a model."""
        return {"ratio": self.ratio, "doubt": self.ratio_error, "spread": self.std_scale, "ence": self.ence}

    @property
    def std_scale(self) -> float:
        """By how much standard deviations should be larger, as far as that can be told.

        √(1 + w (mean e² / mean σ² − 1)), w = τ² / (τ² + doubt²): the less is known, the nearer to one.
        """
        weight = LIKELY**2 / (LIKELY**2 + self.ratio_error**2)
        return math.sqrt(max(1 + weight * (self.ratio - 1), 0.01))


def reliability(mean: Tensor, std: Tensor, truth: Tensor, bins: int = BINS) -> Reliability:
    """Of a posterior whose truth is known; tensors of equal shape."""
    error, std = (mean - truth).double().flatten(), std.double().flatten()
    found = binned(error**2, std, bins)
    reach = {coverage: NormalDist().inv_cdf(0.5 + coverage / 2) for coverage in COVERAGES}
    coverage = {key: float((error.abs() <= far * std).double().mean()) for key, far in reach.items()}
    return Reliability(*found, coverage)


def reliability_without_truth(pieces: Sequence[tuple[Tensor, Tensor, float]], noise_error: float = 0.0) -> Reliability:
    """Of what `squared_errors` finds in a channel, piece by piece; noise_error: relative, of the noise's variance.

    Errors: `ValueError` where no pixel is left.
    """
    squared = torch.cat([piece[0].double().flatten() for piece in pieces])
    std = torch.cat([piece[1].double().flatten() for piece in pieces])
    if not len(squared):
        raise ValueError("every pixel is near the camera's limits")
    variance = sum(piece[2] for piece in pieces) / len(pieces)
    predicted, actual, ratio, ratio_error = binned(squared, std, BINS)
    ratio_error = math.hypot(ratio_error, noise_error * variance / float((std**2).mean()))
    return Reliability(predicted, actual, ratio, ratio_error, dict.fromkeys(COVERAGES, math.nan))


def binned(squared: Tensor, std: Tensor, bins: int) -> tuple[tuple[float, ...], tuple[float, ...], float, float]:
    """Claimed and actual root mean squares a bin; mean e² over mean σ² in all, and its standard error."""
    order = std.argsort()
    predicted, actual = zip(
        *(((std[part] ** 2).mean().sqrt(), squared[part].mean().clamp(min=0).sqrt()) for part in order.chunk(bins)),
        strict=True,
    )
    total = float((std**2).mean().clamp(min=1e-30))
    ratio_error = float(squared.std()) / math.sqrt(len(squared)) / total
    return tuple(map(float, predicted)), tuple(map(float, actual)), float(squared.mean()) / total, ratio_error


def squared_errors(
    noisy: Tensor, noise_models: Sequence[Noise], denoiser: Denoiser, generator: torch.Generator
) -> list[tuple[Tensor, Tensor, float]]:
    """Of each channel: estimates of the squared errors (s − D(x))² of a denoiser D, its σ, and the noise's variance.

    (x − D)² − v + 2 (x* − D)(D(x*) − D), with v the variance of the law at D, and x* a new noisy image of D: what D
    takes over of the noise makes its residual smaller than its error, and how much that is, a new noise tells.
    Single pixels' estimates are as noisy as the image; their means over many are what is meant.

    noisy: (N, C, *S), ADU. laws: one a channel. Pixels whose noise the camera's limits cut are left out: what is left
    is flat.

    Source: Efron 2004 (covariance penalties, by parametric bootstrap).
    """
    posterior = denoiser(noisy)
    mean, std = posterior.mean, posterior.std
    assert std is not None
    channels = list(zip(noise_models, mean.chunk(len(noise_models), 1), strict=True))
    again = torch.cat([noise_model.sample(part.cpu(), generator) for noise_model, part in channels], 1).to(mean)
    taken = (again - mean) * (denoiser(again).mean - mean)
    found = []
    for c, (noise_model, part) in enumerate(channels):
        variance = noise_model.mean_var(part)[1].to(part)
        valid = uncut(noise_model, part)
        squared = (noisy[:, c : c + 1] - part) ** 2 - variance + 2 * taken[:, c : c + 1]
        found.append((squared[valid], std[:, c : c + 1][valid], float(variance.mean())))
    return found


def uncut(noise_model: Noise, signal: Tensor) -> Tensor:
    """Where the camera's limits cut nothing of the noise."""
    half, low, high = noise_model.quantization.step / 2, noise_model.quantization.low, noise_model.quantization.high
    darkest, brightest = noise_model.span(signal)
    above = -math.inf if low is None else low - half
    below = math.inf if high is None else high + half
    return (darkest >= above) & (brightest <= below)
