"""Posterior: what every method returns, whatever it knows of p(s|x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import NormalDist
from typing import Generic, TypeVar

import torch
from torch import Tensor

from noisewise.axes import Array

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
class Gaussian(Posterior[T]):
    """Independent normal distributions: s_i ~ N(mean_i, std_i²)."""

    mean: T
    std: T

    def sample(self, n: int, seed: int = 0) -> T:
        generator = torch.Generator().manual_seed(seed)
        mean, std = torch.as_tensor(self.mean), torch.as_tensor(self.std)
        draws = mean + std * torch.randn((n, *mean.shape), generator=generator).to(mean)
        return draws if isinstance(self.mean, Tensor) else draws.numpy()  # type: ignore[return-value]

    def interval(self, coverage: float = 0.9) -> tuple[T, T]:
        half = NormalDist().inv_cdf(0.5 + coverage / 2) * self.std
        return self.mean - half, self.mean + half
