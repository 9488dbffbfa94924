"""The Gaussian mixture of PPN2V and CAREamics, whose parameters are polynomials of the signal."""

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

    With a, b, c the rows of `weight` (3K, C), K each: μₖ = Σᵢ aₖᵢ tⁱ, σₖ² = Σᵢ exp(bₖᵢ) tⁱ, at least least_variance,
    w = softmax(Σᵢ cₖᵢ tⁱ). low, high: the signals it was fitted to, ADU. least_variance: ADU²; the files of both
    programs call it `min_sigma`, but hold the variance to it.
    Source: Prakash et al., ISBI 2020; the code of PPN2V and CAREamics.
    """

    weight: Tensor
    low: Tensor
    high: Tensor
    least_variance: Tensor

    def __init__(
        self, weight: Tensor, low: Value, high: Value, least_variance: Value, quantization: Quantization = CONTINUOUS
    ) -> None:
        super().__init__(quantization)
        self.keep(weight=weight, low=low, high=high, least_variance=least_variance)

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        place = (signal - self.low) / (self.high - self.low)
        powers = torch.stack([place**i for i in range(self.weight.shape[1])], -1)
        mean, log_variance, log_weight = self.weight.to(signal).chunk(3)
        log_weights = (powers @ log_weight.T).log_softmax(-1)
        shift = powers @ mean.T
        shift = shift - (log_weights.exp() * shift).sum(-1, keepdim=True)
        variance = (powers @ log_variance.exp().T).clamp(min=float(self.least_variance))
        return log_weights, signal[..., None] + shift, variance.sqrt()

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Maximum likelihood, three components, linear in the signal, from the line of the variance on."""
        return cls.from_pairs(Pairs.of(noisy, signal, quantization))

    @classmethod
    def from_pairs(cls, pairs: Pairs) -> Self:
        """The same of pairs that are counted already."""
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
        """The law with these free numbers."""
        weight = parameters.reshape(3 * COMPONENTS, COEFFICIENTS)
        return cls(weight, pairs.low, pairs.high, pairs.least_std**2, pairs.quantization)


def penalty(parameters: Tensor) -> Tensor:
    """Nats that weights far from alike cost, where nothing else decides."""
    return 1e-3 * parameters.chunk(3)[2].square().sum()
