"""Noisy, denoised and true image side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.plots.canvas import new_figure, save

ZOOM = (slice(172, 282), slice(236, 346))  # (Y, X) of the inset
INSET = 0.42  # of the panel's width


def plot_before_after(
    images: Mapping[str, Array], scores: Mapping[str, tuple[float, float]], path: Path, pixel_um: float
) -> None:
    """Plot the images `noisy`, `denoised` and `truth` (Y, X) with insets, a scale bar and scores (PSNR in dB, SSIM).

    path: .png, .pdf or .svg. pixel_um: pixel size, µm. Errors: `UserError` if the file cannot be written.
    """
    figure = new_figure((13.2, 4.85), facecolor="black")
    low, high = (float(np.percentile(images["truth"], percent)) for percent in (0.5, 99.8))
    for i, (name, image) in enumerate(images.items()):
        panel = figure.add_axes((0.006 + i * 0.332, 0.012, 0.324, 0.88))
        panel.set_axis_off()
        panel.imshow(image, cmap="magma", vmin=low, vmax=high, interpolation="nearest")
        score = "PSNR {:.1f} dB   SSIM {:.3f}".format(*scores[name]) if name in scores else "the simulated scene"
        panel.text(0, -16, name, color="white", size=15, weight="bold", va="bottom")
        panel.text(image.shape[1], -16, score, color="0.8", size=12, va="bottom", ha="right")
        add_inset(panel, image, low, high)
        if i == 0:
            add_scale_bar(panel, image.shape[0], pixel_um)
    save(figure, path)


def add_inset(panel: Any, image: Array, low: float, high: float) -> None:
    """Enlarge a part of the image in a corner of the panel, and mark its position with a frame."""
    rows, columns = ZOOM
    size = columns.stop - columns.start
    frame = {"color": "white", "linewidth": 0.8}
    panel.plot(
        [columns.start, columns.stop, columns.stop, columns.start, columns.start],
        [rows.start, rows.start, rows.stop, rows.stop, rows.start], **frame,
    )  # fmt: skip
    inset: Any = panel.inset_axes((1 - INSET, 0, INSET, INSET))
    inset.imshow(image[ZOOM], cmap="magma", vmin=low, vmax=high, interpolation="nearest", extent=(0, size, size, 0))
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(**frame)


def add_scale_bar(panel: Any, height: int, pixel_um: float) -> None:
    """Draw a bar of ten micrometres at the lower left."""
    length = 10 / pixel_um
    panel.plot([24, 24 + length], [height - 26] * 2, color="white", linewidth=3, solid_capstyle="butt")
    panel.text(24 + length / 2, height - 34, "10 µm", color="white", size=11, ha="center", va="bottom")
