"""A sink whose file is a memory-mapped array."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisewise.axes import Array, Region
from noisewise.io.base import Sink, to_dtype
from noisewise.io.files import Draft, as_user_error


class MappedSink(Sink):
    """A sink whose file is a memory-mapped array."""

    def __init__(self, draft: Draft, array: np.memmap[Any, Any]) -> None:
        self.draft, self.dtype = draft, array.dtype
        self.array: np.memmap[Any, Any] | None = array

    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels into a region."""
        if self.array is None:
            raise RuntimeError("the sink is closed")
        self.array[region] = to_dtype(pixels, self.dtype)

    def commit(self) -> None:
        """Flush and rename into place."""
        if self.array is not None:
            with as_user_error(self.draft.path, "cannot be written"):
                self.array.flush()
            self.array = None
            self.draft.commit()

    def discard(self) -> None:
        """Remove the unfinished file."""
        self.array = None
        self.draft.discard()
