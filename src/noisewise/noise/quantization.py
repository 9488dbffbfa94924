"""Quantization: rounding and clipping of pixel values, and the likelihood of values that were rounded and clipped."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NARROW = 0.05  # standard deviations: the mass of a narrower step is density times width


@dataclass(frozen=True)
class Quantization:
    """Rounding of x to multiples of `step` (0: none) and clipping to `low` and `high` (None: no limit); ADU."""

    step: float = 0.0
    low: float | None = None
    high: float | None = None

    def __call__(self, value: Tensor) -> Tensor:
        return self.clipped(torch.round(value / self.step) * self.step if self.step else value)

    @property
    def rounding_variance(self) -> float:
        """Variance that rounding adds, step² / 12 (ADU²)."""
        return self.step**2 / 12

    def clipped(self, value: Tensor) -> Tensor:
        """Clip values to the limits."""
        return value if self.low is None and self.high is None else value.clamp(self.low, self.high)

    def clip_cdf(self, cdf: Tensor, value: Tensor) -> Tensor:
        """P(X <= x) of clipped values, from that of values before clipping."""
        if self.low is not None:
            cdf = torch.where(value < self.low, 0.0, cdf)
        return cdf if self.high is None else torch.where(value >= self.high, 1.0, cdf)

    @classmethod
    def of_bits(cls, bits: int) -> Quantization:
        """Integers from 0 to 2^bits − 1."""
        return cls(1.0, 0.0, float(2**bits - 1))


CONTINUOUS = Quantization()


def log_mass(noisy: Tensor, mean: Tensor, std: Tensor, quantization: Quantization) -> Tensor:
    """log p(x) of N(mean, std²) after rounding and clipping: mass of the step divided by it; a density for step 0.

    At a limit, it is the mass of the whole tail on the other side.
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
    """log of the mass of N(mean, std²) within `half` of x, divided by the width.

    Both bounds are mirrored to the lower tail, where log Φ stays exact. Steps too narrow for a difference of two Φ use
    density times width, with the second-order correction.
    """
    z, width = standardised(noisy, mean, std), 2 * half / std
    distance = -z.abs()
    lower, upper = (torch.special.log_ndtr(distance + side * width / 2) for side in (-1, 1))
    wide = upper + torch.log1p(-torch.exp((lower - upper).clamp(max=-1e-6))) - math.log(2 * half)
    narrow = log_normal(z, std) + width**2 * (z**2 - 1) / 24
    return torch.where(width * z.abs().clamp(min=1.0) < NARROW, narrow, wide)
