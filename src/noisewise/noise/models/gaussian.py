"""White Gaussian noise whose standard deviation does not depend on the signal."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import GaussianSum, Value
from noisewise.noise.quantization import CONTINUOUS, Quantization


class Gaussian(GaussianSum):
    """p(x|s) = N(x; s, σ²), the same for every signal.

    std: σ, ADU.
    """

    std: Tensor

    def __init__(self, std: Value, quantization: Quantization = CONTINUOUS) -> None:
        super().__init__(quantization)
        self.store(std=std)

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        std = self.std.to(signal).expand(signal.shape)[..., None]
        return torch.zeros_like(std), signal[..., None], std

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Fit σ² as the mean squared difference, minus the variance of rounding."""
        variance = ((noisy.double() - signal.double()) ** 2).mean() - quantization.rounding_variance
        return cls(
            variance.clamp(min=(0.05 * quantization.step) ** 2 + torch.finfo(torch.float64).tiny).sqrt(), quantization
        )
