"""Images that are decoded as a whole, because that is faster or their format requires it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from noisewise.axes import Array, Region
from noisewise.errors import UserError

KEPT_BYTES = 128 * 2**20  # of decoded images, in all
_lock = threading.Lock()
_recent: list[weakref.ref[Decoded]] = []  # those that are kept, the last used one at the end


class Decoded:
    """Pixels of a file, decoded when they are read.

    The images that were read last are kept, `KEPT_BYTES` of all together; others are decoded again when they are
    needed. So the memory does not depend on the number of files.
    """

    def __init__(self, path: Path, decode: Callable[[], Array], pixels: Array | None = None) -> None:
        self.path, self.decode = path, decode
        self.pixels: Array | None = None
        self.shape: tuple[int, ...] | None = None
        if pixels is not None:
            with _lock:
                self._keep(pixels)

    def __getitem__(self, region: Region) -> Array:
        """A region. Errors: `UserError` if the file has changed; those of decoding."""
        with _lock:
            return self._keep(self.decode() if self.pixels is None else self.pixels)[region]

    def _keep(self, pixels: Array) -> Array:
        """Keep these pixels, and release those that were not used for longest."""
        if self.shape not in (None, pixels.shape):
            raise UserError(f"{self.path}: changed while it was read; run again when it is complete")
        self.pixels, self.shape = pixels, pixels.shape
        others = [one for ref in _recent if (one := ref()) not in (None, self)]
        total = pixels.nbytes
        kept = [self]
        for one in reversed(others):
            size = 0 if one is None or one.pixels is None else one.pixels.nbytes
            total += size
            if one is not None and total > KEPT_BYTES:
                one.pixels = None
            elif one is not None and size:
                kept.insert(0, one)
        _recent[:] = [weakref.ref(one) for one in kept]
        return pixels

    def release(self) -> None:
        """Release the pixels; the next read decodes them again."""
        with _lock:
            self.pixels = None
