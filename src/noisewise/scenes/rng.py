"""Random numbers from one seeded generator, with the distributions that scenes need."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rng:
    """Random numbers that are a function of the seed."""

    generator: torch.Generator

    @classmethod
    def from_seed(cls, seed: int) -> Rng:
        """Create one from a seed."""
        return cls(torch.Generator().manual_seed(seed))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers of this shape."""
        return torch.randn(shape, generator=self.generator)

    def uniforms(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of this shape."""
        return torch.rand(shape, generator=self.generator)

    def uniform(self, low: float, high: float) -> float:
        """One uniform number between two."""
        return low + (high - low) * float(self.uniforms(1))

    def log_uniform(self, low: float, high: float) -> float:
        """One number between two, whose logarithm is uniform."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """One integer, both ends included."""
        return int(torch.randint(low, high + 1, (1,), generator=self.generator))

    def bernoulli(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform(0, 1) < probability

    def directions(self, count: int, dims: int) -> Tensor:
        """Unit vectors (count, dims), uniform over all directions."""
        vectors = self.normal(count, dims)
        unit: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-6)
        return unit

    def direction(self, dims: int) -> list[float]:
        """One unit vector."""
        found: list[float] = self.directions(1, dims)[0].tolist()
        return found

    def choice(self, weights: dict[str, float]) -> str:
        """One of the names, with probabilities proportional to the weights."""
        value, total = self.uniform(0, sum(weights.values())), 0.0
        for name, weight in weights.items():
            total += weight
            if value < total:
                return name
        return next(reversed(weights))
