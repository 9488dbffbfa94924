"""What all widgets have: a button that begins work in a thread, a line that says what is done, and notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from noisewise.errors import UserError
from noisewise.napari.choice import LayerChoice, Notes
from noisewise.napari.work import Work

NO_IMAGE = "no image; open one, or take the sample: File, Open Sample, noisewise"


class Panel(QWidget):
    """A widget that does one thing at a time, in a thread.

    begin: text of the button, and what it calls.
    """

    def __init__(self, text: str, begin: Callable[[], None]) -> None:
        super().__init__()
        self.work: Work | None = None
        self.start, self.state, self.notes = QPushButton(text), QLabel(), Notes()
        self.start.clicked.connect(begin)
        self.state.setWordWrap(True)
        self.destroyed.connect(self.stop_all)

    def run(self, text: str, function: Callable[[Any], Any], done: Callable[[Any], None]) -> Work:
        """Work that calls `done` with what the function returns; it is begun by `start()`. text: what is shown."""
        self.work = work = Work(function)
        work.finished.connect(done)
        work.failed.connect(self._failed)
        self._running(True)
        self.state.setText(text)
        return work

    def _running(self, running: bool) -> None:
        self.start.setEnabled(not running)

    def _failed(self, text: str) -> None:
        self._end(f"error: {text}")

    def _end(self, text: str) -> None:
        self.work = None
        self.state.setText(text)
        self._running(False)

    def stop_all(self) -> None:
        """End the work and wait for it."""
        if self.work is not None:
            self.work.close()


def chosen(choice: LayerChoice, none: str = NO_IMAGE) -> Any:
    """The layer that was chosen. Errors: `UserError`, with this text, where there is none."""
    if choice.layer is None:
        raise UserError(none)
    return choice.layer
