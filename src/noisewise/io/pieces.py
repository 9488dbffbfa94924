"""Arrays that are decoded piece by piece: the frames of a recording, or the tiles of a mosaic."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count, product
from typing import Any, Self

import numpy as np

from noisewise.axes import Array, Region

KEPT_BYTES = 128 * 2**20  # of decoded pieces, in all
_kept: OrderedDict[tuple[int, int], Array] = OrderedDict()  # by array and piece; the last used one at the end
_lock = threading.RLock()
_numbers = count()


class Pieces:
    """An array that lies in a file in pieces, which are decoded when a region of them is read. Gaps are zero.

    starts, sizes: of the pieces (N, axes), pixels. decode: number of a piece -> its pixels, in any shape with as many
    of them. The pieces that were used last are kept, `KEPT_BYTES` of all arrays together. lock: held while a piece is
    decoded; arrays of one open file share it.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], starts: Array, sizes: Array, decode: Callable[[int], Array]
    ) -> None:
        self.shape, self.dtype, self.decode = shape, dtype, decode
        self.starts, self.sizes = np.asarray(starts), np.broadcast_to(sizes, np.shape(starts))
        self.lock, self.number = threading.Lock(), next(_numbers)
        weakref.finalize(self, forget, self.number)

    @classmethod
    def frames(
        cls, axes: Sequence[str], shape: tuple[int, ...], frame: Sequence[str], dtype: np.dtype[Any],
        decode: Callable[[tuple[int, ...]], Array],
    ) -> Self:  # fmt: skip
        """Pieces that hold the axes `frame` as a whole. decode: indices along the other axes -> a frame."""
        counts = [1 if axis in frame else size for axis, size in zip(axes, shape, strict=True)]
        places = list(product(*map(range, counts)))
        others = [i for i, axis in enumerate(axes) if axis not in frame]
        starts = np.array(places).reshape(len(places), len(axes))
        sizes = np.array([size if axis in frame else 1 for axis, size in zip(axes, shape, strict=True)])
        return cls(shape, dtype, starts, sizes, lambda n: decode(tuple(places[n][i] for i in others)))

    def __getitem__(self, region: Region) -> Array:
        """A region, as a new array. Errors: those of decoding."""
        bounds = [part.indices(size)[:2] for part, size in zip(region, self.shape, strict=True)]
        low, high = np.array(bounds).T
        found = np.zeros(high - low, self.dtype)
        for number in ((self.starts < high) & (self.starts + self.sizes > low)).all(1).nonzero()[0]:
            start, size = self.starts[number], self.sizes[number]
            first, last = np.maximum(start, low), np.minimum(start + size, high)
            into, of = (tuple(map(slice, first - zero, last - zero)) for zero in (low, start))
            found[into] = self._piece(int(number)).reshape(size)[of]
        return found

    def _piece(self, number: int) -> Array:
        with self.lock:
            with _lock:
                if (piece := _kept.get((self.number, number))) is not None:
                    _kept.move_to_end((self.number, number))
                    return piece
            piece = self.decode(number)
            with _lock:
                _kept[self.number, number] = piece
                while len(_kept) > 1 and sum(one.nbytes for one in _kept.values()) > KEPT_BYTES:
                    _kept.popitem(last=False)
            return piece

    def release(self) -> None:
        """Release the decoded pieces."""
        forget(self.number)


def forget(array: int) -> None:
    """Release the decoded pieces of an array."""
    with _lock:
        for key in [key for key in _kept if key[0] == array]:
            del _kept[key]
