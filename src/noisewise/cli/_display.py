"""What the user sees while waiting: a bar on a terminal, a line now and then in a log; all on stderr."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from noisewise.progress import Stage

LOG_SECONDS = 10.0  # between two lines of progress where there is no terminal


class Display:
    """Shows stages: `with Display(quiet) as display: denoise(..., report=display)`.

    short: a stage that may well be over before a log needs a line of it.
    """

    def __init__(self, quiet: bool, short: str = "") -> None:
        self.quiet, self.shown, self.name = quiet, time.monotonic(), short
        self.said: set[str] = set()
        self.started: dict[str, float] = {}
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        if not quiet and sys.stderr.isatty():
            self.bar = make_bar()

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, stage: Stage) -> None:
        if self.quiet:
            return
        if stage.notes:
            self.say(stage.notes)
            return
        self.started.setdefault(stage.name, time.monotonic())
        if self.bar is not None:
            self._draw(stage)
        else:
            self._log(stage)

    def say(self, notes: Iterable[str]) -> None:
        """Notes that were not said before."""
        say_notes([note for note in notes if note not in self.said], self.quiet)
        self.said.update(notes)

    def _draw(self, stage: Stage) -> None:
        assert self.bar is not None
        if self.task is None or stage.name != self.name:
            self.name = stage.name
            self.task = self.bar.add_task(WORDS[stage.name], total=None, validation_loss="", left="")
        validation_loss, left = numbers(stage, self._elapsed(stage))
        known = stage.fraction > 0 or stage.name != "train"
        self.bar.update(
            self.task, completed=stage.fraction, total=1.0 if known else None,
            validation_loss=f"loss {validation_loss:.4f}" if math.isfinite(validation_loss) else "", left=clock(left),
        )  # fmt: skip

    def _log(self, stage: Stage) -> None:
        now = time.monotonic()
        if stage.name == self.name and now - self.shown < LOG_SECONDS:
            return
        self.name, self.shown = stage.name, now
        validation_loss, left = numbers(stage, self._elapsed(stage))
        parts = [f"{WORDS[stage.name]}: {100 * stage.fraction:3.0f} %"]
        parts += [f"loss {validation_loss:.4f}"] if math.isfinite(validation_loss) else []
        parts += [clock(left)] if math.isfinite(left) else []
        print(", ".join(parts), file=sys.stderr)

    def _elapsed(self, stage: Stage) -> float:
        return time.monotonic() - self.started[stage.name]


WORDS = {"train": "training", "predict": "denoising", "evaluate": "comparing"}


def numbers(stage: Stage, elapsed: float) -> tuple[float, float]:
    """Risk and seconds left of a stage, NaN where unknown."""
    if stage.progress is not None:
        return stage.progress.validation_loss, stage.progress.seconds_left
    return math.nan, elapsed * (1 / stage.fraction - 1) if stage.fraction else math.nan


def clock(seconds: float) -> str:
    """`1:05 left`, or nothing where it is not known."""
    if not math.isfinite(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest:02d} left"


def make_bar() -> Progress:
    """A progress bar on stderr with percentage, loss and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description:<9}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[loss]}"), TextColumn("{task.fields[left]}"),
    )  # fmt: skip
    return Progress(*columns, console=Console(stderr=True))


def say_notes(notes: Iterable[str], quiet: bool) -> None:
    """One `note: ...` line each, on stderr."""
    if not quiet:
        for note in dict.fromkeys(notes):
            print(f"note: {' '.join(note.split())}", file=sys.stderr)


def print_json(record: dict[str, Any]) -> None:
    """One JSON object on stdout; what is not a number becomes null, as JSON has no NaN."""
    print(json.dumps(finite(record), default=str))


def finite(value: Any) -> Any:
    """The same with NaN and infinite numbers as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
