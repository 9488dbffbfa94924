"""The preview: a region of the image, denoised by the network as it is now, with what was removed."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from noisewise.axes import Array
from noisewise.napari.layers import axes_of, like, pixels_of, planes_around
from noisewise.nets.planes import REACH

SIDE = 192  # pixels of the region, along each side
SETTLED = 150  # milliseconds without a movement, after which a preview is asked for
LAGS = 7  # of the autocorrelation, along each axis
SPAN = 3.0  # standard deviations of what was removed, from black to white
PICTURE = 168  # screen pixels
REGION, SHOWN = "noisewise region", "noisewise preview"


class Region(QObject):
    """A frame in the viewer that the user moves, over an image layer; signal moved: it has come to rest.

    viewer: of napari. layer: the image.
    """

    moved = Signal()

    def __init__(self, viewer: Any, layer: Any) -> None:
        super().__init__()
        self.viewer, self.layer = viewer, layer
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.setInterval(SETTLED)
        self.timer.timeout.connect(self.moved)
        height, width = pixels_of(layer).shape[-2:]
        side = min(SIDE, height, width)
        top, left = (height - side) // 2, (width - side) // 2
        low, high = np.array([top, left]) - 0.5, np.array([top, left]) + side - 0.5
        corners = np.array([low, (low[0], high[1]), high, (high[0], low[1])])
        look = {"scale": layer.scale[-2:], "translate": layer.translate[-2:], "name": REGION, "units": layer.units[-2:]}
        self.frame = viewer.add_shapes(
            [corners], shape_type="rectangle", edge_color="yellow", face_color="transparent", edge_width=1.5, **look
        )
        self.frame.mode = "select"
        self.frame.selected_data = {0}
        self.frame.events.data.connect(self._changed)
        viewer.dims.events.current_step.connect(self._changed)

    def _changed(self, event: Any = None) -> None:  # noqa: ARG002
        self.timer.start()

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the region, inside the image."""
        corners = np.asarray(self.frame.data[0])[:, -2:] + 0.5
        found = []
        for low, high, size in zip(corners.min(0), corners.max(0), pixels_of(self.layer).shape[-2:], strict=True):
            first = int(np.clip(round(low), 0, max(0, size - 16)))
            found.append(slice(first, int(np.clip(round(high), first + 16, min(size, first + 4 * SIDE)))))
        return found[0], found[1]

    def read(self) -> tuple[Array, str, Any]:
        """The pixels of the region, with the planes around the one that is shown; their axes; and where they lie."""
        axes, pixels = axes_of(self.layer), pixels_of(self.layer)
        at = self.layer.world_to_data(self.viewer.dims.point)[-len(axes) :]
        at = [int(np.clip(round(float(place)), 0, size - 1)) for place, size in zip(at, pixels.shape, strict=True)]
        rows, columns = self.place
        index, names = planes_around(axes, at, rows, columns, REACH)
        part = np.asarray(pixels[index])
        deep = next((axis for axis in "ZT" if axis in names), "")
        middle = min(REACH, at[axes.index(deep)]) if deep else 0
        return part, names, (rows, columns, middle if deep else None)

    def show(self, about: Any, posterior: Any, noisy: Array) -> Array:
        """Put the denoised region into the viewer. Returns what was removed."""
        rows, columns, middle = about
        plane = posterior.mean if middle is None else posterior.mean[middle]
        seen = noisy if middle is None else noisy[middle]
        place = self.layer.translate[-2:] + self.layer.scale[-2:] * (rows.start, columns.start)
        if SHOWN in self.viewer.layers:
            shown = self.viewer.layers[SHOWN]
            shown.data, shown.translate = plane, place
        else:
            look = like(self.layer, SHOWN)
            two = {key: look[key] for key in ("colormap", "contrast_limits", "gamma")}
            units = self.layer.units[-2:]
            self.viewer.add_image(plane, name=SHOWN, scale=self.layer.scale[-2:], translate=place, units=units, **two)
            self.viewer.layers.move(self.viewer.layers.index(self.frame), len(self.viewer.layers))
            self.viewer.layers.selection.active = self.frame
        removed: Array = seen - plane
        return removed

    def close(self) -> None:
        """Remove what the preview put into the viewer."""
        self.timer.stop()
        self.viewer.dims.events.current_step.disconnect(self._changed)
        for name in (SHOWN, self.frame.name):
            if name in self.viewer.layers:
                self.viewer.layers.remove(name)


class Removed(QWidget):
    """What was removed from the region, and its autocorrelation: noise has no structure."""

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        self.pictures = QLabel(), QLabel()
        for column, (title, picture) in enumerate(zip(("removed", "its autocorrelation"), self.pictures, strict=True)):
            picture.setFixedSize(PICTURE, PICTURE)
            picture.setToolTip(
                "Noise alone has no structure here: no outlines of cells." if column == 0 else
                "Correlation of what was removed with itself. Independent noise: one bright pixel in the middle."
            )  # fmt: skip
            grid.addWidget(QLabel(title), 0, column)
            grid.addWidget(picture, 1, column)

    def show_removed(self, removed: Array) -> None:
        """Draw them."""
        std = max(float(np.nanstd(removed)), 1e-12)
        images = removed / (2 * SPAN * std) + 0.5, autocorrelation(removed)
        for label, image in zip(self.pictures, images, strict=True):
            label.setPixmap(picture(image))


def autocorrelation(image: Array) -> Array:
    """Correlation of an image with itself at lags up to `LAGS`: (2 LAGS + 1, 2 LAGS + 1), 1 in the middle."""
    centred = np.nan_to_num(image - np.nanmean(image))
    power = np.abs(np.fft.rfft2(centred)) ** 2
    found = np.fft.fftshift(np.fft.irfft2(power, centred.shape))
    y, x = (size // 2 for size in centred.shape)
    return np.asarray(found[y - LAGS : y + LAGS + 1, x - LAGS : x + LAGS + 1] / max(found[y, x], 1e-30))


def picture(image: Array) -> QPixmap:
    """An image, 0 black and 1 white, enlarged without smoothing."""
    grey = np.ascontiguousarray((np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8))
    made = QImage(grey.data, grey.shape[1], grey.shape[0], grey.shape[1], QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(made.copy()).scaled(PICTURE, PICTURE, Qt.AspectRatioMode.KeepAspectRatio)
