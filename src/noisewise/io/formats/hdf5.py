"""HDF5: each dataset with two dimensions or more is an image; `FILE.h5/NAME/OF/DATASET` names one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import guess_axes, guess_notes
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
    found = open_recording(file, KIND, lambda: h5py.File(file, "r"), partial(datasets, path, name), axes, series)
    for source in found if name else []:
        source.name = f"{file.name}/{name}"
    return found


def datasets(path: Path, name: str, file: Any) -> list[Recorded]:
    """The images of a file. Errors: `UserError` where the one that is named does not exist."""
    found: list[Recorded] = []
    elsewhere: list[str] = []

    def visit(_: str, item: Any) -> None:
        if (one := recorded(item)) is not None:
            found.append(one)
            if item.external or item.is_virtual:
                elsewhere.append(item.name)

    file.visititems(visit)  # follows no links
    named = [one for one in found if not name or one.name.strip("/") == name]
    if not named:
        there = ", ".join(one.name for one in found) or "none"
        wanted = f"no image '/{name}'" if name else "no image"
        raise UserError(f"{path}: contains {wanted}; its images are: {there}")
    for one in named:
        if one.name in elsewhere:
            raise UserError(f"{path}: dataset {one.name} takes its pixels from other files; copy it into one file")
    return named


def recorded(item: Any) -> Recorded | None:
    """A dataset as an image; None for what is no image: groups, tables, text."""
    shape = tuple(map(int, getattr(item, "shape", None) or ()))
    if len(shape) < 2 or item.dtype.kind not in "iuf":
        return None
    names, notes = axes_of(item), list[str]()
    if not names:
        try:
            guessed = guess_axes(shape)
        except UserError:  # more dimensions than images have
            return None
        # `S` would be samples of a pixel here; images without a name of their axis are separate ones.
        names, notes = list(guessed.replace("S", "Q")), guess_notes(shape, guessed, Path(item.file.filename).name)
    sizes = dict(zip(names, shape, strict=True))
    if min(sizes.get("Y", 2), sizes.get("X", 2)) < 2:
        return None
    steps = np.ravel(item.attrs.get("element_size_um", ()))  # along Z, Y, X
    spatial = [axis for axis in names if axis in "ZYX"]
    scale = dict(zip(spatial[::-1], map(float, steps[::-1]), strict=False))
    return Recorded(names, shape, item.dtype, item, scale, name=item.name, notes=notes)


def axes_of(item: Any) -> list[str]:
    """Names of the axes, as in ilastik's `axistags`, or in labels of dimensions; empty if there are none for all."""
    names: list[str] = []
    with suppress(ValueError, KeyError, TypeError):
        names = [axis["key"].upper() for axis in json.loads(item.attrs["axistags"])["axes"]]
    names = names or [dimension.label[:1].upper() for dimension in item.dims]
    return names if len(names) == len(item.shape) and all(names) and len(set(names)) == len(names) else []
