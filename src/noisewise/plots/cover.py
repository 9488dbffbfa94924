"""The cover of a package: half of it the noisy image, half the denoised one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisewise.axes import Array
from noisewise.plots.canvas import new_figure, save

SIDE = 5.0  # inches


def plot_cover(noisy: Array, denoised: Array, path: Path) -> None:
    """Plot a plane (Y, X) and its result, each below or above the diagonal. path: .png."""
    height, width = noisy.shape
    below = np.arange(height)[:, None] * width > np.arange(width) * height
    low, high = (float(np.percentile(denoised, percent)) for percent in (0.5, 99.8))
    figure = new_figure((SIDE * 2, SIDE))  # 2:1, as the zoo shows covers
    for number, image in enumerate((np.where(below, noisy, denoised), denoised)):
        panel = figure.add_axes((number / 2, 0, 0.5, 1))
        panel.set_axis_off()
        panel.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest", aspect="auto")
    save(figure, path)
