"""Source and Sink: an image that is read lazily by region, and one that is written by region."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from noisewise.axes import Array, Region, whole


@dataclass
class Source(ABC):
    """An image that is read lazily by region.

    axes: letters from `STCZYX`, one a dimension. scale: pixel size by axis letter, µm for Z, Y, X and
    seconds for T; axes of unknown scale are absent. channel_names: one a channel, or empty.
    """

    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: Mapping[str, float] = field(default_factory=dict)
    channel_names: list[str] = field(default_factory=list)
    path: Path | None = None

    @abstractmethod
    def read(self, region: Region | None = None) -> Array:
        """The pixels of a region (default: all), in the source's axes and dtype."""

    def close(self) -> None:  # noqa: B027  (most sources hold nothing open)
        """Release files."""

    @property
    def everything(self) -> Region:
        """The region that covers the whole image."""
        return whole(self.shape)

    def size_of(self, axis: str) -> int:
        """Length along an axis; 1 for an axis the image does not have."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1


class Sink(ABC):
    """An image that is written by region, under a temporary name until it is complete.

    A context manager: leaving it normally renames the file into place; an exception removes what was written.
    """

    dtype: np.dtype[Any]

    @abstractmethod
    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels (any real dtype; rounded and clipped to the sink's dtype) into a region."""

    @abstractmethod
    def commit(self) -> None:
        """Finish, flush and rename into place."""

    @abstractmethod
    def discard(self) -> None:
        """Remove everything that was written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.commit()
        except BaseException:
            self.discard()
            raise


def to_dtype(pixels: Array, dtype: np.dtype[Any]) -> Array:
    """Cast; integers are rounded half to even and clipped to the dtype's range, never wrapped."""
    if np.issubdtype(dtype, np.integer) and not np.issubdtype(pixels.dtype, np.integer):
        info = np.iinfo(dtype)
        # float64, since float32 cannot hold the largest 32-bit integers.
        return np.clip(np.rint(pixels.astype(np.float64)), info.min, info.max).astype(dtype)
    return pixels.astype(dtype, copy=False)
