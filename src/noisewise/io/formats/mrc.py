"""MRC: volumes, stacks and movies of electron microscopes; the header is read by `mrcfile`."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from noisewise.axes import guess_notes
from noisewise.errors import UserError
from noisewise.io.base import Source, check_pixels, given_axes
from noisewise.io.mapped import FileArray
from noisewise.io.memory import MemorySource
from noisewise.io.recording import library, reading

SUFFIXES = (".mrc", ".mrcs", ".rec", ".st", ".ali")
READ_ONLY = SUFFIXES
KIND = "MRC"
HEADER, ANGSTROM = 1024, 1e-4  # bytes; µm


def open_file(path: Path, axes: str | None = None) -> Source:
    """Open a file, uncompressed. Errors: `UserError` for damaged files, and for what is not an image."""
    mrcfile = library(path, "mrcfile", KIND)
    with reading(path, KIND), mrcfile.open(path, header_only=True, permissive=True) as file:
        header = file.header
        dtype = mrcfile.utils.data_dtype_from_header(header)
        stored = mrcfile.utils.data_shape_from_header(header)
        offset = HEADER + int(header.nsymbt)
        size = [float(header.cella[axis]) / max(int(header[f"m{axis}"]), 1) * ANGSTROM for axis in "xyz"]
        stack = int(header.ispg) == 0
    shape = tuple(map(int, stored)) if len(stored) < 3 or stored[0] > 1 else tuple(map(int, stored[1:]))
    native = dtype.newbyteorder("=")
    if min(stored) < 1:
        raise UserError(f"{path}: is damaged: it states {' x '.join(map(str, stored))} pixels; copy it again")
    check_pixels(str(path), shape, native)
    if offset + dtype.itemsize * prod(shape) > path.stat().st_size:
        raise UserError(f"{path}: is truncated: {shape} pixels of {dtype} do not fit into it; copy it again")
    stated = {2: "YX", 3: "SYX" if stack else "ZYX", 4: "SZYX"}[len(shape)]
    letters = stated if axes is None else given_axes(str(path), axes, len(shape))
    scale = {axis: step for axis, step in zip("XYZ", size, strict=True) if step > 0 and axis in letters}
    notes = guess_notes(shape, letters, path.name) if axes is None and stack and len(shape) == 3 else []
    array = FileArray(path, np.dtype(dtype), offset, shape)
    return MemorySource(path.name, letters, shape, native, scale, path=path, notes=notes, array=array)
