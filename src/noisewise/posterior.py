"""Posterior: what every method returns, whatever it knows of p(s|x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array

LIKELIEST = -1  # the number of the sample in which nothing is left to chance
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
