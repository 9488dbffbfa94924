"""The widget that measures regions with error bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QVBoxLayout,
)

from noisewise.errors import UserError
from noisewise.napari.choice import LayerChoice, axes_line
from noisewise.napari.layers import pixels_of
from noisewise.napari.panel import Panel, chosen
from noisewise.napari.tables import filled
from noisewise.quantify.measurements import MEASUREMENTS
from noisewise.quantify.run import DEFAULT, Quantified, quantify, write_csv
from noisewise.quantities import SAMPLES

NEEDS_MORE = {"ratio", "colocalisation", "profile", "spots", "trace"}  # options or axes that the table does not ask for
TABLE = 220  # screen pixels, at least
TITLES = ("label", "measurement", "median", "90 % from", "to", "of the mean image", "channel", "frame")


class QuantifyWidget(Panel):
    """Measurements of the regions of a labels layer, each with an interval that holds the true value."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__("Measure", self.measure)
        self.found: Quantified | None = None
        self.image, self.labels = (
            LayerChoice(napari_viewer, "Image"),
            LayerChoice(napari_viewer, "Labels", optional=True),
        )
        self.axes, self.samples, self.measures = axes_line(self.image), QSpinBox(), QListWidget()
        self.samples.setRange(19, 999)
        self.samples.setValue(SAMPLES)
        for name in MEASUREMENTS:
            if name not in NEEDS_MORE:
                entry = QListWidgetItem(name, self.measures)
                entry.setCheckState(Qt.CheckState.Checked if name in DEFAULT else Qt.CheckState.Unchecked)
        self.measures.setMaximumHeight(120)
        self.save = QPushButton("Save the table")
        self.save.clicked.connect(self.save_table)
        self.save.setEnabled(False)
        self.bar, self.table = QProgressBar(), QTableWidget()
        self.bar.setRange(0, 1000)
        self.table.setMinimumHeight(TABLE)
        form = QFormLayout()
        for label, widget in (("noisy image", self.image), ("labels", self.labels), ("axes", self.axes),
                              ("samples", self.samples), ("measure", self.measures)):  # fmt: skip
            form.addRow(label, widget)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for part in (self.start, self.bar, self.state, self.table, self.save, self.notes):
            layout.addWidget(part)

    def measure(self) -> None:
        """Draw samples of the image, and measure each."""
        labels, axes = self.labels.layer, self.axes.text().strip().upper()
        entries = [self.measures.item(row) for row in range(self.measures.count())]
        names = [entry.text() for entry in entries if entry.checkState() == Qt.CheckState.Checked]
        try:
            pixels, regions = pixels_of(chosen(self.image)), None if labels is None else labels.data
        except UserError as error:
            self.state.setText(str(error))
            return
        count = self.samples.value()
        self.notes.clear()

        def draw(report: Any) -> Quantified:
            return quantify(pixels, regions, names, samples=count, axes=axes, report=report)

        work = self.run("measuring", draw, self._done)
        work.progressed.connect(self._progress)
        work.start()

    def _progress(self, fraction: float, text: str) -> None:
        self.bar.setValue(int(1000 * fraction))
        self.state.setText(text)

    def _done(self, found: Quantified) -> None:
        self.found = found
        rows = [
            (str(row["label"]), str(row["measurement"]),
             *(f"{row[key]:.5g}" for key in ("median", "low", "high", "of_mean")),
             str(row["channel"]), str(row["frame"]))
            for row in found.rows()
        ]  # fmt: skip
        filled(self.table, TITLES, rows)
        for note in found.notes:
            self.notes.add(note)
        self._end(f"{len(rows)} measurements, with {found.coverage:.0%} intervals")
        self.save.setEnabled(True)

    def save_table(self) -> None:
        """Write the table as CSV."""
        name, _ = QFileDialog.getSaveFileName(self, "Save the table", "quantified.csv", "CSV (*.csv)")
        if name and self.found is not None:
            write_csv(self.found, Path(name))

    def _end(self, text: str) -> None:
        self.bar.setValue(0)
        super()._end(text)
