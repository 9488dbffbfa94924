"""Progress of training, prediction and evaluation, passed from the computation to its display.

A function that takes `report` calls it with a `Stage` after each step or tile. Without one, a line on stderr shows the
progress in a terminal and in a notebook, and nothing is shown elsewhere; `report=quiet` shows nothing anywhere. What
`report` raises stops the work: no output is left half written. `KeyboardInterrupt` stops it as Ctrl-C does.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

STAGES = {"measure": "measuring", "train": "training", "predict": "denoising", "evaluate": "comparing"}
BAR = 24  # characters
REDRAWN_S = 0.1  # seconds between two drawings of the line


@dataclass(frozen=True)
class Progress:
    """State of a training; `validation_loss` is in normalised units (NaN before the first evaluation).

    show: calls a function while the network is as it would be if the training ended now; only within `report`.
    """

    step: int
    steps: int
    validation_loss: float
    seconds_left: float
    show: Callable[[Callable[[], None]], None] | None = None


@dataclass
class Stage:
    """A stage of the work: `measure`, `predict` or `evaluate` with the fraction done, `train` also with its progress,
    or `notes`.

    name: of the stage. fraction: done, 0 to 1. progress: of the training, for `train`. notes: messages to show before
    the work begins, for `notes`. preview: for `train`, p(s|x) of an array (and its axes) by the network as it is now;
    only within `report`.
    """

    name: str
    fraction: float
    progress: Progress | None = None
    notes: Sequence[str] = ()
    preview: Callable[..., Any] | None = None


Report = Callable[[Stage], None]


def quiet(stage: Stage) -> None:
    """Show no progress."""


class Line:
    """Progress as one line on a terminal or in a notebook, which is drawn again and again."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.name, self.started, self.drawn, self.width = stream, "", 0.0, 0.0, 0

    def __call__(self, stage: Stage) -> None:
        if stage.name not in STAGES:
            return
        now = time.monotonic()
        if stage.name != self.name:
            self.close()
            self.name, self.started = stage.name, now
        elif now - self.drawn < REDRAWN_S and stage.fraction < 1:
            return
        self.drawn = now
        text = f"{described(stage, now - self.started)} {bar(stage.fraction)}"
        self._write(text[: max(10, shutil.get_terminal_size().columns - 1)])

    def _write(self, text: str) -> None:
        self.stream.write(f"\r{text:<{self.width}}")
        self.stream.flush()
        self.width = len(text)

    def clear(self) -> None:
        """Empty the line, for other text."""
        if self.width:
            self._write("")
            self.stream.write("\r")

    def close(self) -> None:
        """End the line, if there is one."""
        if self.name:
            self.stream.write("\n")
            self.stream.flush()
        self.name, self.width = "", 0


@contextmanager
def showing(report: Report | None) -> Iterator[Report]:
    """The report that was given; otherwise a line in a terminal or notebook, and nothing elsewhere."""
    stream: Any = sys.stderr
    in_notebook = type(stream).__module__.startswith("ipykernel")
    if report is not None or stream is None or not (in_notebook or stream.isatty()):
        yield report or quiet
        return
    line = Line(stream)
    try:
        yield line
    finally:
        line.close()


def bar(fraction: float) -> str:
    """A fraction as a bar of characters."""
    full = round(BAR * min(max(fraction, 0.0), 1.0))
    return "#" * full + "." * (BAR - full)


def described(stage: Stage, elapsed: float) -> str:
    """A stage as text: `training:  45 %, validation loss 0.1234, 1:05 left`. elapsed: seconds since it began."""
    parts = [f"{STAGES[stage.name]}: {100 * stage.fraction:3.0f} %", *loss_and_time(stage, elapsed)]
    return ", ".join(part for part in parts if part)


def loss_and_time(stage: Stage, elapsed: float) -> tuple[str, str]:
    """Validation loss and time left of a stage as text, empty where unknown."""
    if stage.progress is not None:
        loss = stage.progress.validation_loss
        return f"validation loss {loss:.4f}" if math.isfinite(loss) else "", time_left(stage.progress.seconds_left)
    return "", time_left(elapsed * (1 / stage.fraction - 1) if stage.fraction else math.nan)


def time_left(seconds: float) -> str:
    """`1:05 left`, or an empty text where it is unknown."""
    if not math.isfinite(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest:02d} left"
