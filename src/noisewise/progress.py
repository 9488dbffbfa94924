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
    """A stage of the work: `train` with its progress, or `predict` or `evaluate` with the fraction done.

    notes: messages to show before it begins.
    """

    name: str
    fraction: float
    progress: Progress | None = None
    notes: Sequence[str] = ()


Report = Callable[[Stage], None]


def quiet(stage: Stage) -> None:
    """Show no progress."""
