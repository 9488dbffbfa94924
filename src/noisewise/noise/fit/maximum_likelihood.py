"""Maximum likelihood: the parameters under which counted pairs are most likely."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import Pairs

STEPS, HALVINGS = 400, 30
SUFFICIENT = 1e-4  # of the fall that the slope promises
FLAT, SETTLED = 1e-6, 1e-6  # steepest slope, and a fall of the loss: no further step is worth it


def maximise(
    make: Callable[[Tensor], Noise], start: Tensor, pairs: Pairs, penalty: Callable[[Tensor], Tensor]
) -> Tensor:
    """The parameters (flat, float64) that maximise the log-likelihood less a penalty; deterministic.

    make: parameters -> law, differentiable. start: the first parameters.
    """
    noisy, signal, count = pairs.cells()

    def loss(parameters: Tensor) -> Tensor:
        return (penalty(parameters) - (count * make(parameters).log_prob(noisy, signal)).sum()) / count.sum()

    return minimise(loss, start.double())


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """A local minimum of a smooth function of up to some hundred parameters: BFGS with a line search by halving.

    Source: Nocedal & Wright, Numerical Optimization, algorithm 6.1. Not `torch.optim.LBFGS`: making a first optimiser
    loads torch's compiler, which alone takes longer than the search.
    """

    def valued(at: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = at.detach().requires_grad_()
            value = loss(at)
            return value.detach(), torch.autograd.grad(value, at)[0]

    at, identity = start.detach().clone(), torch.eye(len(start), dtype=start.dtype)
    (value, slope), inverse = valued(at), None
    for _ in range(STEPS):
        if slope.abs().max() < FLAT:
            break
        step = -(slope / slope.norm().clamp_min(1) if inverse is None else inverse @ slope)
        for _ in range(HALVINGS):
            new_value, new_slope = valued(at + step)
            if new_value <= value + SUFFICIENT * slope @ step:
                break
            step = step / 2
        else:
            break
        change, curvature = new_slope - slope, step @ (new_slope - slope)
        if curvature > 0:
            inverse = identity * curvature / (change @ change) if inverse is None else inverse
            turn = identity - torch.outer(step, change) / curvature
            inverse = turn @ inverse @ turn.T + torch.outer(step, step) / curvature
        fallen, at, value, slope = value - new_value, at + step, new_value, new_slope
        if fallen < SETTLED:
            break
    return at
