"""Gaussian mixture around the variance line: a noise model from a recording or from denoised images."""

from __future__ import annotations

from functools import partial
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import GaussianSum, Value
from noisewise.noise.fit.maximum_likelihood import maximise
from noisewise.noise.fit.pairs import Pairs, interpolate, standard_deviation
from noisewise.noise.quantization import CONTINUOUS, Quantization

COMPONENTS = 4
KNOTS = 12
KNOT_POWER = 2.0  # knots are denser at dark signals, where the shape changes most
LEAST_OUTLIERS, MOST_OUTLIERS = 1e-4, 0.05  # weight of the outlier component
BROAD = 5.0  # standard deviation of the outlier component relative to the variance line, at least
BOUNDS = (12.0, 12.0, 4.0)  # of log_weight, shift, log_scale, so that no step of the optimiser diverges
PRIOR_BEND, PRIOR_SIZE = 0.5, 3.0  # prior standard deviations: second difference at a knot, parameter


class Mixture(GaussianSum):
    """p(x|s) = Σₖ wₖ(s) N(x; s + σ(s) (dₖ(s) − d̄(s)), σ(s)² exp(2 hₖ(s))) + w₀ N(x; s, (b σ(s))²), mean s exactly.

    σ(s)² = slope · s + intercept, at least least_std², is the variance line. w (a softmax), d and h are linear between
    knots (J signals, ADU) and constant outside, so that outside the recorded range the model follows the line.
    d̄ = Σ w d / Σ w. The outlier component, with w₀ >= 1e-4 and b >= 5, is for hot pixels and keeps the gradient from
    vanishing.

    knots: (J,). log_weight, shift, log_scale: (J, K), argument of the softmax, d, h. outlier: (2,), w₀ and b. slope:
    ADU. intercept: ADU². least_std: ADU.

    Source: mixtures around a variance line, after Prakash et al. 2020 (PPN2V), arXiv:1911.12291.
    """

    knots: Tensor
    log_weight: Tensor
    shift: Tensor
    log_scale: Tensor
    outlier: Tensor
    slope: Tensor
    intercept: Tensor
    least_std: Tensor

    def __init__(
        self,
        knots: Tensor,
        log_weight: Tensor,
        shift: Tensor,
        log_scale: Tensor,
        outlier: Tensor,
        slope: Value,
        intercept: Value,
        least_std: Value,
        quantization: Quantization = CONTINUOUS,
    ) -> None:
        super().__init__(quantization)
        self.store(knots=knots, log_weight=log_weight, shift=shift, log_scale=log_scale, outlier=outlier)
        self.store(slope=slope, intercept=intercept, least_std=least_std)

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        std = standard_deviation(signal, self.slope, self.intercept, self.least_std)[..., None]
        table = torch.cat([self.log_weight, self.shift, self.log_scale], 1).to(signal)
        log_weight, shift, log_scale = interpolate(signal, self.knots.to(signal), table).chunk(3, -1)
        log_weight = log_weight.log_softmax(-1)
        shift = shift - (log_weight.exp() * shift).sum(-1, keepdim=True)
        outliers, broad = self.outlier.to(signal)
        log_weights = torch.cat([log_weight + torch.log1p(-outliers), outliers.log().expand(std.shape)], -1)
        means = torch.cat([signal[..., None] + std * shift, signal[..., None]], -1)
        return log_weights, means, torch.cat([std * log_scale.exp(), std * broad], -1)

    @classmethod
    def fit(
        cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS, components: int = COMPONENTS
    ) -> Self:
        """Fit by maximum likelihood in float64, starting from the variance line; seconds for any number of pairs."""
        return cls.from_pairs(Pairs.of(noisy, signal, quantization), components)

    @classmethod
    def from_pairs(cls, pairs: Pairs, components: int = COMPONENTS) -> Self:
        """Fit the model to counted pairs."""
        make = partial(cls.of_parameters, pairs)
        return make(maximise(make, initial_parameters(components), pairs, penalty))

    @classmethod
    def of_parameters(cls, pairs: Pairs, parameters: Tensor) -> Self:
        """Model of flat free parameters: the tables (3 · KNOTS · K), then two of the outlier component."""
        bounds = torch.tensor(BOUNDS, dtype=torch.float64)[:, None, None]
        log_weight, shift, log_scale = bounds * torch.tanh(parameters[:-2].reshape(3, KNOTS, -1) / bounds)
        return cls(
            pairs.spaced_signals(KNOTS, KNOT_POWER), log_weight, shift, log_scale, outlier_component(parameters[-2:]),
            pairs.slope, pairs.intercept, pairs.least_std, pairs.quantization,
        )  # fmt: skip


def penalty(parameters: Tensor) -> Tensor:
    """Negative log prior (nats): Gaussian on the parameters and on their second differences over the knots."""
    bend = parameters[:-2].reshape(3, KNOTS, -1).diff(n=2, dim=1) / PRIOR_BEND
    return 0.5 * (bend.square().sum() + (parameters / PRIOR_SIZE).square().sum())


def initial_parameters(components: int) -> Tensor:
    """Parameters of nearly one Gaussian, skewed to the right as amplified photons are, equal at all knots."""
    skew = torch.linspace(0, 1, components, dtype=torch.float64)
    table = torch.stack([-1.5 * skew, skew - 0.3, 0.3 * skew - 0.2])[:, None].expand(3, KNOTS, components)
    return torch.cat([table.flatten(), torch.tensor([-4.0, -2.0], dtype=torch.float64)])


def outlier_component(parameters: Tensor) -> Tensor:
    """Weight and relative width of the outlier component from two free parameters."""
    weight = LEAST_OUTLIERS + (MOST_OUTLIERS - LEAST_OUTLIERS) * parameters[0].sigmoid()
    return torch.stack([weight, BROAD + parameters[1].exp()])
