"""xarray: axes from the names of dimensions, pixel size from coordinates, and results with the labels of their image.

xarray is not imported here: a program that has such an array has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisewise.axes import Array, parse_axes
from noisewise.errors import UserError
from noisewise.io.units import micrometres, seconds

NAMES = {
    "T": ("t", "time", "frame"), "C": ("c", "channel", "band"), "Z": ("z", "depth", "plane"),
    "Y": ("y", "row"), "X": ("x", "col", "column"), "S": ("s", "sample"),
}  # fmt: skip
LETTERS = {name: letter for letter, names in NAMES.items() for name in names}
UNEVEN = 1e-3  # relative differences between steps of a coordinate, above which it gives no pixel size


def is_data_array(image: Any, kind: str = "DataArray") -> bool:
    """Whether an object is an xarray.DataArray, or another `kind` of xarray."""
    found = getattr(sys.modules.get("xarray"), kind, None)
    return found is not None and isinstance(image, found)


def axes_of_dims(dims: Sequence[Any], axes: str | None) -> str:
    """Axis letters of named dimensions, in any case: t, time; c, channel; z; y; x; s and others.

    axes: letters that the user gives; for dimensions without a known name they say what these are.

    Errors: `UserError` for unknown or repeated dimensions, no Y or X, and axes that contradict a name.
    """
    found = [LETTERS.get(str(dim).lower()) for dim in dims]
    if axes is not None:
        letters = parse_axes(axes, len(dims))
        for dim, own, given in zip(dims, found, letters, strict=True):
            if own not in (None, given):
                raise UserError(
                    f"axes '{axes}' say {given} of the dimension '{dim}', which is {own}; leave out axes or rename it: "
                    f"image.rename({{'{dim}': '{NAMES[given][0]}'}})"
                )
        return letters
    for dim, own in zip(dims, found, strict=True):
        if own is None:
            known = ", ".join(f"{names[0]} ({names[1]})" for names in NAMES.values())
            raise UserError(
                f"the dimension '{dim}' is not known; known are {known}; rename it, such as to separate images: "
                f"image.rename({{'{dim}': 's'}}), or give axes"
            )
        if found.count(own) > 1:
            twice = " and ".join(f"'{name}'" for name, letter in zip(dims, found, strict=True) if letter == own)
            raise UserError(f"the dimensions {twice} are both {own}; rename one: image.rename({{'{dim}': 's'}})")
    return parse_axes("".join(map(str, found)), len(dims))


def scale_of(image: Any, axes: str) -> dict[str, float]:
    """Pixel size from coordinates with equal steps and a unit (`attrs["units"]`): µm for Z, Y, X and seconds for T."""
    found: dict[str, float] = {}
    for dim, axis in zip(image.dims, axes, strict=True):
        unit = image.coords[dim].attrs.get("units") if axis in "TZYX" and dim in image.coords else None
        values = np.asarray(image.coords[dim].values) if isinstance(unit, str) else np.empty(0)
        if values.dtype.kind not in "iuf" or len(values) < 2:
            continue
        steps = np.abs(np.diff(values.astype(np.float64)))
        size = (seconds if axis == "T" else micrometres)(float(steps.mean()), str(unit))
        if size is not None and np.ptp(steps) <= UNEVEN * steps.mean():
            found[axis] = size
    return found


def channel_names_of(image: Any, axes: str) -> list[str]:
    """Names of the channels, if the coordinate of C consists of text."""
    dim = image.dims[axes.index("C")] if "C" in axes else None
    values = np.asarray(image.coords[dim].values) if dim in image.coords else np.empty(0)
    return [str(name) for name in values] if values.dtype.kind in "UO" else []


def relabelled(image: Any, pixels: Array, new: str = "sample") -> Any:
    """Pixels as an xarray.DataArray with the dimensions, coordinates, name and attributes of an image.

    pixels: in the image's shape, or with a further first axis, which gets the name `new` (`draw`, if that is taken).
    """
    if pixels.ndim > image.ndim:
        new = next(name for name in (new, "draw", "draws") if name not in image.dims)
        image = image.drop_vars(new, errors="ignore").expand_dims({new: len(pixels)})
    return image.copy(data=pixels)
