"""Small parts of the widgets: the choice of a layer and of a noise model, the letters of axes, and notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLineEdit, QPlainTextEdit, QPushButton, QWidget

from noisewise.io.files import user_path
from noisewise.napari.layers import axes_of
from noisewise.napari.preview import REGION, SHOWN

NOISE_MODELS = "noise models (*.safetensors)"


class LayerChoice(QComboBox):
    """The layers of a viewer of one kind, `Image` or `Labels`, kept up to date; the selected one at first.

    viewer: of napari. optional: whether none may be chosen.
    """

    def __init__(self, viewer: Any, kind: str, optional: bool = False) -> None:
        super().__init__()
        self.viewer, self.kind, self.optional = viewer, kind, optional
        for signal in (viewer.layers.events.inserted, viewer.layers.events.removed, viewer.layers.events.reordered):
            signal.connect(self.refresh)
        self.refresh()

    def refresh(self, event: Any = None) -> None:  # noqa: ARG002
        """List the layers, and keep what was chosen."""
        before = self.currentData()
        active = self.viewer.layers.selection.active
        found = [
            layer for layer in self.viewer.layers
            if type(layer).__name__ == self.kind and layer.name not in (REGION, SHOWN)
        ]  # fmt: skip
        self.blockSignals(True)
        self.clear()
        if self.optional:
            self.addItem("none", None)
        for layer in found:
            self.addItem(layer.name, layer)
        wanted = before if before in found else active if active in found else None
        if wanted is not None:
            self.setCurrentIndex(found.index(wanted) + self.optional)
        self.blockSignals(False)
        if self.currentData() is not before:
            self.currentIndexChanged.emit(self.currentIndex())

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.currentData()


def axes_line(choice: LayerChoice) -> QLineEdit:
    """The letters of the axes of the chosen layer, which the user may change."""
    line = QLineEdit()
    line.setToolTip("one letter for each axis: T time, Z depth, Y, X; C channel")

    def update() -> None:
        line.setText("" if choice.layer is None else axes_of(choice.layer))

    choice.currentIndexChanged.connect(update)
    update()
    return line


class NoiseModelChoice(QWidget):
    """The noise model of a run: measured in the image (an empty line), or a file."""

    def __init__(self) -> None:
        super().__init__()
        self.line, browse = QLineEdit(), QPushButton("Open")
        self.line.setPlaceholderText("measured in the image")
        self.line.setToolTip("a noise model of the camera, made by 'Noise model of a camera' or noisewise calibrate")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line)
        row.addWidget(browse)

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Noise model", "", NOISE_MODELS)
        if name:
            self.line.setText(name)

    @property
    def path(self) -> Path | None:
        """The file, or None where the noise is measured in the image."""
        text = self.line.text().strip()
        return user_path(text) if text else None


class Notes(QPlainTextEdit):
    """Notes of a run, one line each."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setMaximumHeight(110)
        self.seen: set[str] = set()

    def add(self, note: str) -> None:
        """Show a note, once."""
        if note not in self.seen:
            self.seen.add(note)
            self.appendPlainText(note)

    def clear(self) -> None:
        """Forget all notes."""
        self.seen.clear()
        super().clear()
