"""Variance-stabilising transform for noise whose variance is linear in the signal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ANSCOMBE = 3 / 8  # photons, added so that the variance is closest to one at few photons
LEAST = 1e-9  # of the variance at the mean of the image: the smallest floor
FAR = 1e6  # standard deviations of the noise below the mean of the image: no value lies there
FLOOR = 1 / 8  # photons², variance below which the transform is linear


@dataclass(frozen=True)
class Stabilizer:
    """T(x) = ∫ dx / √v(x) from x = mean, with v(x) = slope · x + intercept, at least floor.

    The noise of T(x) has a variance of about one. T is the Anscombe transform for photon noise, (x − mean) / σ for
    Gaussian noise, and the generalised Anscombe transform for both. No expression divides by the slope, which may be 0.
    Where the variance falls with the signal, as in inverted images, T is that of the inverted image, and falls too.

    slope (ADU), intercept (ADU²), floor (ADU²), mean (ADU): tensors that broadcast against images.

    Sources: Anscombe 1948, doi:10.1093/biomet/35.3-4.246; Murtagh et al. 1995, Astronomy and Astrophysics Supplement
    112:179 (read noise).
    """

    slope: Tensor
    intercept: Tensor
    floor: Tensor
    mean: Tensor

    @classmethod
    def from_variance(cls, slope: Tensor, variance_at_zero: Tensor, read_variance: Tensor, mean: Tensor) -> Stabilizer:
        """Transform for the variance slope · s + variance_at_zero; read_variance is the part without photons, ADU²."""
        intercept = variance_at_zero + ANSCOMBE * slope**2
        typical = slope * mean + intercept
        floor = torch.maximum(read_variance + FLOOR * slope**2, LEAST * typical.abs())
        return cls(slope, intercept, torch.where(typical > 0, torch.minimum(floor, typical), floor), mean)

    def exposed(self, fraction: float | Tensor) -> Stabilizer:
        """Transform for a fraction of the light (above 1: more light), rescaled to the same mean.

        Variances grow by 1 / fraction, and the terms of a single photon by 1 / fraction².
        """
        photon = self.slope**2 * (1 / fraction - 1)
        intercept, floor = self.intercept + ANSCOMBE * photon, self.floor + FLOOR * photon
        return Stabilizer(self.slope / fraction, intercept / fraction, floor / fraction, self.mean)

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The constructor arguments, in order."""
        return self.slope, self.intercept, self.floor, self.mean

    def variance(self, x: Tensor) -> Tensor:
        """v(x), ADU²."""
        return torch.maximum(self.slope * x + self.intercept, self.floor)

    def __call__(self, x: Tensor) -> Tensor:
        """Stabilise values: ADU -> noise standard deviations."""
        x, mean = self.sign * x, self.sign * self.mean
        above = torch.maximum(x, self.knee)
        roots = self.variance(self.sign * above).sqrt() + self.variance(self.mean).sqrt()
        return 2 * (above - mean) / roots + (x - above) / self.floor.sqrt()

    def inverse(self, t: Tensor) -> Tensor:
        """Inverse transform: noise standard deviations -> ADU."""
        root = self.variance(self.mean).sqrt()
        above = torch.maximum(t, self(self.sign * self.knee))
        difference = above * (root + self.slope.abs() * above / 4) + (t - above) * self.floor.sqrt()
        return self.mean + self.sign * difference

    @property
    def sign(self) -> Tensor:
        """1 where the variance rises with the signal or is constant, -1 where it falls."""
        return torch.where(self.slope < 0, -1.0, 1.0)

    @property
    def knee(self) -> Tensor:
        """Value (ADU, times `sign`) at which v reaches the floor; far below all values for constant noise."""
        slope, root = self.slope.abs(), self.variance(self.mean).sqrt()
        knee = (self.floor - self.intercept) / slope.clamp(min=torch.finfo(slope.dtype).tiny)
        lowest = self.sign * self.mean - FAR * root
        return torch.where(slope > 0, torch.maximum(knee, lowest), lowest)

    def relative_shot_noise(self, x: Tensor) -> Tensor:
        """|slope| / √v(x), about 1 / √photons: zero for many photons, 1.6 for none."""
        return self.slope.abs() / self.variance(x).sqrt()
