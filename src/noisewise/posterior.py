"""Posterior: the result of every method, with as much of p(s|x) as the method provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.quantities import SAMPLES, Quantities, quantify

BLOCKS_PER_SIDE = 32  # resolution at which samples are compared
CHUNK_VALUES = 1 << 24  # pixels of samples that are drawn together
MEAN_ALONE = "this method gives the mean alone; choose a method with {} (noisewise methods lists them)"
MODE = -1  # number of the sample without random numbers: every latent variable has its most probable value
T = TypeVar("T", Array, Tensor)


class Posterior(ABC, Generic[T]):
    """p(s|x) of an image: arrays or tensors in the image's shape and units (ADU)."""

    mean: T
    """E[s|x], the estimate with the smallest mean squared error."""
    std: T | None
    """Standard deviation of p(s|x), or None if the method gives only the mean."""

    @abstractmethod
    def sample(self, n: int, seed: int = 0) -> T:
        """Draw n samples of s: (n, *image), image units.

        n: number of samples. seed: of the random numbers.

        Errors: `ValueError` if the method gives only the mean.
        """

    @abstractmethod
    def interval(self, coverage: float = 0.9) -> tuple[T, T]:
        """Lower and upper bound of each pixel, image units, of a normal distribution with this mean and std.

        coverage: probability that s lies between them, above 0 and below 1.

        Errors: `ValueError` without a standard deviation, or for a coverage out of range.
        """

    def quantify(self, measure: Callable[[Array], Any], n: int = SAMPLES, seed: int = 0) -> Quantities:
        """Any measurement with its distribution under p(s|x): the measurement on each of n samples.

        measure: image (an array in the shape of the mean) -> a number, several, or numbers by name. n: number of
        samples; of 39, `interval(0.9)` are the second from below and from above. seed: of the random numbers.

        Errors: `ValueError` if the method gives no samples: standard deviations of pixels do not tell the error of a
        region. `UserError` for measurements that are not finite numbers.
        """
        return quantify(measure, np.asarray(torch.as_tensor(self.mean).cpu()), self.each_sample(n, seed))

    def each_sample(self, n: int, seed: int) -> Iterator[Array]:  # noqa: ARG002
        """Samples one after the other, few of them in memory."""
        raise ValueError(MEAN_ALONE.format("samples"))


@dataclass(frozen=True)
class Point(Posterior[T]):
    """A point estimate: the mean alone."""

    mean: T
    std: None = None

    def sample(self, n: int, seed: int = 0) -> T:  # noqa: ARG002
        raise ValueError(MEAN_ALONE.format("samples"))

    def interval(self, coverage: float = 0.9) -> tuple[T, T]:  # noqa: ARG002
        raise ValueError(MEAN_ALONE.format("a standard deviation"))


@dataclass(frozen=True)
class Normal(Posterior[T]):
    """Mean and standard deviation of each pixel; samples and intervals of independent normal distributions.

    Correlations between pixels are not known: a sample has the right variance in each pixel, but looks noisy.
    """

    mean: T
    std: T

    def sample(self, n: int, seed: int = 0) -> T:
        if isinstance(self.mean, Tensor):
            generator = torch.Generator(self.mean.device).manual_seed(seed)
            normal = torch.randn((n, *self.mean.shape), generator=generator, device=self.mean.device)
        else:
            normal = np.random.default_rng(seed).standard_normal((n, *self.mean.shape), np.float32)
        samples: T = self.mean + self.std * normal
        return samples

    def interval(self, coverage: float = 0.9) -> tuple[T, T]:
        if not 0 < coverage < 1:
            raise ValueError(f"coverage {coverage} is not between 0 and 1; give a fraction, such as 0.9")
        quantile = NormalDist().inv_cdf(0.5 + coverage / 2)
        return self.mean - quantile * self.std, self.mean + quantile * self.std


@dataclass(frozen=True)
class Sampled(Normal[T]):
    """Mean and standard deviation of each pixel, and samples of whole images with correlated pixels.

    draw: numbers of samples, and a seed -> (len(numbers), *image). A sample is a function of its number and the seed.
    """

    draw: Callable[[Sequence[int], int], T]

    def sample(self, n: int, seed: int = 0) -> T:
        return self.draw(range(n), seed)

    def each_sample(self, n: int, seed: int) -> Iterator[Array]:
        return in_chunks(n, lambda numbers: self.draw(numbers, seed))

    def mode(self) -> T:
        """Approximate mode of p(s|x), with latent variables at their most probable values: as sharp as a sample.

        An array in the shape and units of the image; it does not depend on a seed.
        """
        image: T = self.draw([MODE], 0)[0]
        return image

    def diverse(self, n: int, of: int = 100, seed: int = 0) -> T:
        """Choose n samples, (n, *image), that represent `of` samples: the medoids of n clusters.

        n: number of samples returned. of: number of samples drawn. seed: of the random numbers.

        Errors: `ValueError` unless 0 < n <= of.

        Source: as `choose_medoids`.
        """
        if not 0 < n <= of:
            raise ValueError(f"{n} samples cannot represent {of}; give 1 to {of}")
        return self.draw(choose_medoids(n, of, lambda numbers: self.draw(numbers, seed)), seed)


