"""How well a noise model fits pairs that were not used for its fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.fit.integral_transform import integral_transform

BINS = 20  # of the histogram


@dataclass(frozen=True)
class GoodnessOfFit:
    """The uniformity of the probability integral transform P(X <= x | s) (randomised where x is quantized).

    distance: the Kolmogorov-Smirnov statistic. critical_distance: 95 % of correct noise models are below it.
    log_likelihood: mean of log p(x|s), nats per pixel. held_out_frames: 0 if there were too few frames. histogram: of
    the transform, fractions in 20 bins.
    """

    distance: float
    critical_distance: float
    log_likelihood: float
    pairs: int
    held_out_frames: int
    histogram: list[float]


def assess(noise_model: Noise, noisy: Tensor, signal: Tensor, held_out_frames: int) -> GoodnessOfFit:
    """Compare a noise model with pairs of noisy values and signals (frames, pixels), ADU."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        likelihood = float(noise_model.log_prob(noisy, signal).mean())
        found = integral_transform(noise_model, noisy, signal, generator).flatten().sort().values
    count = len(found)
    steps = torch.arange(count + 1, dtype=found.dtype) / count
    distance = float(torch.maximum((found - steps[:-1]).abs(), (found - steps[1:]).abs()).max())
    histogram = torch.histc(found, BINS, 0, 1) / count
    return GoodnessOfFit(distance, 1.36 / count**0.5, likelihood, count, held_out_frames, histogram.tolist())
