"""Arrays in files: read by region, and written as a memory map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array, Region
from noisewise.errors import UserError
from noisewise.io.base import Sink, to_dtype
from noisewise.io.files import Draft, as_user_error
from noisewise.io.pyramid import shrink


class FileArray:
    """A contiguous array in a file, which `[region]` reads.

    Not a memory map: where the file is truncated while it is read, a map ends the process with a bus error.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.offset, self.shape = path, dtype, offset, shape

    def __getitem__(self, region: Region) -> Array:
        """Read a region. Errors: `UserError` if the file is too short."""
        parts = [range(*part.indices(size)) for part, size in zip(region, self.shape, strict=True)]
        whole = len(parts)  # axes from here on are read completely
        while whole and len(parts[whole - 1]) == self.shape[whole - 1]:
            whole -= 1
        # Of the last axis that is not, all positions in the range are contiguous.
        outer, inner = parts[: max(whole - 1, 0)], self.shape[whole:]
        along = parts[whole - 1] if whole else range(1)
        strides = [prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))]
        count = len(along) * prod(inner)
        rows = np.empty((prod(map(len, outer)), count), self.dtype)
        with self.path.open("rb") as file:
            for row, position in zip(rows, product(*outer), strict=True):
                start = sum(at * stride for at, stride in zip(position, strides, strict=False))
                start += along.start * (strides[whole - 1] if whole else 0)
                file.seek(self.offset + start * self.dtype.itemsize)
                if file.readinto(row.view(np.uint8)) != row.nbytes:
                    raise UserError(f"{self.path}: has become shorter while it was read; copy it again")
        return rows.reshape([len(part) for part in parts])


class MappedSink(Sink):
    """A sink whose file is a memory-mapped array, and further ones for the coarser levels of a pyramid."""

    def __init__(self, draft: Draft, array: np.memmap[Any, Any], levels: Sequence[np.memmap[Any, Any]] = ()) -> None:
        self.draft, self.dtype = draft, array.dtype
        self.arrays = [array, *levels]

    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels into a region."""
        if not self.arrays:
            raise RuntimeError("the sink is closed")
        self.arrays[0][region] = to_dtype(pixels, self.dtype)

    def commit(self) -> None:
        """Compute the pyramid, flush and rename into place."""
        if self.arrays:
            with as_user_error(self.draft.path, "cannot be written"):
                for fine, coarse in pairwise(self.arrays):
                    shrink(fine, coarse)
                for array in self.arrays:
                    array.flush()
            self.arrays = []
            self.draft.commit()

    def discard(self) -> None:
        """Remove the unfinished file."""
        self.arrays = []
        self.draft.discard()
