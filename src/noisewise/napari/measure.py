"""The widget that checks the noise of a layer."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QTableWidget, QVBoxLayout, QWidget

from noisewise.errors import UserError
from noisewise.estimate.measure import measure
from noisewise.napari.choice import LayerChoice, Notes, axes_line
from noisewise.napari.layers import pixels_of
from noisewise.napari.tables import filled
from noisewise.napari.work import Work


class NoiseWidget(QWidget):
    """The check-up: what kind of noise an image has, how much, and which method fits it."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.work: Work | None = None
        self.image = LayerChoice(napari_viewer, "Image")
        self.axes = axes_line(self.image)
        self.start, self.state, self.table, self.notes = QPushButton("Check"), QLabel(), QTableWidget(), Notes()
        self.start.clicked.connect(self.check)
        self.state.setWordWrap(True)
        form = QFormLayout()
        form.addRow("image", self.image)
        form.addRow("axes", self.axes)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for widget in (self.start, self.state, self.table, self.notes):
            layout.addWidget(widget)
        self.destroyed.connect(self.stop_all)

    def check(self) -> None:
        """Measure the noise."""
        layer, axes = self.image.layer, self.axes.text().strip().upper()
        try:
            if layer is None:
                raise UserError("no image; open one, or take the sample: File, Open Sample, noisewise")
            pixels = pixels_of(layer)
        except UserError as error:
            self.state.setText(str(error))
            return
        self.notes.clear()
        self.work = work = Work(lambda _: measure(pixels, axes=axes))
        work.finished.connect(self._done)
        work.failed.connect(self._failed)
        self.start.setEnabled(False)
        self.state.setText("measuring")
        work.start()

    def _failed(self, text: str) -> None:
        self._end(f"error: {text}")

    def _done(self, report: Any) -> None:
        self._end(report.verdict)
        for warning in report.warnings:
            self.notes.add(warning)
        rows = [
            (key.replace("_", " "), f"{value:.5g}" if isinstance(value, float) else str(value))
            for key, value in report.record().items() if isinstance(value, (int, float, str)) and value != ""
        ]  # fmt: skip
        filled(self.table, ("measured", "value"), rows)

    def _end(self, text: str) -> None:
        self.work = None
        self.start.setEnabled(True)
        self.state.setText(text)

    def stop_all(self) -> None:
        """End the work and wait for it."""
        if self.work is not None:
            self.work.close()
