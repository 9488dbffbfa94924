"""The widget that measures regions with error bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

from noisewise.errors import UserError
from noisewise.napari.choice import LayerChoice, Notes, axes_line
from noisewise.napari.layers import pixels_of
from noisewise.napari.tables import filled
from noisewise.napari.work import Work
from noisewise.quantify.measurements import MEASUREMENTS
from noisewise.quantify.run import DEFAULT, Quantified, quantify, write_csv
from noisewise.quantities import SAMPLES

NEEDS_MORE = {"ratio", "colocalisation", "profile", "spots", "trace"}  # options or axes that the table does not ask for
TABLE = 220  # screen pixels, at least
TITLES = ("label", "measurement", "median", "90 % from", "to", "of the mean image", "channel", "frame")


class QuantifyWidget(QWidget):
    """Measurements of the regions of a labels layer, each with an interval that holds the true value."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.work: Work | None = None
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
        self.start, self.save = QPushButton("Measure"), QPushButton("Save the table")
        self.start.clicked.connect(self.measure)
        self.save.clicked.connect(self.save_table)
        self.save.setEnabled(False)
        self.bar, self.state, self.table, self.notes = QProgressBar(), QLabel(), QTableWidget(), Notes()
        self.bar.setRange(0, 1000)
        self.table.setMinimumHeight(TABLE)
        self.state.setWordWrap(True)
        form = QFormLayout()
        for label, widget in (("noisy image", self.image), ("labels", self.labels), ("axes", self.axes),
                              ("samples", self.samples), ("measure", self.measures)):  # fmt: skip
            form.addRow(label, widget)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for part in (self.start, self.bar, self.state, self.table, self.save, self.notes):
            layout.addWidget(part)
        self.destroyed.connect(self.stop_all)

    def measure(self) -> None:
        """Draw samples of the image, and measure each."""
        layer, labels, axes = self.image.layer, self.labels.layer, self.axes.text().strip().upper()
        entries = [self.measures.item(row) for row in range(self.measures.count())]
        names = [entry.text() for entry in entries if entry.checkState() == Qt.CheckState.Checked]
        try:
            if layer is None:
                raise UserError("no image; open one, or take the sample: File, Open Sample, noisewise")
            pixels, regions = pixels_of(layer), None if labels is None else labels.data
        except UserError as error:
            self.state.setText(str(error))
            return
        count = self.samples.value()
        self.notes.clear()
        self.work = work = Work(
            lambda report: quantify(pixels, regions, names, samples=count, axes=axes, report=report)
        )  # fmt: skip
        work.progressed.connect(self._progress)
        work.finished.connect(self._done)
        work.failed.connect(self._failed)
        self.start.setEnabled(False)
        self.state.setText("measuring")
        work.start()

    def _progress(self, fraction: float, text: str) -> None:
        self.bar.setValue(int(1000 * fraction))
        self.state.setText(text)

    def _failed(self, text: str) -> None:
        self._end(f"error: {text}")

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
        self.work = None
        self.bar.setValue(0)
        self.start.setEnabled(True)
        self.state.setText(text)

    def stop_all(self) -> None:
        """End the work and wait for it."""
        if self.work is not None:
            self.work.close()
