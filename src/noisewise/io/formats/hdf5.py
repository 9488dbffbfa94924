"""HDF5: each dataset with two dimensions or more is an image; `FILE.h5/NAME/OF/DATASET` names one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import guess_axes
from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.io.paths import HDF5_SUFFIXES, file_of
from noisewise.io.recording import Recorded, library, open_recording

SUFFIXES = HDF5_SUFFIXES
READ_ONLY = SUFFIXES
KIND = "HDF5"


def open_images(path: Path, axes: str | None = None, series: int | None = None) -> Sequence[Source]:
    """Open the datasets of a file, or the one that the path names. Errors: `UserError` for what cannot be read."""
    h5py, file = library(path, "h5py", KIND), file_of(path)
    name = path.relative_to(file).as_posix() if path != file else ""
    return open_recording(file, KIND, lambda: h5py.File(file, "r"), partial(datasets, path, name), axes, series)


def datasets(path: Path, name: str, file: Any) -> list[Recorded]:
    """The images of a file. Errors: `UserError` where the one that is named does not exist."""
    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if is_image(item) else None)  # follows no links
    named = [item for item in found if not name or item.name.strip("/") == name]
    if not named:
        there = ", ".join(item.name for item in found) or "none"
        wanted = f"no image '/{name}'" if name else "no image"
        raise UserError(f"{file.filename}: contains {wanted}; its images are: {there}")
    for item in named:
        if item.external or item.is_virtual:
            raise UserError(f"{path}: dataset {item.name} takes its pixels from other files; copy it into one file")
    return [recorded(item) for item in named]


def is_image(item: Any) -> bool:
    """Whether an item is a dataset of numbers with two dimensions or more."""
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    return kind in tuple("iuf") and len(item.shape or ()) >= 2 and min(item.shape[-2:]) > 1


def recorded(item: Any) -> Recorded:
    """A dataset as an image."""
    shape = tuple(map(int, item.shape))
    names = axes_of(item) or list(guess_axes(shape))
    steps = np.ravel(item.attrs.get("element_size_um", ()))  # along Z, Y, X
    spatial = [axis for axis in names if axis in "ZYX"]
    scale = dict(zip(spatial[::-1], map(float, steps[::-1]), strict=False))
    return Recorded(names, shape, item.dtype, item, scale, name=item.name)


def axes_of(item: Any) -> list[str]:
    """Names of the axes, as in ilastik's `axistags`, or in labels of dimensions; empty if there are none."""
    with suppress(ValueError, KeyError, TypeError):
        names = [axis["key"] for axis in json.loads(item.attrs["axistags"])["axes"]]
        return [name.upper() for name in names]
    names = [dimension.label for dimension in item.dims]
    return [name[:1].upper() for name in names] if all(names) else []
