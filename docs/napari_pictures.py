"""Take the pictures of the napari plugin for its page.

xvfb-run -s "-screen 0 1600x1000x24" python docs/napari_pictures.py        (or on any screen)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtWidgets import QApplication
from scipy.ndimage import gaussian_filter, label

from noisewise.napari.denoise import DenoiseWidget
from noisewise.napari.preview import SHOWN
from noisewise.napari.quantify import QuantifyWidget
from noisewise.napari.read import sample

IMAGES = Path(__file__).parent / "images"
SIZE = 1400, 860


def until(condition: Callable[[], Any], seconds: float = 300.0) -> None:
    """Let the viewer work until a condition holds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QApplication.instance().processEvents()
        time.sleep(0.005)


def wait(seconds: float) -> None:
    """Let the viewer work for some seconds."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end)


def take(viewer: Any, name: str) -> None:
    """Write a picture of the whole window."""
    wait(1)
    viewer.screenshot(IMAGES / f"napari_{name}.png", canvas_only=False, flash=False)


def main() -> None:
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(*SIZE)
    for pixels, look, _ in sample():
        viewer.add_image(pixels, **look)
    denoise = DenoiseWidget(viewer)
    docked = viewer.window.add_dock_widget(denoise, name="Denoise (noisewise)")
    take(viewer, "rest")
    denoise.budget.setCurrentText("60 s")
    denoise.samples.setValue(4)
    denoise.std.setChecked(True)
    denoise.denoise()
    until(lambda: SHOWN in viewer.layers)
    wait(15)
    take(viewer, "preview")
    until(lambda: denoise.work is None)
    viewer.layers["noisy cells samples"].visible = False
    take(viewer, "done")
    viewer.layers["noisy cells samples"].visible = True
    viewer.dims.set_current_step(0, 2)
    take(viewer, "samples")
    viewer.layers["noisy cells samples"].visible = False
    place = {"scale": (0.1, 0.1), "units": ("micrometer",) * 2, "axis_labels": ("y", "x")}
    smooth = gaussian_filter(viewer.layers["noisy cells denoised"].data, 6)
    viewer.add_labels(label(smooth > np.quantile(smooth, 0.94))[0].astype(np.uint8), name="cells", **place)
    viewer.window.remove_dock_widget(docked)
    quantify = QuantifyWidget(viewer)
    viewer.window.add_dock_widget(quantify, name="Measure (noisewise)")
    quantify.image.setCurrentText("noisy cells")
    quantify.labels.setCurrentText("cells")
    quantify.samples.setValue(39)
    quantify.measure()
    until(lambda: quantify.work is None)
    take(viewer, "table")
    viewer.close()


if __name__ == "__main__":
    main()
