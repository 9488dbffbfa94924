"""NumPy's `.npy`: memory-mapped when read and written; no pickles. It cannot store provenance."""

from __future__ import annotations

import warnings
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from noisewise.axes import Array, Region, guess_axes, guess_notes, parse_axes
from noisewise.errors import UserError, one_line
from noisewise.io.base import Source, check_pixels, naming
from noisewise.io.files import Draft, as_user_error
from noisewise.io.mapped import FileArray, MappedSink
from noisewise.io.memory import MemorySource

SUFFIXES = (".npy",)


class Reversed:
    """An array with the opposite order of axes, for files in Fortran's order."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getitem__(self, region: Region) -> Array:
        return np.asarray(self.array[region[::-1]]).transpose()


class NpySource(MemorySource):
    """A `.npy` file, read by region."""

    def close(self) -> None:
        """Nothing is read from here on."""
        self.array = None


def open_file(path: Path, axes: str | None = None) -> NpySource:
    """Open a `.npy` file.

    Errors: `UserError` for damaged files, pickled objects and arrays that are not images.
    """
    try:
        with path.open("rb") as stream:
            shape, dtype, offset, order = _header(stream)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    except Exception as error:
        reason = one_line(str(error))
        raise UserError(f"{path}: is not a NumPy file, or is damaged ({reason}); copy it again") from error
    check_pixels(str(path), shape, dtype)
    with naming(str(path)):
        letters = guess_axes(shape) if axes is None else parse_axes(axes, len(shape))
    if offset + dtype.itemsize * prod(shape) > path.stat().st_size:
        raise UserError(f"{path}: is truncated: {shape} pixels of {dtype} do not fit into it; copy it again")
    native, rows = dtype.newbyteorder("="), FileArray(path, dtype, offset, shape if order == "C" else shape[::-1])
    array = rows if order == "C" else Reversed(rows)
    notes = guess_notes(shape, letters, path.name) if axes is None else []
    return NpySource(path.name, letters, shape, native, path=path, notes=notes, array=array)


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], int, Any]:
    version = npy_format.read_magic(stream)
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape, fortran, dtype = read(stream)
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape, dtype, stream.tell(), "F" if fortran else "C"


def create(draft: Draft, like: Source, dtype: np.dtype[Any], provenance: object = None) -> MappedSink:  # noqa: ARG001
    """Create a `.npy` file of the shape of `like`."""
    with as_user_error(draft.path, "cannot be written"):
        array = npy_format.open_memmap(draft.temporary, mode="w+", dtype=dtype, shape=like.shape)
    draft.reserve()
    return MappedSink(draft, array)
