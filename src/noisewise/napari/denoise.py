"""The widget that denoises a layer."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
)

from noisewise import methods
from noisewise.errors import UserError
from noisewise.napari.choice import LayerChoice, NoiseModelChoice, axes_line
from noisewise.napari.form import SettingsForm
from noisewise.napari.layers import is_large, opened, pixels_of, result_layers
from noisewise.napari.panel import Panel, chosen
from noisewise.napari.preview import Region, Removed
from noisewise.report.collect import collect
from noisewise.report.page import render, write_page
from noisewise.workflow.denoise import denoise

TIMES = ("10 s", "1 min", "5 min", "15 min")
AUTO = "auto"
RESULTS = "the result is in {path}, and is read from there"


class DenoiseWidget(Panel):
    """Denoise an image layer: with a preview while the network learns, and results as new layers."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__("Denoise", self.denoise)
        self.viewer = napari_viewer
        self.region: Region | None = None
        self.latest: tuple[Any, str, Any] | None = None  # layer, axes and result of the last run
        self.asked: tuple[Any, str, dict[str, Any]] = (None, "", {})
        self._build()
        napari_viewer.layers.events.removed.connect(self._layer_removed)

    # -- what is seen ---------------------------------------------------------------------------------

    def _options(self) -> QFormLayout:
        self.image = LayerChoice(self.viewer, "Image")
        self.axes = axes_line(self.image)
        self.method, self.budget, self.samples = QComboBox(), QComboBox(), QSpinBox()
        self.noise = NoiseModelChoice()
        self.method.addItems([AUTO, *methods.having(lambda t: t.needs == "noisy" and not t.changes_nothing)])
        self.method.setToolTip("auto: chosen by the noise that is measured in the image")
        self.method.currentTextChanged.connect(self._method_changed)
        self.budget.addItems(TIMES)
        self.budget.setEditable(True)
        self.budget.setCurrentText(TIMES[1])
        self.budget.setToolTip("how long training and prediction may take together")
        self.samples.setToolTip("images drawn from what the image may be, given its noise; a slider shows them")
        self.std, self.previewed = QCheckBox("standard deviation"), QCheckBox("preview while the network learns")
        self.previewed.setChecked(True)
        form = QFormLayout()
        for label, widget in (
            ("image", self.image), ("axes", self.axes), ("method", self.method), ("time", self.budget),
            ("samples", self.samples), ("noise model", self.noise),
        ):  # fmt: skip
            form.addRow(label, widget)
        return form

    def _buttons(self) -> QHBoxLayout:
        self.stop, self.report = QPushButton("Stop"), QPushButton("Report")
        self.stop.clicked.connect(self._stop)
        self.stop.setToolTip("ends the training, and denoises with what was learned")
        self.report.clicked.connect(self.open_report)
        self.report.setToolTip("checks the result, and opens the report in the browser")
        buttons = QHBoxLayout()
        for button in (self.start, self.stop, self.report):
            buttons.addWidget(button)
        return buttons

    def _build(self) -> None:
        options, buttons = self._options(), self._buttons()
        self.bar, self.removed = QProgressBar(), Removed()
        self.bar.setRange(0, 1000)
        self.removed.hide()
        self.form = QScrollArea()
        self.form.setWidgetResizable(True)
        self.form.hide()
        layout = QVBoxLayout(self)
        layout.addLayout(options)
        for widget in (self.std, self.previewed, self.form):
            layout.addWidget(widget)
        layout.addLayout(buttons)
        for widget in (self.bar, self.state, self.removed, self.notes):
            layout.addWidget(widget)
        layout.addStretch()
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._running(False)

    def _method_changed(self, name: str) -> None:
        self.form.setVisible(name != AUTO)
        if name != AUTO:
            self.form.setWidget(SettingsForm(name))

    def _running(self, running: bool) -> None:
        super()._running(running)
        self.stop.setEnabled(running)
        self.report.setEnabled(not running and self.latest is not None)

    # -- a run ----------------------------------------------------------------------------------------

    def denoise(self) -> None:
        """Begin with the chosen layer and options."""
        try:
            layer, axes, options = self._asked()
            pixels = pixels_of(layer)
        except UserError as error:
            self.state.setText(str(error))
            return
        self.asked = layer, axes, options
        self.notes.clear()
        count = self.samples.value()

        def run(report: Any) -> Any:
            result = denoise(pixels, axes=axes, report=report, **options)
            return result, result.posterior.sample(count) if count else None

        if self.previewed.isChecked() and not is_large(layer):
            self._open_region(layer)
        self._begin(run)

    def _asked(self) -> tuple[Any, str, dict[str, Any]]:
        layer = chosen(self.image)
        method, settings = self.method.currentText(), {}
        widget = self.form.widget()
        if method != AUTO and isinstance(widget, SettingsForm):
            settings = widget.changed()
        options = {
            "method": method, "noise": self.noise.path,
            "budget": self.budget.currentText(), "std": self.std.isChecked(),
        } | settings  # fmt: skip
        if is_large(layer):
            options |= {"output": self._path_for(layer), "overwrite": True}
        return layer, self.axes.text().strip().upper(), options

    def _path_for(self, layer: Any) -> Path:
        """Where the result of a large layer goes: beside its file, or into a temporary folder."""
        source = layer.source.path
        folder = Path(source).parent if source else Path(tempfile.mkdtemp(prefix="noisewise-"))
        return folder / f"{Path(source).stem if source else layer.name}_denoised.ome.zarr"

    def _begin(self, function: Any) -> None:
        work = self.run("measuring", function, self._finished)
        work.progressed.connect(self._progress)
        work.noted.connect(self.notes.add)
        work.previewed.connect(self._preview)
        work.interrupted.connect(self._interrupted)
        self.bar.setValue(0)
        self._ask()
        work.start()

    def _progress(self, fraction: float, text: str) -> None:
        self.bar.setValue(int(1000 * fraction))
        self.state.setText(text)

    def _stop(self) -> None:
        if self.work is not None:
            self.state.setText("stopping after this step")
            self.work.stop()

    def _interrupted(self, model: Any) -> None:
        """Denoise with what was learned, if anything was; a second stop ends that, too."""
        layer, axes, _ = self.asked
        if model is None or (not model.train_state.step and not model.train_state.untrained):
            self._end("stopped; nothing was changed")
            return
        self.notes.add(f"stopped after {model.train_state.step} steps; denoised with what was learned")
        pixels, count = pixels_of(layer), self.samples.value()

        def run(report: Any) -> Any:
            from noisewise.workflow.denoise import Result

            posterior = model.predict(pixels, axes=axes, report=report, average=False)
            return Result(posterior, model), posterior.sample(count) if count else None

        self._begin(run)

    def _finished(self, found: Any) -> None:
        result, samples = found
        layer, axes, options = self.asked
        for note in result.notes:
            self.notes.add(str(note))
        if "output" in options:
            made = [opened(options["output"], layer, f"{layer.name} denoised", axes)]
            self.notes.add(RESULTS.format(path=options["output"]))
        else:
            made = result_layers(layer, result.mean, result.std if self.std.isChecked() else None, samples)
        self.latest = layer, axes, result
        self._end("done")
        for pixels, look, _ in made:
            self.viewer.add_image(pixels, **look)

    def _end(self, text: str) -> None:
        if self.region is not None:
            self.region.close()
            self.region = None
        self.bar.setValue(0)
        super()._end(text)

    # -- preview --------------------------------------------------------------------------------------

    def _open_region(self, layer: Any) -> None:
        if self.region is None:
            self.region = Region(self.viewer, layer)
            self.region.moved.connect(self._ask)
        self.removed.show()

    def _ask(self) -> None:
        if self.region is not None and self.work is not None:
            pixels, axes, about = self.region.read()
            self.work.preview((pixels, axes, (about, pixels)))

    def _preview(self, asked: Any, posterior: Any) -> None:
        if self.region is not None:
            about, pixels = asked
            self.removed.show_removed(self.region.show(about, posterior, pixels.astype(np.float32)))
            if self.work is not None and self.work.request is None:  # again, as the network learns
                self._ask()

    # -- report and end -------------------------------------------------------------------------------

    def open_report(self) -> None:
        """Check the last result, and open its report in the browser."""
        assert self.latest is not None
        layer, axes, result = self.latest
        pixels, folder = pixels_of(layer), Path(tempfile.mkdtemp(prefix="noisewise-"))

        def run(report: Any) -> Any:  # noqa: ARG001
            from noisewise.io import open_source

            before, after = open_source(pixels, axes, layer.name), open_source(result.mean, axes, "denoised")
            std = None if result.std is None else open_source(result.std, axes, "std")
            found = collect(before, after, std, result.model.provenance, result.model)
            page = folder / "report.html"
            write_page(render(found, "denoised in napari"), page, overwrite=True)
            return page, found.verdict.text

        self.run("checking the result", run, self._report_done).start()

    def _report_done(self, found: Any) -> None:
        page, verdict = found
        self._end(verdict)
        webbrowser.open(page.as_uri())

    def _layer_removed(self, event: Any) -> None:
        if event.value is self.asked[0] and self.work is not None:
            self.stop_all()
            self._end("stopped, since its layer was removed")
        elif self.region is not None and event.value is self.region.frame:
            self.region.close()
            self.region = None

    def closeEvent(self, event: Any) -> None:
        """The widget or the viewer is closed."""
        self.stop_all()
        super().closeEvent(event)
