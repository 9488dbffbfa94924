"""Images in units of their noise: a variance-stabilising transform for every law whose variance is a line."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ANSCOMBE = 3 / 8  # of a photon, added to make the variance of few photons most nearly one
LOWEST = 1 / 8  # of a photon squared: the variance below which the transform goes on as a line


@dataclass(frozen=True)
class Stabilizer:
    """T(x) = ∫ dx / √v(x) from x = mean, with v(x) = slope · x + intercept; where v would sink below floor, v = floor.

    T has noise of variance one, about; for pure photon noise it is the Anscombe transform, for Gaussian noise
    (x − mean) / σ, with all between. Written so that no slope, not even zero, divides anything.

    slope (ADU), intercept (ADU²), floor (ADU²), mean (ADU): tensors that broadcast against images.

    Sources: Anscombe 1948; Murtagh et al. 1995 (read noise).
    """

    slope: Tensor
    intercept: Tensor
    floor: Tensor
    mean: Tensor

    @classmethod
    def on_line(cls, slope: Tensor, variance_at_zero: Tensor, read_variance: Tensor, mean: Tensor) -> Stabilizer:
        """For noise of variance slope · s + variance_at_zero, of which read_variance is not of photons."""
        intercept = variance_at_zero + ANSCOMBE * slope**2
        floor = (read_variance + LOWEST * slope**2).clamp(min=1e-12)
        return cls(slope, intercept, torch.minimum(floor, slope * mean + intercept), mean)

    def exposed(self, share: float | Tensor) -> Stabilizer:
        """For a share of the light, or several times as much, scaled back to the old mean; variances grow by 1 / share.

        What belongs to a single photon, now a larger one, grows by 1 / share².
        """
        photon = self.slope**2 * (1 / share - 1)
        intercept, floor = self.intercept + ANSCOMBE * photon, self.floor + LOWEST * photon
        return Stabilizer(self.slope / share, intercept / share, floor / share, self.mean)

    @property
    def numbers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What it is made of, in order."""
        return self.slope, self.intercept, self.floor, self.mean

    def variance(self, x: Tensor) -> Tensor:
        """v(x), ADU²."""
        return torch.maximum(self.slope * x + self.intercept, self.floor)

    def __call__(self, x: Tensor) -> Tensor:
        """ADU -> units of the noise."""
        above = torch.maximum(x, self.knee)
        root = self.variance(self.mean).sqrt()
        return 2 * (above - self.mean) / (self.variance(above).sqrt() + root) + (x - above) / self.floor.sqrt()

    def inverse(self, t: Tensor) -> Tensor:
        """Units of the noise -> ADU."""
        root = self.variance(self.mean).sqrt()
        above = torch.maximum(t, self(self.knee))
        return self.mean + above * (root + self.slope * above / 4) + (t - above) * self.floor.sqrt()

    @property
    def knee(self) -> Tensor:
        """Where v reaches the floor; far below everything for noise that does not depend on the signal."""
        reached = (self.floor - self.intercept) / self.slope.clamp(min=1e-12)
        return torch.where(self.slope > 0, reached, self.mean - 1e6 * self.floor.sqrt())

    def fewness(self, x: Tensor) -> Tensor:
        """slope / √v(x): zero for many photons, 1.6 for none."""
        return self.slope / self.variance(x).sqrt()
