"""Gaussian mixture of PPN2V and CAREamics, whose parameters are polynomials of the signal."""

from __future__ import annotations

import math
from functools import partial
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import GaussianSum, Value
from noisewise.noise.fit.maximum_likelihood import maximise
from noisewise.noise.fit.pairs import Pairs
from noisewise.noise.quantization import CONTINUOUS, Quantization

COMPONENTS, COEFFICIENTS = 3, 2


class GmmPolynomial(GaussianSum):
    """p(x|s) = Σₖ wₖ(t) N(x; s + μₖ(t) − μ̄(t), σₖ²(t)), t = (s − low) / (high − low), μ̄ = Σ w μ, mean s exactly.

    a, b and c are the rows of `weight` (3K, C), K each: μₖ = Σᵢ aₖᵢ tⁱ, σₖ² = Σᵢ exp(bₖᵢ) tⁱ, at least least_variance,
    w = softmax(Σᵢ cₖᵢ tⁱ). low, high: range of the fitted signals, ADU. least_variance: ADU²; both programs call it
    `min_sigma`, but apply it to the variance.

    Source: Prakash et al. 2020 (PPN2V), arXiv:1911.12291; the code of PPN2V and CAREamics.
    """

    weight: Tensor
    low: Tensor
    high: Tensor
    least_variance: Tensor

    def __init__(
        self, weight: Tensor, low: Value, high: Value, least_variance: Value, quantization: Quantization = CONTINUOUS
    ) -> None:
        super().__init__(quantization)
        self.store(weight=weight, low=low, high=high, least_variance=least_variance)

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        t = (signal - self.low) / (self.high - self.low)
        powers = torch.stack([t**i for i in range(self.weight.shape[1])], -1)
        mean, log_variance, log_weight = self.weight.to(signal).chunk(3)
        log_weights = (powers @ log_weight.T).log_softmax(-1)
        shift = powers @ mean.T
        shift = shift - (log_weights.exp() * shift).sum(-1, keepdim=True)
        variance = (powers @ log_variance.exp().T).clamp(min=float(self.least_variance))
        return log_weights, signal[..., None] + shift, variance.sqrt()

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Fit three components, linear in the signal, by maximum likelihood, starting from the variance line."""
        return cls.from_pairs(Pairs.of(noisy, signal, quantization))

    @classmethod
    def from_pairs(cls, pairs: Pairs) -> Self:
        """Fit the model to counted pairs."""
        line, span = pairs.line, pairs.high - pairs.low
        darkest = max(line(pairs.low), float(pairs.least_std) ** 2)
        start = torch.zeros(3, COMPONENTS, COEFFICIENTS, dtype=torch.float64)
        start[0] = torch.linspace(-0.3, 0.3, COMPONENTS)[:, None] * math.sqrt(darkest)
        start[1, :, 0] = math.log(darkest)
        start[1, :, 1] = math.log(max(line.slope * span, 0.01 * darkest))
        make = partial(cls.of_parameters, pairs)
        return make(maximise(make, start.flatten(), pairs, penalty))

    @classmethod
    def of_parameters(cls, pairs: Pairs, parameters: Tensor) -> Self:
        """Model of flat free parameters (3 · K · C,)."""
        weight = parameters.reshape(3 * COMPONENTS, COEFFICIENTS)
        return cls(weight, pairs.low, pairs.high, pairs.least_std**2, pairs.quantization)


def penalty(parameters: Tensor) -> Tensor:
    """Weak penalty (nats) on unequal weights, for parameters that the pairs do not determine."""
    return 1e-3 * parameters.chunk(3)[2].square().sum()
