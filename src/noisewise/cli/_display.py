"""Progress and notes on stderr: a bar on a terminal, a line every ten seconds in a log; and JSON on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from noisewise.cli._print import say
from noisewise.io.text import finite
from noisewise.progress import Line, described

if TYPE_CHECKING:
    from noisewise.progress import Stage

LOG_SECONDS = 10.0  # between two lines of progress where there is no terminal


class Display:
    """Progress display: `with Display(quiet) as display: denoise(..., report=display)`.

    short: name of a stage that is often shorter than the time between two lines of a log.
    """

    def __init__(self, quiet: bool, short: str = "") -> None:
        self.quiet, self.logged, self.name = quiet, time.monotonic(), short
        self.noted: set[str] = set()
        self.started: dict[str, float] = {}
        self.line = Line(sys.stderr) if not quiet and sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.line is not None:
            self.line.close()

    def __call__(self, stage: Stage) -> None:
        if self.quiet:
            return
        if stage.notes:
            self.say(stage.notes)
            return
        self.started.setdefault(stage.name, time.monotonic())
        if self.line is not None:
            self.line(stage)
        else:
            self._log(stage)

    def say(self, notes: Iterable[str]) -> None:
        """Print the notes that were not printed before."""
        if self.line is not None:
            self.line.clear()
        say_notes([note for note in notes if note not in self.noted], self.quiet)
        self.noted.update(notes)

    def _log(self, stage: Stage) -> None:
        now = time.monotonic()
        if stage.name == self.name and now - self.logged < LOG_SECONDS:
            return
        self.name, self.logged = stage.name, now
        say(described(stage, self._elapsed(stage)), error=True)

    def _elapsed(self, stage: Stage) -> float:
        return time.monotonic() - self.started[stage.name]


def say_notes(notes: Iterable[str], quiet: bool) -> None:
    """Print each note once, as a line on stderr."""
    if not quiet:
        for note in dict.fromkeys(notes):
            say(f"note: {' '.join(note.split())}", error=True)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object on stdout; NaN and infinity, which JSON lacks, become null."""
    say(json.dumps(finite(record), default=str))
