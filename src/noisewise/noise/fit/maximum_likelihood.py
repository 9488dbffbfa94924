"""Maximum-likelihood fits of noise models to counted pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import Pairs

STEPS, HALVINGS = 400, 30
SUFFICIENT = 1e-4  # of the decrease that the gradient predicts (Armijo condition)
GRADIENT_TOLERANCE, LOSS_TOLERANCE = 1e-6, 1e-6  # largest gradient, smallest decrease of the loss: converged


def maximise(
    make: Callable[[Tensor], Noise], start: Tensor, pairs: Pairs, penalty: Callable[[Tensor], Tensor]
) -> Tensor:
    """Parameters (flat, float64) that maximise the log-likelihood minus a penalty; deterministic.

    make: parameters -> noise model, differentiable. start: initial parameters. penalty: parameters -> nats.
    """
    noisy, signal, count = pairs.cells()

    def loss(parameters: Tensor) -> Tensor:
        return (penalty(parameters) - (count * make(parameters).log_prob(noisy, signal)).sum()) / count.sum()

    return minimise(loss, start.double())


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Local minimum of a smooth function of up to some hundred parameters: BFGS with a backtracking line search.

    Source: Nocedal and Wright, Numerical Optimization, algorithm 6.1 (doi:10.1007/978-0-387-40065-5). Not
    `torch.optim.LBFGS`: creating an optimiser loads torch's compiler, which takes longer than the search.
    """

    def value_and_gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            value = loss(x)
            return value.detach(), torch.autograd.grad(value, x)[0]

    x, identity = start.detach().clone(), torch.eye(len(start), dtype=start.dtype)
    (value, gradient), inverse = value_and_gradient(x), None
    for _ in range(STEPS):
        if gradient.abs().max() < GRADIENT_TOLERANCE:
            break
        step = -(gradient / gradient.norm().clamp_min(1) if inverse is None else inverse @ gradient)
        for _ in range(HALVINGS):
            new_value, new_gradient = value_and_gradient(x + step)
            if new_value <= value + SUFFICIENT * gradient @ step:
                break
            step = step / 2
        else:
            break
        change, curvature = new_gradient - gradient, step @ (new_gradient - gradient)
        if curvature > 0:
            inverse = identity * curvature / (change @ change) if inverse is None else inverse
            projection = identity - torch.outer(step, change) / curvature
            inverse = projection @ inverse @ projection.T + torch.outer(step, step) / curvature
        decrease, x, value, gradient = value - new_value, x + step, new_value, new_gradient
        if decrease < LOSS_TOLERANCE:
            break
    return x
