"""Compare predicted standard deviations with errors: by the ground truth, or by the noisy image and its noise model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.ops.specks import surround
from noisewise.posterior import Posterior

BINS = 15
FEWEST = 100  # pixels for an estimate of the errors
COVERAGES = (0.5, 0.9, 0.95)
PRIOR_STD = 0.3  # prior standard deviation of the ratio of squared errors to variances, around 1
NOISE_ERROR = 0.06  # relative standard error of a measured noise variance, as found on real images with repeats

Denoiser = Callable[[Tensor], Posterior[Tensor]]


@dataclass(frozen=True)
class Errors:
    """Of pixels (n,) of a channel: mean D of the eight neighbours, σ, (x − D)², the variance of the noise, and the
    covariance of D with the noise.
    """

    level: Tensor
    std: Tensor
    removed: Tensor
    variance: Tensor
    kept: Tensor

    @property
    def squared(self) -> Tensor:
        """Estimates of (s − D)². That of a single pixel is as noisy as the image; only means are meaningful."""
        return self.removed - self.variance + 2 * self.kept


@dataclass(frozen=True)
class Reliability:
    """Predicted standard deviations σ and errors e, in bins of equal numbers of pixels, ordered by σ; image units.

    predicted: √ mean σ² of each bin. actual: √ mean e² of each bin. ratio: mean e² / mean σ² over all pixels, and
    ratio_error its standard error. coverage: by nominal coverage, the fraction of pixels whose truth lies in the
    interval; NaN if the truth is unknown.
    """

    predicted: tuple[float, ...]
    actual: tuple[float, ...]
    ratio: float
    ratio_error: float
    coverage: dict[float, float]

    @property
    def ence(self) -> float:
        """Expected normalised calibration error: mean of |actual − predicted| / predicted.

        Source: Levi et al. 2022, doi:10.3390/s22155540.
        """
        return sum(abs(a - c) / c for a, c in zip(self.actual, self.predicted, strict=True)) / len(self.predicted)

    def record(self) -> dict[str, float]:
        """The numbers that are saved with a model."""
        return {"ratio": self.ratio, "ratio_error": self.ratio_error, "std_scale": self.std_scale, "ence": self.ence}

    @property
    def std_scale(self) -> float:
        """Factor that recalibrates standard deviations: √(1 + w (ratio − 1)), w = τ² / (τ² + ratio_error²).

        The posterior mean of the ratio for the prior N(1, τ²): the larger its error, the nearer to 1.
        """
        weight = PRIOR_STD**2 / (PRIOR_STD**2 + self.ratio_error**2)
        return math.sqrt(max(1 + weight * (self.ratio - 1), 0.01))


def reliability(mean: Tensor, std: Tensor, truth: Tensor, bins: int = BINS) -> Reliability:
    """Compare a posterior's mean and standard deviation with the known truth; tensors of equal shape."""
    error, std = (mean - truth).double().flatten(), std.double().flatten()
    quantiles = {coverage: NormalDist().inv_cdf(0.5 + coverage / 2) for coverage in COVERAGES}
    coverage = {key: float((error.abs() <= quantile * std).double().mean()) for key, quantile in quantiles.items()}
    return Reliability(*binned(error**2, std, bins), coverage)


def reliability_without_truth(pieces: Sequence[Errors], noise_error: float = 0.0) -> Reliability:
    """Compare standard deviations with the results of `squared_errors` for one channel, image by image.

    noise_error: relative standard error of the noise's variance.

    Errors: `ValueError` if there are hardly any pixels.
    """
    squared = torch.cat([piece.squared.double() for piece in pieces])
    std = torch.cat([piece.std.double() for piece in pieces])
    if len(squared) < FEWEST:
        raise ValueError("nearly every pixel is near the camera's limits")
    variance = float(torch.cat([piece.variance for piece in pieces]).double().mean())
    predicted, actual, ratio, ratio_error = binned(squared, std, BINS)
    ratio_error = math.hypot(ratio_error, noise_error * variance / float((std**2).mean()))
    return Reliability(predicted, actual, ratio, ratio_error, dict.fromkeys(COVERAGES, math.nan))


def binned(squared: Tensor, std: Tensor, bins: int) -> tuple[tuple[float, ...], tuple[float, ...], float, float]:
    """Predicted and actual root mean squares of each bin; mean e² / mean σ² of all pixels, and its standard error."""
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
) -> list[Errors]:
    """Estimate the squared errors (s − D(x))² of a denoiser D, by channel.

    (x − D)² − v + 2 (x* − D)(D(x*) − D), with v the variance of the noise model at D, and x* a new noisy image of D.
    D contains a part of the noise, so its residual is smaller than its error; the new noise shows by how much. The
    estimate of a single pixel is as noisy as the image; only means over many pixels are meaningful.

    noisy: (N, C, *S), ADU. noise_models: one for each channel. Pixels whose noise is clipped at the camera's limits are
    left out. Results are one-dimensional.

    Source: Efron 2004, doi:10.1198/016214504000000692 (covariance penalties, by parametric bootstrap).
    """
    posterior = denoiser(noisy)
    mean, std = posterior.mean, posterior.std
    assert std is not None
    channels = list(zip(noise_models, mean.chunk(len(noise_models), 1), strict=True))
    again = torch.cat([noise_model.sample(part.cpu(), generator) for noise_model, part in channels], 1).to(mean)
    covariance = (again - mean) * (denoiser(again).mean - mean)
    found = []
    for c, (noise_model, part) in enumerate(channels):
        variance = noise_model.mean_var(part)[1].to(part)
        valid = unclipped(noise_model, part)
        removed = (noisy[:, c : c + 1] - part) ** 2
        level = surround(part.reshape(-1, 1, *part.shape[-2:])).reshape(part.shape)
        all_pixels = level, std[:, c : c + 1], removed, variance, covariance[:, c : c + 1]
        found.append(Errors(*(values[valid] for values in all_pixels)))
    return found


def unclipped(noise_model: Noise, signal: Tensor) -> Tensor:
    """True where the camera's limits clip no part of the noise."""
    half, low, high = noise_model.quantization.step / 2, noise_model.quantization.low, noise_model.quantization.high
    darkest, brightest = noise_model.span(signal)
    above = -math.inf if low is None else low - half
    below = math.inf if high is None else high + half
    return (darkest >= above) & (brightest <= below)
