"""How well a law fits pairs that it was not fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisewise.noise.base import Noise

COLUMNS = 20  # of the histogram


@dataclass(frozen=True)
class GoodnessOfFit:
    """How uniform the probability integral transform P(X <= x | s) is (randomised where x is quantised).

    distance: Kolmogorov's and Smirnov's; chance: below which 95 % of perfect laws stay. log_likelihood: mean of
    log p(x|s), nats a pixel. held_out_frames: 0 if there were too few to hold some out. shares: of the transform in
    20 columns.
    """

    distance: float
    chance: float
    log_likelihood: float
    pairs: int
    held_out_frames: int
    shares: list[float]


def assess(noise_model: Noise, noisy: Tensor, signal: Tensor, held_out_frames: int) -> GoodnessOfFit:
    """The law against pairs (frames, pixels)."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        likelihood = float(noise_model.log_prob(noisy, signal).mean())
        found = transform(noise_model, noisy, signal, generator).flatten().sort().values
    count = len(found)
    steps = torch.arange(count + 1, dtype=found.dtype) / count
    distance = float(torch.maximum((found - steps[:-1]).abs(), (found - steps[1:]).abs()).max())
    shares = torch.histc(found, COLUMNS, 0, 1) / count
    return GoodnessOfFit(distance, 1.36 / count**0.5, likelihood, count, held_out_frames, shares.tolist())


def transform(noise_model: Noise, noisy: Tensor, signal: Tensor, generator: torch.Generator) -> Tensor:
    """P(X < x) plus a random part of P(X = x): uniform under the law."""
    above = noise_model.cdf(noisy, signal)
    if (
        not noise_model.quantization.step
        and noise_model.quantization.low is None
        and noise_model.quantization.high is None
    ):
        return above
    below = noise_model.cdf(noisy - (noise_model.quantization.step or 1e-9), signal)
    lots = torch.rand(above.shape, generator=generator, dtype=above.dtype)
    return below + lots * (above - below)
