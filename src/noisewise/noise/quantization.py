"""From a continuous value to the number in the file: rounding to steps, clipping; and the likelihood of both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NARROW = 0.05  # of a standard deviation: below it, a step's mass is density times width


@dataclass(frozen=True)
class Quantization:
    """x is rounded to multiples of `step` (0: not at all) and clipped to `low` and `high` (None: no limit)."""

    step: float = 0.0
    low: float | None = None
    high: float | None = None

    def __call__(self, value: Tensor) -> Tensor:
        return self.clipped(torch.round(value / self.step) * self.step if self.step else value)

    def clipped(self, value: Tensor) -> Tensor:
        """Between the limits."""
        return value if self.low is None and self.high is None else value.clamp(self.low, self.high)

    def clip_cdf(self, cdf: Tensor, value: Tensor) -> Tensor:
        """P(X <= x) of what is clipped, from that of what is not."""
        if self.low is not None:
            cdf = torch.where(value < self.low, 0.0, cdf)
        return cdf if self.high is None else torch.where(value >= self.high, 1.0, cdf)

    @classmethod
    def of_bits(cls, bits: int) -> Quantization:
        """Whole numbers from 0 to 2^bits − 1."""
        return cls(1.0, 0.0, float(2**bits - 1))


CONTINUOUS = Quantization()


def log_mass(noisy: Tensor, mean: Tensor, std: Tensor, quantization: Quantization) -> Tensor:
    """log p(x) of N(mean, std²) after rounding and clipping; a mass over its step, or a density where step is 0.

    At a limit: the mass of the whole tail beyond it.
    """
    half = quantization.step / 2
    inside = log_step(noisy, mean, std, half) if half else log_normal(standardised(noisy, mean, std), std)
    shift = math.log(quantization.step) if half else 0.0
    if quantization.low is not None:
        tail = torch.special.log_ndtr(standardised(torch.as_tensor(quantization.low + half), mean, std)) - shift
        inside = torch.where(noisy <= quantization.low, tail, inside)
    if quantization.high is not None:
        tail = torch.special.log_ndtr(-standardised(torch.as_tensor(quantization.high - half), mean, std)) - shift
        inside = torch.where(noisy >= quantization.high, tail, inside)
    return inside


def standardised(value: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(value − mean) / std."""
    return (value - mean) / std


def log_normal(z: Tensor, std: Tensor) -> Tensor:
    """log N(x; mean, std²) with z = (x − mean) / std."""
    return -0.5 * z**2 - torch.log(std) - 0.5 * math.log(2 * math.pi)


def log_step(noisy: Tensor, mean: Tensor, std: Tensor, half: float) -> Tensor:
    """log of the mass of N(mean, std²) within `half` of x, over the width.

    Both bounds are moved to the lower tail, where log Φ is exact however far out; steps too narrow for a difference
    of two Φ are density times width.
    """
    z, width = standardised(noisy, mean, std), 2 * half / std
    distance = -z.abs()
    lower, upper = (torch.special.log_ndtr(distance + side * width / 2) for side in (-1, 1))
    wide = upper + torch.log1p(-torch.exp((lower - upper).clamp(max=-1e-6))) - math.log(2 * half)
    narrow = log_normal(z, std) + width**2 * (z**2 - 1) / 24
    return torch.where(width * z.abs().clamp(min=1.0) < NARROW, narrow, wide)
