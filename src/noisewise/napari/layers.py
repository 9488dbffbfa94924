"""From napari's layers to images with axes, and from results to layers that look like their input."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError

USUAL = {2: "YX", 3: "ZYX", 4: "TZYX"}  # where a layer does not name its axes
LETTERS = {"t": "T", "time": "T", "z": "Z", "y": "Y", "x": "X", "c": "C", "channel": "C", "s": "S", "sample": "S"}
LARGE = 1 << 30  # bytes of a layer that is denoised into a file
SHOWN = ("scale", "translate", "rotate", "shear", "units", "blending", "colormap", "gamma", "opacity")


def axes_of(layer: Any) -> str:
    """Letters of the axes of an image layer: those that it names, otherwise the usual ones."""
    named = "".join(LETTERS.get(str(label).lower(), "") for label in layer.axis_labels)
    if len(named) == layer.ndim and len(set(named)) == layer.ndim and {"Y", "X"} <= set(named):
        return named
    return USUAL.get(layer.ndim, "STCZYX"[-layer.ndim :])


def pixels_of(layer: Any) -> Any:
    """The image of a layer at full resolution: an array, dask or zarr. Errors: `UserError` for colour images."""
    if layer.rgb:
        raise UserError(f"{layer.name}: is a colour image; split it into channels (right click, Split RGB)")
    return layer.data[0] if layer.multiscale else layer.data


def is_large(layer: Any) -> bool:
    """Whether a layer is denoised into a file: one that is not in memory, or hardly fits into it."""
    pixels = pixels_of(layer)
    return not isinstance(pixels, np.ndarray) and prod(pixels.shape) * np.dtype(pixels.dtype).itemsize > LARGE


def like(layer: Any, name: str, **changes: Any) -> dict[str, Any]:
    """Properties of a new layer that is shown as an image layer is."""
    found = {key: getattr(layer, key) for key in SHOWN if hasattr(layer, key)}
    if hasattr(layer, "axis_labels"):
        found["axis_labels"] = layer.axis_labels
    found["contrast_limits"] = [float(value) for value in layer.contrast_limits]
    found["metadata"] = {"noisewise": {"of": layer.name}}
    return found | {"name": name} | changes


def spread_limits(std: Array) -> list[float]:
    """Contrast limits of a layer of standard deviations."""
    known = std[np.isfinite(std)] if isinstance(std, np.ndarray) else np.asarray(std)
    high = float(np.quantile(known, 0.998)) if known.size else 1.0
    return [0.0, max(high, 1e-12)]


def result_layers(
    layer: Any, mean: Array, std: Array | None = None, samples: Array | None = None
) -> list[tuple[Any, dict[str, Any], str]]:  # fmt: skip
    """Layers of a result: the denoised image, its standard deviation if it is given, and samples with a slider.

    samples: (number, *image).
    """
    found = [(mean, like(layer, f"{layer.name} denoised"), "image")]
    if std is not None:
        look = {"colormap": "magma", "contrast_limits": spread_limits(std), "visible": False}
        found.append((std, like(layer, f"{layer.name} std", **look), "image"))
    if samples is not None:
        found.append((samples, like(layer, f"{layer.name} samples", **with_leading(layer)), "image"))
    return found


def with_leading(layer: Any) -> dict[str, Any]:
    """Properties of a layer like another one that has one more axis in front: that of samples."""
    size = layer.ndim + 1
    affine = {"rotate": np.eye(size), "shear": np.zeros(size * (size - 1) // 2)}
    return {
        "scale": (1.0, *layer.scale), "translate": (0.0, *layer.translate),
        "axis_labels": ("sample", *layer.axis_labels), "units": ("pixel", *map(str, layer.units)),
    } | affine  # fmt: skip


def opened(path: Path, layer: Any, name: str, axes: str) -> tuple[Any, dict[str, Any], str]:
    """A result in an OME-Zarr as a layer that reads it lazily, with its smaller versions."""
    import zarr

    group: Any = zarr.open_group(path, mode="r")
    levels = [group[key] for key in sorted(group.array_keys(), key=int)]
    assert len(levels[0].shape) == len(axes), (levels[0].shape, axes)
    several = len(levels) > 1
    return (levels if several else levels[0], like(layer, name, multiscale=several), "image")


def planes_around(axes: str, at: Sequence[int], rows: slice, columns: slice, reach: int) -> tuple[tuple[Any, ...], str]:
    """Index of a region of the plane that is shown, with its neighbours along Z (or T), and the axes of what it gives.

    at: position along each axis. reach: planes on either side.
    """
    deep = next((axis for axis in "ZT" if axis in axes), "")
    index: list[Any] = []
    for axis, place in zip(axes, at, strict=True):
        if axis == "Y":
            index.append(rows)
        elif axis == "X":
            index.append(columns)
        elif axis == deep:
            index.append(slice(max(0, int(place) - reach), int(place) + reach + 1))
        else:
            index.append(int(place))
    return tuple(index), "".join(axis for axis in axes if axis in (deep, "Y", "X"))
