"""Posterior: what every method returns, whatever it knows of p(s|x)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

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
