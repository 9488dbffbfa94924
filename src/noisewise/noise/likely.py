"""Maximum likelihood: the parameters under which counted pairs are most likely."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.pairs import Pairs

STEPS = 400


def maximise(
    make: Callable[[Tensor], Noise], start: Tensor, pairs: Pairs, penalty: Callable[[Tensor], Tensor]
) -> Tensor:
    """The parameters (flat, float64) that maximise the log-likelihood less a penalty; L-BFGS, deterministic.

    make: parameters -> law, differentiable. start: the first parameters.
    """
    noisy, signal, count = pairs.cells()
    parameters = start.double().clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [parameters], max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-6, tolerance_change=1e-6,
    )  # fmt: skip

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = (penalty(parameters) - (count * make(parameters).log_prob(noisy, signal)).sum()) / count.sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    return parameters.detach()
