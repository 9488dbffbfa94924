"""The widget that records the noise model of a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QPushButton, QTableWidget, QVBoxLayout

from noisewise.calibration.calibrate import KINDS, calibrate_recording
from noisewise.errors import UserError
from noisewise.napari.choice import NOISE_MODELS, LayerChoice
from noisewise.napari.layers import pixels_of
from noisewise.napari.panel import Panel, chosen
from noisewise.napari.tables import filled


class CalibrateWidget(Panel):
    """The noise model p(x|s) of a camera, from frames of one scene that does not move."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__("Make the noise model", self.calibrate)
        self.found: Any = None  # the calibration
        self.frames = LayerChoice(napari_viewer, "Image")
        self.dark = LayerChoice(napari_viewer, "Image", optional=True)
        self.dark.setToolTip("frames with the same settings and a closed shutter: they give offset and read noise")
        self.kind = QComboBox()
        self.kind.addItems(KINDS)
        self.kind.setCurrentText("mixture")
        self.kind.setToolTip("form of the noise model; pixel_maps needs dark frames")
        self.save = QPushButton("Save the noise model")
        self.save.clicked.connect(self.save_model)
        self.save.setEnabled(False)
        self.table = QTableWidget()
        self.state.setText("Frames: about 100 images of one scene with dark and bright parts, which does not move.")
        form = QFormLayout()
        for label, widget in (("frames", self.frames), ("dark frames", self.dark), ("kind", self.kind)):
            form.addRow(label, widget)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for part in (self.start, self.state, self.table, self.save, self.notes):
            layout.addWidget(part)

    def calibrate(self) -> None:
        """Fit the noise model to the frames."""
        dark, kind = self.dark.layer, self.kind.currentText()
        try:
            frames = stack_of(chosen(self.frames, "no image; open a recording of one scene that does not move"))
            darkness = None if dark is None else stack_of(dark)
        except UserError as error:
            self.state.setText(str(error))
            return
        self.notes.clear()

        def record(_: Any) -> Any:
            return calibrate_recording(frames, dark=darkness, kind=kind, axes="TYX")

        self.run("measuring", record, self._done).start()

    def _done(self, found: Any) -> None:
        self.found = found
        filled(self.table, ("measured", "value"), list(found.facts().items()))
        for warning in found.warnings:
            self.notes.add(warning)
        self._end(f"a noise model of kind {self.kind.currentText()}; save it, and choose it in Denoise")
        self.save.setEnabled(True)

    def save_model(self) -> None:
        """Write the noise model into a file."""
        name, _ = QFileDialog.getSaveFileName(self, "Save the noise model", "camera.safetensors", NOISE_MODELS)
        if name and self.found is not None:
            self.found.noise.save(Path(name))
            self.state.setText(f"saved as {name}")


def stack_of(layer: Any) -> Any:
    """The frames of a layer: (frames, height, width). Errors: `UserError` for another number of axes."""
    pixels = pixels_of(layer)
    if pixels.ndim != 3:
        raise UserError(f"{layer.name}: has {pixels.ndim} axes; a recording has three: frame, Y, X")
    return pixels
