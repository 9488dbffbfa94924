"""A mixture of Gaussians around the line of the variance: a recorded or bootstrapped noise model."""

from __future__ import annotations

from functools import partial
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import GaussianSum, Value
from noisewise.noise.fit.maximum_likelihood import maximise
from noisewise.noise.fit.pairs import Pairs, standard_deviation
from noisewise.noise.quantization import CONTINUOUS, Quantization

COMPONENTS = 4
KNOTS = 12
DENSER = 2.0  # the power with which knots crowd at dark signals, where the shape changes most
LEAST_OUTLIERS, MOST_OUTLIERS = 1e-4, 0.05  # weight of the broad component
BROAD = 5.0  # its standard deviation, in those of the line, at least
BOUNDS = (12.0, 12.0, 4.0)  # of log_weight, shift, log_scale, so that no step of the search leads to infinity
ROUGH, WIDE = 0.5, 3.0  # what is usual: bend of a parameter at a knot, size of a parameter


class Mixture(GaussianSum):
    """p(x|s) = Σₖ wₖ(s) N(x; s + σ(s) (dₖ(s) − d̄(s)), σ(s)² exp(2 hₖ(s))) + w₀ N(x; s, (b σ(s))²), mean s exactly.

    σ(s)² = slope · s + intercept, at least least_std², is the line of the variance. w (a softmax), d and h are
    linear between knots (J signals, ADU) and constant beyond, so that outside the range of the recording the law
    follows the line. d̄ = Σ w d / Σ w. The last component, with weight w₀ >= 1e-4 and b >= 5, is for hot pixels, and
    keeps the gradient alive.

    knots: (J,). log_weight, shift, log_scale: (J, K): the softmax's argument, d, h. outlier: (2,): w₀, b. slope: ADU.
    intercept: ADU². least_std: ADU. The form is that of Prakash et al., ISBI 2020, with a line for a backbone.
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
        self.keep(knots=knots, log_weight=log_weight, shift=shift, log_scale=log_scale, outlier=outlier)
        self.keep(slope=slope, intercept=intercept, least_std=least_std)

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        std = standard_deviation(signal, self.slope, self.intercept, self.least_std)[..., None]
        table = torch.cat([self.log_weight, self.shift, self.log_scale], 1).to(signal)
        log_weight, shift, log_scale = interpolate(signal, self.knots.to(signal), table).chunk(3, -1)
        log_weight = log_weight.log_softmax(-1)
        shift = shift - (log_weight.exp() * shift).sum(-1, keepdim=True)
        rare, broad = self.outlier.to(signal)
        log_weights = torch.cat([log_weight + torch.log1p(-rare), rare.log().expand(std.shape)], -1)
        means = torch.cat([signal[..., None] + std * shift, signal[..., None]], -1)
        return log_weights, means, torch.cat([std * log_scale.exp(), std * broad], -1)

    @classmethod
    def fit(
        cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS, components: int = COMPONENTS
    ) -> Self:
        """Maximum likelihood over the pairs, in float64, from the line of the variance on; seconds for any number."""
        return cls.from_pairs(Pairs.of(noisy, signal, quantization), components)

    @classmethod
    def from_pairs(cls, pairs: Pairs, components: int = COMPONENTS) -> Self:
        """The same of pairs that are counted already."""
        make = partial(cls.of_parameters, pairs)
        return make(maximise(make, first_guess(components), pairs, penalty))

    @classmethod
    def of_parameters(cls, pairs: Pairs, parameters: Tensor) -> Self:
        """The law with these free numbers: the tables, then two for the outliers."""
        bounds = torch.tensor(BOUNDS, dtype=torch.float64)[:, None, None]
        log_weight, shift, log_scale = bounds * torch.tanh(parameters[:-2].reshape(3, KNOTS, -1) / bounds)
        return cls(
            pairs.spaced(KNOTS, DENSER), log_weight, shift, log_scale, outlier_of(parameters[-2:]),
            pairs.slope, pairs.intercept, pairs.least_std, pairs.quantization,
        )  # fmt: skip


def penalty(parameters: Tensor) -> Tensor:
    """Nats that tables cost which bend or have large numbers; what few pairs leave open, this decides."""
    bend = parameters[:-2].reshape(3, KNOTS, -1).diff(n=2, dim=1) / ROUGH
    return 0.5 * (bend.square().sum() + (parameters / WIDE).square().sum())


def first_guess(components: int) -> Tensor:
    """Parameters of nearly one Gaussian, leaning to the right as amplified photons do, alike at all knots."""
    lean = torch.linspace(0, 1, components, dtype=torch.float64)
    table = torch.stack([-1.5 * lean, lean - 0.3, 0.3 * lean - 0.2])[:, None].expand(3, KNOTS, components)
    return torch.cat([table.flatten(), torch.tensor([-4.0, -2.0], dtype=torch.float64)])


def outlier_of(parameters: Tensor) -> Tensor:
    """Weight and breadth of the broad component from two free numbers."""
    rare = LEAST_OUTLIERS + (MOST_OUTLIERS - LEAST_OUTLIERS) * parameters[0].sigmoid()
    return torch.stack([rare, BROAD + parameters[1].exp()])


def interpolate(signal: Tensor, knots: Tensor, table: Tensor) -> Tensor:
    """Rows of a table (J, P) at the knots (J,), linear between them and constant beyond: (...) -> (..., P)."""
    index = torch.bucketize(signal.detach().contiguous(), knots[1:-1])
    first, second = knots[index], knots[index + 1]
    part = ((signal - first) / (second - first)).clamp(0, 1)[..., None]
    return table[index] * (1 - part) + table[index + 1] * part
