"""How far some work is, as whoever does it tells whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where training is; `validation_loss` is in normalised units (NaN before the first one)."""

    step: int
    steps: int
    validation_loss: float
    seconds_left: float


@dataclass
class Stage:
    """What is going on, for a progress display: `train` with numbers, `predict` or `evaluate` with a fraction.

    notes: what is to be known before it begins.
    """

    name: str
    fraction: float
    progress: Progress | None = None
    notes: Sequence[str] = ()


Report = Callable[[Stage], None]


def quiet(stage: Stage) -> None:
    """No progress display."""
