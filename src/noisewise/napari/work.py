"""Work in a thread beside the viewer, with progress, previews, and a stop that keeps what was learned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Signal

from noisewise.errors import UserError
from noisewise.progress import STAGES, Stage, loss_and_time
from noisewise.workflow.training import Interrupted

REDRAWN = 0.1  # seconds between two signals of progress
WAIT = 10.0  # seconds that closing the viewer waits for the thread


class Work(QObject):
    """A function that runs in a thread, called with `report`.

    Signals: progressed (fraction, text), noted (text), previewed (what was asked for, its posterior), finished (what
    the function returned), failed (text), interrupted (the model so far, or None).
    """

    progressed = Signal(float, str)
    noted = Signal(str)
    previewed = Signal(object, object)
    finished = Signal(object)
    failed = Signal(str)
    interrupted = Signal(object)

    def __init__(self, function: Callable[[Callable[[Stage], None]], Any]) -> None:
        super().__init__()
        self.function = function
        self.stopping, self.wanted = threading.Event(), threading.Lock()
        self.request: Any = None
        self.drawn, self.begun, self.stage = 0.0, 0.0, ""
        self.runner = threading.Thread(target=self._run, name="noisewise", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.runner.start()

    def stop(self) -> None:
        """End after the current step or tile; `interrupted` follows."""
        self.stopping.set()

    def close(self) -> None:
        """End, and wait for it."""
        self.stop()
        self.blockSignals(True)
        if self.runner.is_alive():
            self.runner.join(WAIT)

    def preview(self, request: Any) -> None:
        """Ask for a preview, in place of an earlier request: an array, its axes, and what `previewed` gets."""
        with self.wanted:
            self.request = request

    def _run(self) -> None:
        try:
            self.finished.emit(self.function(self.report))
        except Interrupted as stopped:
            self.interrupted.emit(stopped.model)
        except KeyboardInterrupt:
            self.interrupted.emit(None)
        except UserError as error:
            self.failed.emit(str(error))
        except Exception as error:  # shown to the user in the widget
            self.failed.emit(f"{type(error).__name__}: {error}")

    def report(self, stage: Stage) -> None:
        """Progress from within the function."""
        if self.stopping.is_set():
            raise KeyboardInterrupt
        for note in stage.notes:
            self.noted.emit(str(note))
        if stage.preview is not None:
            self._show(stage.preview)
        now = time.monotonic()
        if stage.name != self.stage:
            self.stage, self.begun = stage.name, now
        elif now - self.drawn < REDRAWN:
            return
        if stage.name in STAGES:
            self.drawn = now
            loss, left = loss_and_time(stage, now - self.begun)
            self.progressed.emit(stage.fraction, ", ".join(part for part in (STAGES[stage.name], loss, left) if part))

    def _show(self, preview: Callable[..., Any]) -> None:
        with self.wanted:
            request, self.request = self.request, None
        if request is not None:
            pixels, axes, about = request
            self.previewed.emit(about, preview(pixels, axes))
