"""The posterior of an image whose results are in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from noisewise.axes import Array
from noisewise.io import open_source
from noisewise.posterior import MEAN_ALONE, Normal, Posterior


class FilePosterior(Posterior[Array]):
    """p(s|x) of an image whose mean and standard deviation are in files, read on first use; float32.

    std_path: None if no standard deviation was written. draw: (sample numbers, seed) -> samples, or None.
    """

    def __init__(
        self, path: Path, std_path: Path | None, draw: Callable[[Sequence[int], int], Array] | None = None
    ) -> None:
        self.path, self._std_path, self._draw = path, std_path, draw

    @cached_property
    def mean(self) -> Array:  # type: ignore[override]
        """E[s|x], in the axes and units of the input."""
        return read_float32(self.path)

    @cached_property
    def std(self) -> Array | None:  # type: ignore[override]
        """Standard deviation of p(s|x), or None if it was not written."""
        return None if self._std_path is None else read_float32(self._std_path)

    def sample(self, n: int, seed: int = 0) -> Array:
        if self._draw is None:
            raise ValueError(MEAN_ALONE.format("samples"))
        return self._draw(range(n), seed)

    def interval(self, coverage: float = 0.9) -> tuple[Array, Array]:
        if self.std is None:
            raise ValueError("no standard deviation was written; ask for std=True")
        return Normal(self.mean, self.std).interval(coverage)


def read_float32(path: Path) -> Array:
    """Read all pixels of a file as float32."""
    with open_source(path) as source:
        return source.read().astype(np.float32, copy=False)
