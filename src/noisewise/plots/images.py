"""Images side by side, with an enlarged part and a scale bar."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.plots.canvas import new_figure, save

PANEL, TITLE = 4.3, 0.5  # inches
GAP = 0.02  # of a panel's width
ENLARGED = 0.21  # of the shorter side of the image
INSET = 0.42  # of the panel's width
BAR = 0.2  # of the image's width, at most
ROUND = (5.0, 2.0, 1.0)
SPREAD = "standard deviation"  # an image of this name has a range of its own
RANGE = 0.5, 99.8  # percentiles, from black to white


def plot_images(
    images: Mapping[str, Array], path: Path, *, pixel_um: float | None = None, captions: Mapping[str, str] | None = None
) -> None:  # fmt: skip
    """Plot images of one shape (Y, X) side by side, with one range of brightness: that of the last signal.

    A part with much contrast is enlarged. pixel_um: pixel size, µm, for a scale bar. captions: text at the right of a
    title. An image named `standard deviation` has its own range. path: .png, .pdf or .svg.

    Errors: `UserError` if the file cannot be written.
    """
    like = [image for name, image in images.items() if name != SPREAD]
    height, width = like[0].shape
    aspect = height / width
    figure = new_figure((PANEL * len(images) * (1 + GAP), PANEL * aspect + TITLE), facecolor="black")
    common = limits(like[-1])
    zoom = busiest(like[-1])
    for i, (name, image) in enumerate(images.items()):
        across = (1 - GAP * (len(images) + 1) / len(images)) / len(images)
        left = GAP / len(images) + i * (across + GAP / len(images))
        panel = figure.add_axes((left, 0.01, across, 0.98 * PANEL * aspect / (PANEL * aspect + TITLE)))
        panel.set_axis_off()
        low, high = limits(image) if name == SPREAD else common
        panel.imshow(image, cmap="magma", vmin=low, vmax=high, interpolation="nearest")
        caption = (captions or {}).get(name, f"{low:.3g} to {high:.3g}" if name == SPREAD else "")
        panel.text(0, 1.02, name, color="white", size=15, weight="bold", va="bottom", transform=panel.transAxes)
        panel.text(1, 1.02, caption, color="0.8", size=12, va="bottom", ha="right", transform=panel.transAxes)
        add_inset(panel, image, zoom, low, high)
        if i == 0 and pixel_um:
            add_scale_bar(panel, width * pixel_um)
    save(figure, path)


def limits(image: Array) -> tuple[float, float]:
    """Values that are shown black and white."""
    low, high = (float(value) for value in np.nanpercentile(image, RANGE))
    return low, high if high > low else low + 1.0


def busiest(image: Array) -> tuple[slice, slice]:
    """The part of an image with the most contrast, not in the corner of the inset."""
    side = max(1, round(ENLARGED * min(image.shape)))
    best, where = -1.0, (0, 0)
    first_row, first_column = image.shape[0] - INSET * image.shape[1], (1 - INSET) * image.shape[1]
    for top in range(0, max(1, image.shape[0] - side), max(1, side // 2)):
        for left in range(0, max(1, image.shape[1] - side), max(1, side // 2)):
            hidden = top + side > first_row and left + side > first_column
            contrast = float(np.nanstd(image[top : top + side, left : left + side]))
            if not hidden and contrast > best:
                best, where = contrast, (top, left)
    top, left = where
    return slice(top, top + side), slice(left, left + side)


def add_inset(panel: Any, image: Array, zoom: tuple[slice, slice], low: float, high: float) -> None:
    """Enlarge a part of the image in a corner of the panel, and mark its position with a frame."""
    rows, columns = zoom
    size = columns.stop - columns.start
    frame = {"color": "white", "linewidth": 0.8}
    panel.plot(
        [columns.start, columns.stop, columns.stop, columns.start, columns.start],
        [rows.start, rows.start, rows.stop, rows.stop, rows.start], **frame,
    )  # fmt: skip
    height, width = image.shape
    inset: Any = panel.inset_axes((1 - INSET, 0, INSET, INSET * width / height))
    inset.imshow(image[zoom], cmap="magma", vmin=low, vmax=high, interpolation="nearest", extent=(0, size, size, 0))
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(**frame)


def add_scale_bar(panel: Any, width_um: float) -> None:
    """Draw a bar of a round length at the lower left. width_um: of the image."""
    length = round_length(BAR * width_um)
    text = f"{length:g} µm" if length >= 1 else f"{1000 * length:g} nm"
    left, right = 0.05, 0.05 + length / width_um
    panel.plot(
        [left, right], [0.05, 0.05], color="white", linewidth=3, solid_capstyle="butt", transform=panel.transAxes
    )
    panel.text(
        (left + right) / 2, 0.065, text, color="white", size=11, ha="center", va="bottom", transform=panel.transAxes
    )


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, ... times a power of ten that is not above a length."""
    power = 10.0 ** math.floor(math.log10(most))
    return next((part * power for part in ROUND if part * power <= most), power)
