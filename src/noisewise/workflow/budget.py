"""Time budgets: the seconds left for training, from the time the user is willing to wait."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from math import prod

from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.predict.run import Predictor
from noisewise.workflow.training import Training

DEFAULT_BUDGET = 60.0  # seconds, if neither a budget nor a number of steps is given
UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def parse_budget(budget: str | float | None) -> float | None:
    """Seconds from a number, `60s`, `10 min` or `2h`; None stays None. Errors: `UserError` for anything else."""
    if budget is None:
        return None
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", str(budget).lower())
    if match is None or match[2] not in UNITS or float(match[1]) <= 0:
        raise UserError(f"budget '{budget}' is not a time; write 60s, 10min or 2h")
    return float(match[1]) * UNITS[match[2]]


def training_seconds(
    training: Training, sources: Sequence[Source], budget: str | float | None, steps: int | None,
    average: bool, started: float,
) -> float | None:  # fmt: skip
    """Seconds of the budget for training: without those since `started` and those that prediction will take.

    The duration of prediction is measured on training patches. average: whether test-time augmentation is used. None if
    a number of steps is given.
    """
    if steps is not None:
        return None
    seconds = parse_budget(budget) or DEFAULT_BUDGET
    pixels = sum(prod(source.shape) for source in sources)
    predicting = pixels * (8 if average else 1) / forward_speed(training)
    left = seconds - (time.perf_counter() - started) - 1.1 * predicting
    return max(left, 0.0 if training.ready else 0.25 * seconds)


def forward_speed(training: Training) -> float:
    """Pixels a second of a forward pass over training patches, measured."""
    model = training.model
    predictor = Predictor(model.method, model.net)
    noisy = training.patches.held_out.noisy
    predictor.mean(noisy[:1])
    start = time.perf_counter()
    predictor.mean(noisy)
    return float(noisy.numel() / (time.perf_counter() - start))
