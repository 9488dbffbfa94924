"""The widget that checks the noise of a layer."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QFormLayout, QTableWidget, QVBoxLayout

from noisewise.errors import UserError
from noisewise.estimate.measure import measure
from noisewise.napari.choice import LayerChoice, axes_line
from noisewise.napari.layers import pixels_of
from noisewise.napari.panel import Panel, chosen
from noisewise.napari.tables import filled


class NoiseWidget(Panel):
    """The check-up: what kind of noise an image has, how much, and which method fits it."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__("Check", self.check)
        self.image = LayerChoice(napari_viewer, "Image")
        self.axes = axes_line(self.image)
        self.table = QTableWidget()
        form = QFormLayout()
        form.addRow("image", self.image)
        form.addRow("axes", self.axes)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for widget in (self.start, self.state, self.table, self.notes):
            layout.addWidget(widget)

    def check(self) -> None:
        """Measure the noise."""
        axes = self.axes.text().strip().upper()
        try:
            pixels = pixels_of(chosen(self.image))
        except UserError as error:
            self.state.setText(str(error))
            return
        self.notes.clear()
        self.run("measuring", lambda _: measure(pixels, axes=axes), self._done).start()

    def _done(self, report: Any) -> None:
        self._end(report.verdict)
        for warning in report.warnings:
            self.notes.add(warning)
        rows = [
            (key.replace("_", " "), f"{value:.5g}" if isinstance(value, float) else str(value))
            for key, value in report.record().items() if isinstance(value, (int, float, str)) and value != ""
        ]  # fmt: skip
        filled(self.table, ("measured", "value"), rows)
