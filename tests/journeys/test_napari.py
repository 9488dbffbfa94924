"""The napari plugin in a real viewer, on a virtual screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import noisewise as nw

pytest.importorskip("napari", reason="the extra napari is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def screen() -> Iterator[None]:
    """A screen: that of the user, or a virtual one."""
    if os.environ.get("DISPLAY"):
        yield
        return
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.environ["DISPLAY"] = ":" + os.read(read, 16).decode().strip()
    yield
    server.terminate()
    os.environ.pop("DISPLAY")


@pytest.fixture
def viewer(screen: None) -> Iterator[Any]:
    import napari

    shown = napari.Viewer(show=True)
    shown.window._qt_window.resize(1400, 900)
    yield shown
    shown.close()


def until(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "took too long"
        QApplication.instance().processEvents()
        time.sleep(0.002)


def noisy(shape: tuple[int, ...]) -> np.ndarray:
    signal = 12 + 8 * np.sin(np.arange(shape[-1]) / 5) * np.cos(np.arange(shape[-2]) / 7)[:, None]
    return (2 * np.random.default_rng(0).poisson(np.broadcast_to(signal, shape)) + 100).astype(np.uint16)


def docked(viewer: Any, kind: Any, name: str) -> Any:
    widget = kind(viewer)
    viewer.window.add_dock_widget(widget, name=name)
    return widget


def denoise_widget(viewer: Any) -> Any:
    from noisewise.napari.denoise import DenoiseWidget

    return docked(viewer, DenoiseWidget, "Denoise")


def test_napari_finds_the_plugin(screen: None) -> None:
    from npe2 import PluginManager
    from npe2.manifest.utils import import_python_name

    manager = PluginManager()
    manager.discover()
    manifest = manager.get_manifest("noisewise")
    for command in manifest.contributions.commands:
        assert callable(import_python_name(command.python_name))
    assert {widget.display_name for widget in manifest.contributions.widgets} == {
        "Denoise", "Check the noise", "Noise model of a camera", "Measure with error bars"
    }  # fmt: skip


def test_results_look_as_their_image_with_samples_and_std(viewer: Any) -> None:
    look = {"scale": (0.2, 0.1), "translate": (3.0, 4.0), "units": ("micrometer",) * 2, "colormap": "green"}
    layer = viewer.add_image(noisy((128, 160)), name="cells", axis_labels=("y", "x"), **look)
    widget = denoise_widget(viewer)
    widget.budget.setCurrentText("20 s")
    widget.samples.setValue(3)
    widget.std.setChecked(True)
    widget.denoise()
    until(lambda: "noisewise preview" in viewer.layers)
    assert not widget.start.isEnabled() and widget.stop.isEnabled()
    until(lambda: widget.work is None)
    assert widget.state.text() == "done", widget.state.text()
    assert [one.name for one in viewer.layers] == ["cells", "cells denoised", "cells std", "cells samples"]
    for one in viewer.layers[1:]:
        assert one.scale[-2:].tolist() == [0.2, 0.1] and one.translate[-2:].tolist() == [3.0, 4.0]
        assert one.axis_labels[-2:] == ("y", "x") and [str(unit) for unit in one.units[-2:]] == ["micrometer"] * 2
    assert viewer.layers["cells denoised"].colormap.name == "green"
    assert viewer.layers["cells denoised"].contrast_limits == layer.contrast_limits
    assert viewer.layers["cells samples"].data.shape == (3, 128, 160)
    residual = layer.data - viewer.layers["cells denoised"].data
    assert 3 < residual.std() < 9  # the noise has 6.9 ADU at the mean signal


def test_moving_the_region_gives_a_preview_of_it_within_two_seconds(viewer: Any) -> None:
    viewer.add_image(noisy((512, 512)), name="cells")
    widget = denoise_widget(viewer)
    widget.budget.setCurrentText("60 s")
    widget.denoise()
    until(lambda: "noisewise preview" in viewer.layers)
    before = tuple(viewer.layers["noisewise preview"].translate)
    widget.region.frame.data = [widget.region.frame.data[0] + [-60, 80]]
    began = time.monotonic()
    until(lambda: tuple(viewer.layers["noisewise preview"].translate) != before, 20)
    assert time.monotonic() - began < 2
    assert viewer.layers["noisewise preview"].translate.tolist() == [before[0] - 60, before[1] + 80]
    widget._stop()
    until(lambda: widget.work is None)
    assert "cells denoised" in viewer.layers and "noisewise preview" not in viewer.layers
    assert "stopped after" in widget.notes.toPlainText()


def test_the_viewer_closes_cleanly_during_training(screen: None) -> None:
    import napari

    shown = napari.Viewer(show=True)
    shown.add_image(noisy((300, 300)), name="cells")
    widget = denoise_widget(shown)
    widget.denoise()
    until(lambda: widget.state.text().startswith("training"))
    thread = widget.work.runner
    shown.close()
    until(lambda: not thread.is_alive(), 20)


def test_a_movie_is_previewed_and_denoised_with_its_neighbours(viewer: Any) -> None:
    viewer.add_image(noisy((6, 96, 96)), name="movie", axis_labels=("t", "y", "x"))
    widget = denoise_widget(viewer)
    assert widget.axes.text() == "TYX"
    widget.budget.setCurrentText("8 s")
    widget.denoise()
    until(lambda: "noisewise preview" in viewer.layers or widget.work is None)
    until(lambda: widget.work is None)
    assert viewer.layers["movie denoised"].data.shape == (6, 96, 96), widget.state.text()


def test_a_method_has_a_form_of_its_settings(viewer: Any) -> None:
    viewer.add_image(noisy((96, 96)), name="cells")
    widget = denoise_widget(viewer)
    widget.method.setCurrentText("n2v")
    form = widget.form.widget()
    assert form.changed() == {} and "percent" in form.entries["mask_percent"].toolTip()
    form.entries["features"].setText("eight")
    widget.denoise()
    assert "is not a whole number" in widget.state.text() and widget.work is None
    form.entries["features"].setText("8")
    form.entries["masking"].setCurrentText("median")
    assert form.changed() == {"features": 8, "masking": "median"}
    widget.budget.setCurrentText("4 s")
    widget.denoise()
    until(lambda: widget.work is None)
    assert "cells denoised" in viewer.layers, widget.state.text()


def test_a_large_layer_is_denoised_into_a_file_and_read_from_there(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zarr

    from noisewise.napari import layers

    monkeypatch.setattr(layers, "LARGE", 1000)
    store = zarr.create_array(str(tmp_path / "a.zarr"), shape=(3, 128, 128), chunks=(1, 64, 64), dtype="uint16")
    store[:] = noisy((3, 128, 128))
    viewer.add_image(store, name="stack", scale=(2.0, 0.5, 0.5))
    widget = denoise_widget(viewer)
    widget.budget.setCurrentText("5 s")
    widget.denoise()
    until(lambda: widget.work is None)
    found = viewer.layers["stack denoised"]
    assert not isinstance(found.data, np.ndarray) and found.scale.tolist() == [2.0, 0.5, 0.5]
    assert "is read from there" in widget.notes.toPlainText()


def test_the_noise_is_checked(viewer: Any) -> None:
    from noisewise.napari.measure import NoiseWidget

    viewer.add_image(noisy((256, 256)), name="cells")
    widget = docked(viewer, NoiseWidget, "Noise")
    widget.check()
    until(lambda: widget.work is None)
    assert "independent" in widget.state.text() and widget.table.rowCount() > 3


def test_regions_are_measured_with_error_bars(viewer: Any) -> None:
    from noisewise.napari.quantify import QuantifyWidget

    labels = np.zeros((128, 128), np.uint8)
    labels[20:50, 20:50], labels[70:100, 60:90] = 1, 2
    viewer.add_image(noisy((128, 128)), name="cells")
    viewer.add_labels(labels, name="nuclei")
    widget = docked(viewer, QuantifyWidget, "Measure")
    widget.labels.setCurrentText("nuclei")
    widget.samples.setValue(19)
    widget.measure()
    until(lambda: widget.work is None, 300)
    assert widget.table.rowCount() == 4, widget.state.text()
    low, middle, high = (float(widget.table.item(0, column).text()) for column in (3, 2, 4))
    assert low < middle < high and 110 < middle < 140


def test_files_open_with_their_pixel_size(viewer: Any, tmp_path: Path) -> None:
    from noisewise.napari.read import reader_of

    image = noisy((4, 2, 40, 50))
    metadata = {"axes": "ZCYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.5,
                "Channel": {"Name": ["DAPI", "GFP"]}}  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata=metadata)
    reader = reader_of(str(tmp_path / "a.ome.tif"))
    assert reader is not None and reader_of(str(tmp_path / "none.tif")) is None
    for pixels, look, kind in reader(str(tmp_path / "a.ome.tif")):
        getattr(viewer, f"add_{kind}")(pixels, **look)
    assert len(viewer.layers) == 2 and "GFP" in viewer.layers[1].name
    assert viewer.layers[0].scale.tolist() == [0.5, 0.1, 0.1]
    assert np.array_equal(np.asarray(viewer.layers[1].data), image[:, 1])


def test_the_noise_model_of_a_camera_is_made_and_used(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QFileDialog

    from noisewise.napari.calibrate import CalibrateWidget

    light = np.tile(np.linspace(2, 200, 96), (96, 1))
    for name, scene in (("frames", light), ("dark", 0 * light)):
        viewer.add_image(nw.Camera(gain=2.2, read_noise=1.6, offset=100).expose(scene, frames=30, seed=1), name=name)
    widget = docked(viewer, CalibrateWidget, "Camera")
    widget.frames.setCurrentText("frames")
    widget.dark.setCurrentText("dark")
    widget.calibrate()
    until(lambda: widget.work is None)
    assert "save it" in widget.state.text(), widget.state.text()
    assert widget.table.item(1, 1).text().startswith("2.") and "ADU per electron" in widget.table.item(1, 1).text()
    file = tmp_path / "camera.safetensors"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(file), ""))
    widget.save_model()
    viewer.add_image(noisy((96, 96)), name="cells")
    denoise = denoise_widget(viewer)
    denoise.image.setCurrentText("cells")
    denoise.budget.setCurrentText("4 s")
    denoise.noise.line.setText(str(tmp_path / "none.safetensors"))
    denoise.denoise()
    until(lambda: denoise.work is None)
    assert denoise.state.text().startswith("error: ") and "no such noise model file" in denoise.state.text()
    denoise.noise.line.setText(str(file))
    denoise.denoise()
    until(lambda: denoise.work is None)
    assert "cells denoised" in viewer.layers, denoise.state.text()


def gaps(viewer: Any, condition: Callable[[], Any], seconds: float = 60.0) -> list[float]:
    """Seconds between two answers of the viewer to a clock of five milliseconds, until a condition holds."""
    from qtpy.QtCore import QTimer

    times: list[float] = []
    clock = QTimer()
    clock.setInterval(5)
    clock.timeout.connect(lambda: times.append(time.monotonic()))
    clock.start()
    until(condition, seconds)
    clock.stop()
    return list(np.diff(times))


def test_the_viewer_answers_while_a_network_learns(viewer: Any) -> None:
    """It never blocks 100 ms longer than when it is idle."""
    viewer.add_image(noisy((512, 512)), name="cells")
    widget = denoise_widget(viewer)
    widget.budget.setCurrentText("60 s")
    end = time.monotonic() + 5
    idle = gaps(viewer, lambda: time.monotonic() > end)
    widget.denoise()
    until(lambda: widget.state.text().startswith("training"))
    until(lambda: "noisewise preview" in viewer.layers)
    end = time.monotonic() + 20
    busy = gaps(viewer, lambda: time.monotonic() > end)
    print(f"idle: {max(idle):.3f} s, while training: {max(busy):.3f} s, 99.9 %: {np.quantile(busy, 0.999):.3f} s")
    assert max(busy) < max(idle) + 0.1
    widget.stop_all()
