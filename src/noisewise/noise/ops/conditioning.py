"""What a network is told of a law of noise, so that one network can serve many laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import WHITE, Correlated
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.stabilize import ANSCOMBE, Stabilizer
from noisewise.noise.ops.thinning import linear_variance

LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))
FEATURES = 2 + len(LAGS) + 2


@dataclass(frozen=True)
class NoiseFeatures:
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
    ) -> NoiseFeatures:  # fmt: skip
        """From numbers (N,), and rho (N, LAGS); of images with two spatial axes or three (see `of_dims`)."""
        stabilizer = Stabilizer.on_line(slope, variance_at_zero, read_variance, mean)
        unit = stabilizer.variance(mean).sqrt()
        dark = read_variance + ANSCOMBE * slope**2
        read = (read_variance / dark.clamp(min=1e-20)).sqrt()
        features = torch.stack([read, step / unit, *rho.unbind(1), rows / unit, columns / unit], 1)
        return cls(stabilizer, features.float())

    def of_dims(self, dims: int) -> NoiseFeatures:
        """With numbers that broadcast against images (N, 1, *S) of so many spatial axes."""
        parts = (part.reshape(-1, 1, *[1] * dims) for part in self.stabilizer.numbers)
        return NoiseFeatures(Stabilizer(*parts), self.features)

    def thinned(self, share: float | Tensor) -> NoiseFeatures:
        """Of what is left of the images when a share of their light is taken out, scaled back to the old mean.

        share: one, or one an image, that broadcasts against them; negative, it is light that was added.
        """
        return NoiseFeatures(self.stabilizer.exposed(1 - share), self.features)

    def maps(self, noisy: Tensor) -> Tensor:
        """Images (N, 1, *S) in ADU -> (N, 2 + FEATURES, *S): stabilised, fewness of photons, features."""
        told = self.features.reshape(len(noisy), -1, *[1] * (noisy.ndim - 2)).expand(-1, -1, *noisy.shape[2:])
        return torch.cat([self.stabilizer(noisy), self.stabilizer.fewness(noisy), told], 1)

    @property
    def white(self) -> bool:
        """Whether each pixel of every image has its noise for itself, about."""
        return bool(self.features[:, 2:].abs().max() < WHITE)


def noise_features(noise_model: Noise, mean: float, std: float) -> NoiseFeatures:
    """The law of images of this mean and standard deviation (ADU)."""
    noise_model = noise_model.spectral()
    inner = (noise_model.pixel_noise if isinstance(noise_model, Correlated) else noise_model).typical()
    slope, intercept = linear_variance(inner, mean, std)
    rounding = noise_model.quantization.step**2 / 12 if noise_model.quantization != inner.quantization else 0.0
    intercept += rounding
    rows = columns = 0.0
    rho = torch.zeros(len(LAGS))
    if isinstance(noise_model, Correlated):
        rho = correlation(noise_model.kernel)
        rho = rho if rho.abs().max() >= WHITE else torch.zeros_like(rho)
        rows, columns = (
            float((kernel**2).sum().sqrt()) for kernel in (noise_model.row_kernel, noise_model.column_kernel)
        )
    read = max(read_variance(inner, intercept) + rounding, 1e-12)
    return NoiseFeatures.make(
        number(slope), number(intercept), number(read), number(mean),
        step=number(noise_model.quantization.step), rho=rho[None], rows=number(rows), columns=number(columns),
    )  # fmt: skip


def number(value: float) -> Tensor:
    """One number, (1,), float32."""
    return torch.tensor([float(value)])


def stack_features(parts: Sequence[NoiseFeatures], copies: int) -> NoiseFeatures:
    """Laws of C channels for images folded as (N copies of C channels)."""

    def several(values: Sequence[Tensor]) -> Tensor:
        together = torch.cat(list(values))
        return together.repeat(copies, *[1] * (together.ndim - 1))

    numbers = zip(*(part.stabilizer.numbers for part in parts), strict=True)
    return NoiseFeatures(Stabilizer(*map(several, numbers)), several([part.features for part in parts]))


def read_variance(noise_model: Noise, intercept: float) -> float:
    """The part of a law's variance that is not of photons, ADU²; where the law does not say, what is left at zero."""
    if isinstance(noise_model, PoissonGaussian | GammaPoisson):
        return float(noise_model.read_noise) ** 2 + noise_model.quantization.step**2 / 12
    if isinstance(noise_model, Gaussian):
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