class Labelled(Posterior[Array]):
    """Another posterior, whose arrays are labelled as the image is: an xarray.DataArray for an xarray.DataArray.

    found: the posterior. label: an array in the shape of the image, or (samples, *image) -> the same with labels.
    """

    def __init__(self, found: Posterior[Array], label: Callable[[Array], Array]) -> None:
        self.found, self.label = found, label

    @cached_property
    def mean(self) -> Array:  # type: ignore[override]
        """E[s|x]."""
        return self.label(self.found.mean)

    @cached_property
    def std(self) -> Array | None:  # type: ignore[override]
        """Standard deviation of p(s|x), or None if the method gives only the mean."""
        return None if self.found.std is None else self.label(self.found.std)

    def sample(self, n: int, seed: int = 0) -> Array:
        return self.label(self.found.sample(n, seed))

    def interval(self, coverage: float = 0.9) -> tuple[Array, Array]:
        low, high = self.found.interval(coverage)
        return self.label(low), self.label(high)

    def quantify(self, measure: Callable[[Array], Any], n: int = SAMPLES, seed: int = 0) -> Quantities:
        return quantify(measure, self.mean, self.each_sample(n, seed))

    def each_sample(self, n: int, seed: int) -> Iterator[Array]:
        return map(self.label, self.found.each_sample(n, seed))

    def mode(self) -> Array:
        """See `Sampled.mode`."""
        return self.label(self.found.mode())  # type: ignore[attr-defined]

    def diverse(self, n: int, of: int = 100, seed: int = 0) -> Array:
        """See `Sampled.diverse`."""
        return self.label(self.found.diverse(n, of, seed))  # type: ignore[attr-defined]


def choose_medoids(n: int, of: int, draw: Callable[[Sequence[int]], Array | Tensor]) -> list[int]:
    """Numbers of n medoids among samples, with a small sum of distances from each sample to the nearest medoid.

    Samples are drawn in chunks and compared by means over blocks of the last two axes.

    Source: the algorithm PAM of Kaufman and Rousseeuw 1990, doi:10.1002/9780470316801: a greedy start, then exchanges
    while the sum decreases.
    """
    blocks = np.stack([block_means(image).ravel() for image in in_chunks(of, draw)])
    blocks -= blocks.mean(0)
    squares = (blocks**2).sum(1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * blocks @ blocks.T, 0))

    def sums_with(medoids: list[int]) -> Array:
        """Sums of distances to the nearest medoid, for each sample as a further medoid."""
        nearest = distance[:, medoids].min(1) if medoids else np.full(of, np.inf)
        sums = np.minimum(nearest[:, None], distance).sum(0)
        sums[medoids] = np.inf
        return np.asarray(sums)

    chosen: list[int] = []
    for _ in range(n):
        chosen.append(int(sums_with(chosen).argmin()))
    improved = True
    while improved:
        improved = False
        for position in range(n):
            sums = sums_with(chosen[:position] + chosen[position + 1 :])
            if sums.min() < sums[chosen[position]] * (1 - 1e-9):
                chosen[position], improved = int(sums.argmin()), True
    return sorted(chosen)


def in_chunks(of: int, draw: Callable[[Sequence[int]], Array | Tensor]) -> Iterator[Array]:
    """Yield one sample after the other, drawing as many together as `CHUNK_VALUES` allows."""
    start, together = 0, 1
    while start < of:
        images = np.asarray(torch.as_tensor(draw(range(start, min(start + together, of)))).cpu())
        yield from images
        start, together = start + len(images), max(1, CHUNK_VALUES // images[0].size)


def block_means(image: Array) -> Array:
    """Means over at most `BLOCKS_PER_SIDE` blocks along each of the last two axes; NaN counts as zero."""
    image = np.nan_to_num(image.astype(np.float64))
    for axis in (-2, -1):
        edges = np.unique(np.linspace(0, image.shape[axis], BLOCKS_PER_SIDE + 1).astype(int)[:-1])
        widths = np.diff(np.append(edges, image.shape[axis]))
        shape = [-1 if a == axis % image.ndim else 1 for a in range(image.ndim)]
        image = np.add.reduceat(image, edges, axis=axis) / widths.reshape(shape)
    return image
