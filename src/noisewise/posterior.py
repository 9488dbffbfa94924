"""Posterior: what every method returns, whatever it knows of p(s|x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array

LOOKED_AT = 32
IN_MEMORY = 1 << 24  # values of samples that are looked at together
MODE = -1  # the number of the sample in which nothing is left to chance
T = TypeVar("T", Array, Tensor)


class Posterior(ABC, Generic[T]):
    """p(s|x) of an image: arrays or tensors in the image's shape and units (ADU)."""

    mean: T
    """E[s|x], the estimate with the least mean squared error."""
    std: T | None
    """Standard deviation of p(s|x), or None where the method knows only the mean."""

    @abstractmethod
    def sample(self, n: int, seed: int = 0) -> T:
        """n draws of s, shape (n, *image). Errors: `ValueError` where the method knows only the mean."""

    @abstractmethod
    def interval(self, coverage: float = 0.9) -> tuple[T, T]:
        """Bounds that hold s with this probability. Errors: `ValueError` where only the mean is known."""


@dataclass(frozen=True)
class Point(Posterior[T]):
    """A point estimate: the mean alone."""

    mean: T
    std: None = None

    def sample(self, n: int, seed: int = 0) -> T:  # noqa: ARG002
        raise ValueError("this method gives one answer, not samples")

    def interval(self, coverage: float = 0.9) -> tuple[T, T]:  # noqa: ARG002
        raise ValueError("this method gives one answer, not an interval")


@dataclass(frozen=True)
class Normal(Posterior[T]):
    """Mean and standard deviation of each pixel for itself; intervals and samples as if p(s|x) were normal.

    What neighbouring pixels share is not known: a sample has the right spread in each pixel, but looks noisy.
    """

    mean: T
    std: T

    def sample(self, n: int, seed: int = 0) -> T:
        if isinstance(self.mean, Tensor):
            generator = torch.Generator(self.mean.device).manual_seed(seed)
            lots = torch.randn((n, *self.mean.shape), generator=generator, device=self.mean.device)
        else:
            lots = np.random.default_rng(seed).standard_normal((n, *self.mean.shape), np.float32)
        drawn: T = self.mean + self.std * lots
        return drawn

    def interval(self, coverage: float = 0.9) -> tuple[T, T]:
        if not 0 < coverage < 1:
            raise ValueError(f"a coverage lies between 0 and 1; {coverage} does not")
        reach = NormalDist().inv_cdf(0.5 + coverage / 2)
        return self.mean - reach * self.std, self.mean + reach * self.std


@dataclass(frozen=True)
class Sampled(Normal[T]):
    """Mean and standard deviation of each pixel, and draws of whole images, in which neighbours go together.

    draw: numbers of samples, and a seed -> (len(numbers), *image). A sample is a function of its number and the seed.
    """

    draw: Callable[[Sequence[int], int], T]

    def sample(self, n: int, seed: int = 0) -> T:
        return self.draw(range(n), seed)

    def mode(self) -> T:
        """The image in which nothing is left to chance: as sharp as a sample, and likelier (MAP-like)."""
        drawn: T = self.draw([MODE], 0)[0]
        return drawn

    def diverse(self, n: int, of: int = 100, seed: int = 0) -> T:
        """n samples that stand for so many: each of these is nearest to one of the n; (n, *image)."""
        if not 0 < n <= of:
            raise ValueError(f"{n} samples cannot stand for {of}")
        return self.draw(choose_medoids(n, of, lambda numbers: self.draw(numbers, seed)), seed)


def choose_medoids(n: int, of: int, draw: Callable[[Sequence[int]], Array | Tensor]) -> list[int]:
    """Numbers of n medoids among samples: the sum of the distances from each sample to the nearest is small.

    Samples are looked at a few at a time, as means over blocks of the last two axes, `LOOKED_AT` a side.
    Found one by one, each where it helps most, then exchanged while that helps (Kaufman and Rousseeuw 1990).
    """
    seen = np.stack([blocked(image).ravel() for image in few_at_a_time(of, draw)])
    seen -= seen.mean(0)
    squares = (seen**2).sum(1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares - 2 * seen @ seen.T, 0))
    chosen: list[int] = []
    for _ in range(n):
        nearest = distance[:, chosen].min(1) if chosen else np.full(of, np.inf)
        costs = np.minimum(nearest[:, None], distance).sum(0)
        costs[chosen] = np.inf
        chosen.append(int(costs.argmin()))
    improved = True
    while improved:
        improved = False
        for place in range(n):
            others = chosen[:place] + chosen[place + 1 :]
            nearest = distance[:, others].min(1) if others else np.full(of, np.inf)
            costs = np.minimum(nearest[:, None], distance).sum(0)
            costs[others] = np.inf
            if costs.min() < costs[chosen[place]] * (1 - 1e-9):
                chosen[place], improved = int(costs.argmin()), True
    return sorted(chosen)


def few_at_a_time(of: int, draw: Callable[[Sequence[int]], Array | Tensor]) -> Iterator[Array]:
    """One sample after the other, of as many together as memory allows."""
    start, together = 0, 1
    while start < of:
        images = np.asarray(torch.as_tensor(draw(range(start, min(start + together, of)))).cpu())
        yield from images
        start, together = start + len(images), max(1, IN_MEMORY // images[0].size)


def blocked(image: Array) -> Array:
    """Means over blocks of the last two axes, at most `LOOKED_AT` of them along each; pixels without value are zero."""
    image = np.nan_to_num(image.astype(np.float64))
    for axis in (-2, -1):
        edges = np.unique(np.linspace(0, image.shape[axis], LOOKED_AT + 1).astype(int)[:-1])
        widths = np.diff(np.append(edges, image.shape[axis]))
        shape = [-1 if a == axis % image.ndim else 1 for a in range(image.ndim)]
        image = np.add.reduceat(image, edges, axis=axis) / widths.reshape(shape)
    return image
