"""What a network is told of a law of noise, so that one network can serve many laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.correlated import WHITE, Correlated
from noisewise.noise.gaussian import Gaussian
from noisewise.noise.poisson_gaussian import PoissonGaussian
from noisewise.noise.pulses import Pulses
from noisewise.noise.splitting import variance_line
from noisewise.noise.stabilize import ANSCOMBE, Stabilizer

LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))
FEATURES = 2 + len(LAGS) + 2


@dataclass(frozen=True)
class Description:
    """Laws of N images: how each is stabilised, and features (N, FEATURES) of what is left.

    features: how much of the dark noise is read noise (0 to 1); the step of the values; the correlation at `LAGS`;
    the standard deviations of row and column offsets. Steps and offsets in standard deviations at the image's mean.
    """

    stabilizer: Stabilizer
    features: Tensor

    @classmethod
    def make(
        cls, slope: Tensor, variance_at_zero: Tensor, read_variance: Tensor, mean: Tensor, *,
        step: Tensor, rho: Tensor, rows: Tensor, columns: Tensor,
    ) -> Description:  # fmt: skip
        """From numbers (N,), and rho (N, LAGS); of images with two spatial axes or three (see `of_dims`)."""
        stabilizer = Stabilizer.on_line(slope, variance_at_zero, read_variance, mean)
        unit = stabilizer.variance(mean).sqrt()
        dark = read_variance + ANSCOMBE * slope**2
        read = (read_variance / dark.clamp(min=1e-20)).sqrt()
        features = torch.stack([read, step / unit, *rho.unbind(1), rows / unit, columns / unit], 1)
        return cls(stabilizer, features.float())

    def of_dims(self, dims: int) -> Description:
        """With numbers that broadcast against images (N, 1, *S) of so many spatial axes."""
        parts = (part.reshape(-1, 1, *[1] * dims) for part in self.stabilizer.numbers)
        return Description(Stabilizer(*parts), self.features)

    def thinned(self, share: float | Tensor) -> Description:
        """Of what is left of the images when a share of their light is taken out, scaled back to the old mean.

        share: one, or one an image, that broadcasts against them; negative, it is light that was added.
        """
        return Description(self.stabilizer.exposed(1 - share), self.features)

    def maps(self, noisy: Tensor) -> Tensor:
        """Images (N, 1, *S) in ADU -> (N, 2 + FEATURES, *S): stabilised, fewness of photons, features."""
        told = self.features.reshape(len(noisy), -1, *[1] * (noisy.ndim - 2)).expand(-1, -1, *noisy.shape[2:])
        return torch.cat([self.stabilizer(noisy), self.stabilizer.fewness(noisy), told], 1)

    @property
    def white(self) -> bool:
        """Whether each pixel of every image has its noise for itself, about."""
        return bool(self.features[:, 2:].abs().max() < WHITE)


def describe(law: Noise, mean: float, std: float) -> Description:
    """The law of images of this mean and standard deviation (ADU)."""
    law = law.spectral()
    inner = (law.law if isinstance(law, Correlated) else law).typical()
    slope, intercept = variance_line(inner, mean, std)
    rounding = law.digital.step**2 / 12 if law.digital != inner.digital else 0.0
    intercept += rounding
    rows = columns = 0.0
    rho = torch.zeros(len(LAGS))
    if isinstance(law, Correlated):
        rho = correlation(law.kernel)
        rho = rho if rho.abs().max() >= WHITE else torch.zeros_like(rho)
        rows, columns = (float((kernel**2).sum().sqrt()) for kernel in (law.row_kernel, law.column_kernel))
    read = max(read_variance(inner, intercept) + rounding, 1e-12)
    return Description.make(
        number(slope), number(intercept), number(read), number(mean),
        step=number(law.digital.step), rho=rho[None], rows=number(rows), columns=number(columns),
    )  # fmt: skip


def number(value: float) -> Tensor:
    """One number, (1,), float32."""
    return torch.tensor([float(value)])


def stack(parts: Sequence[Description], copies: int) -> Description:
    """Laws of C channels for images folded as (N copies of C channels)."""

    def several(values: Sequence[Tensor]) -> Tensor:
        together = torch.cat(list(values))
        return together.repeat(copies, *[1] * (together.ndim - 1))

    numbers = zip(*(part.stabilizer.numbers for part in parts), strict=True)
    return Description(Stabilizer(*map(several, numbers)), several([part.features for part in parts]))


def read_variance(law: Noise, intercept: float) -> float:
    """The part of a law's variance that is not of photons, ADU²; where the law does not say, what is left at zero."""
    if isinstance(law, PoissonGaussian | Pulses):
        return float(law.read_noise) ** 2 + law.digital.step**2 / 12
    if isinstance(law, Gaussian):
        return intercept
    return max(intercept, 0.0)


def correlation(kernel: Tensor) -> Tensor:
    """Autocorrelation at `LAGS` of white noise after convolution with a kernel (Y, X) of unit energy."""
    height, width = kernel.shape
    found = [
        (kernel[y:, x:] * kernel[: height - y, : width - x]).sum() if y < height and x < width else kernel.new_zeros(())
        for y, x in LAGS
    ]
    return torch.stack(found).float()
