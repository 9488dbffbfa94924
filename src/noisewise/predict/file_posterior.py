"""The posterior of an image whose results are in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from noisewise.axes import Array
from noisewise.io import open_source
from noisewise.posterior import MEAN_ALONE, Normal, Point, Posterior, Sampled


class FilePosterior(Posterior[Array]):
    """p(s|x) of an image whose mean and standard deviation are in files, read on first use; float32.

    std_path: None if no standard deviation was written. draw: (sample numbers, seed) -> samples, or None.
    series: number of the image in these files, where they contain several.
    """

    def __init__(
        self, path: Path, std_path: Path | None, draw: Callable[[Sequence[int], int], Array] | None = None,
        series: int | None = None,
    ) -> None:  # fmt: skip
        self.path, self.std_path, self.draw, self.series = path, std_path, draw, series

    @cached_property
    def mean(self) -> Array:  # type: ignore[override]
        """E[s|x], in the axes and units of the input."""
        return read_float32(self.path, self.series)

    @cached_property
    def std(self) -> Array | None:  # type: ignore[override]
        """Standard deviation of p(s|x), or None if it was not written."""
        return None if self.std_path is None else read_float32(self.std_path, self.series)

    def sample(self, n: int, seed: int = 0) -> Array:
        return self._pixels().sample(n, seed) if self.draw is None else self.draw(range(n), seed)

    def interval(self, coverage: float = 0.9) -> tuple[Array, Array]:
        return self._pixels().interval(coverage)

    def mode(self) -> Array:
        """See `Sampled.mode`. Errors: `ValueError` if the method gives no samples."""
        return self._sampled().mode()

    def diverse(self, n: int, of: int = 100, seed: int = 0) -> Array:
        """See `Sampled.diverse`. Errors: `ValueError` if the method gives no samples."""
        return self._sampled().diverse(n, of, seed)

    def each_sample(self, n: int, seed: int) -> Iterator[Array]:
        return self._sampled().each_sample(n, seed)

    def _pixels(self) -> Posterior[Array]:
        return Point(self.mean) if self.std is None else Normal(self.mean, self.std)

    def _sampled(self) -> Sampled[Array]:
        if self.draw is None:
            raise ValueError(MEAN_ALONE.format("samples"))
        return Sampled(self.mean, self.std, self.draw)  # type: ignore[arg-type]


def read_float32(path: Path, series: int | None = None) -> Array:
    """Read all pixels of an image in a file as float32."""
    with open_source(path, series=series) as source:
        return source.read().astype(np.float32, copy=False)
