"""Progress of training, prediction and evaluation, passed from the computation to its display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """State of a training; `validation_loss` is in normalised units (NaN before the first evaluation)."""

    step: int
    steps: int
    validation_loss: float
    seconds_left: float


@dataclass
class Stage:
    """A stage of the work: `train` with its progress, `predict` or `evaluate` with the fraction done, or `notes`.

    name: of the stage. fraction: done, 0 to 1. progress: of the training, for `train`. notes: messages to show before
    the work begins, for `notes`.
    """

    name: str
    fraction: float
    progress: Progress | None = None
    notes: Sequence[str] = ()


Report = Callable[[Stage], None]


def quiet(stage: Stage) -> None:
    """Show no progress."""
