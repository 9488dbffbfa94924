"""Conditioning of networks on a noise model, so that one network can serve many noise models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import WHITE, Correlated, kernel_autocovariance
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.linear_variance import least_variance, linear_variance
from noisewise.noise.ops.stabilize import ANSCOMBE, LEAST, Stabilizer

LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))
FEATURES = 2 + len(LAGS) + 2
SMOOTH = 0.5  # correlation of neighbours


@dataclass(frozen=True)
class NoiseFeatures:
    """Noise of N images for a network: a variance-stabilising transform, and features (N, FEATURES) for the rest.

    features: read noise relative to all dark noise (0 to 1); quantization step; correlation at `LAGS`; standard
    deviations of row and of column offsets. Step and offsets in standard deviations at the mean of the image. read:
    variance without photons, ADU².
    """

    stabilizer: Stabilizer
    features: Tensor
    read: Tensor

    @classmethod
    def make(
        cls, slope: Tensor, variance_at_zero: Tensor, read_variance: Tensor, mean: Tensor, *,
        step: Tensor, rho: Tensor, rows: Tensor, columns: Tensor,
    ) -> NoiseFeatures:  # fmt: skip
        """Features of N images from tensors (N,), ADU or ADU², and rho (N, LAGS); `for_dims` adds spatial axes.

        slope, variance_at_zero: variance line. read_variance: without photons. step: of the quantization. rows,
        columns: standard deviations of row and column offsets.
        """
        stabilizer = Stabilizer.from_variance(slope, variance_at_zero, read_variance, mean)
        unit = stabilizer.variance(mean).sqrt()
        read = read_share(read_variance, slope)
        features = torch.stack([read, step / unit, *rho.unbind(1), rows / unit, columns / unit], 1)
        return cls(stabilizer, features.float(), read_variance)

    def for_dims(self, dims: int) -> NoiseFeatures:
        """Features whose tensors broadcast against images (N, 1, *S) with this number of spatial axes."""
        *parts, read = (part.reshape(-1, 1, *[1] * dims) for part in (*self.stabilizer.parameters, self.read))
        return NoiseFeatures(Stabilizer(*parts), self.features, read)

    def thinned(self, fraction: float | Tensor) -> NoiseFeatures:
        """Features of the images after thinning: a fraction of the light removed, rescaled to the same mean.

        fraction: one number, or one per image, broadcasting against them.
        """
        return self.with_light(1 - fraction)

    def with_light(self, light: float | Tensor) -> NoiseFeatures:
        """Features of the mean of several exposures, or of a part of one. What is added is not rounded.

        light: relative to one exposure; one number, or one per image, broadcasting against them.
        """
        stabilizer, read, light = self.stabilizer.exposed(light), self.read / light, torch.as_tensor(light)
        features = self.features.clone()
        features[:, 0] = read_share(read, stabilizer.slope).flatten()
        features[:, 1] /= light.to(features).clamp(min=1).sqrt().flatten()
        return NoiseFeatures(stabilizer, features, read)

    def shot_variance(self, signal: Tensor) -> Tensor:
        """Variance by the light of a signal (ADU) alone, ADU²."""
        stabilizer = self.stabilizer
        photon = ANSCOMBE * stabilizer.slope**2  # which the intercept holds
        return (stabilizer.slope * signal + stabilizer.intercept - photon - self.read).clamp(min=0)

    def repeat(self, copies: int) -> NoiseFeatures:
        """Features of some copies of the images."""
        return stack_features([self], copies)

    def network_input(self, noisy: Tensor) -> Tensor:
        """Images (N, 1, *S), ADU -> (N, 2 + FEATURES, *S): stabilised image, relative shot noise, features."""
        features = self.features.reshape(len(noisy), -1, *[1] * (noisy.ndim - 2)).expand(-1, -1, *noisy.shape[2:])
        return torch.cat([self.stabilizer(noisy), self.stabilizer.relative_shot_noise(noisy), features], 1)

    @property
    def white(self) -> bool:
        """Whether the noise of every image is spatially independent, within `WHITE`."""
        return bool(self.features[:, 2:].abs().max() < WHITE)

    @property
    def smooth(self) -> bool:
        """Whether the noise of neighbours is strongly correlated along Y and X, as where optics or pixels blur it."""
        return bool(self.features[:, 2:4].min() > SMOOTH)


def read_share(read: Tensor, slope: Tensor) -> Tensor:
    """Standard deviation of the read noise, relative to that of all dark noise."""
    dark = read + ANSCOMBE * slope**2
    return (read / dark.clamp(min=torch.finfo(dark.dtype).tiny)).sqrt()


def noise_features(noise_model: Noise, mean: float, std: float) -> NoiseFeatures:
    """Features of a noise model for images of this mean and standard deviation (ADU)."""
    noise_model = noise_model.spectral_approximation()
    inner = (noise_model.pixel_noise if isinstance(noise_model, Correlated) else noise_model).typical()
    slope, intercept = linear_variance(inner, mean, std)
    rounding = noise_model.quantization.rounding_variance if noise_model.quantization != inner.quantization else 0.0
    intercept += rounding
    rows = columns = 0.0
    rho = torch.zeros(len(LAGS))
    if isinstance(noise_model, Correlated):
        rho = kernel_correlation(noise_model.kernel)
        rho = rho if rho.abs().max() >= WHITE else torch.zeros_like(rho)
        rows, columns = (
            float((kernel**2).sum().sqrt()) for kernel in (noise_model.row_kernel, noise_model.column_kernel)
        )
    read = max(read_variance(inner, intercept, mean, std) + rounding, LEAST * abs(slope * mean + intercept))
    return NoiseFeatures.make(
        number(slope), number(intercept), number(read), number(mean),
        step=number(noise_model.quantization.step), rho=rho[None], rows=number(rows), columns=number(columns),
    )  # fmt: skip


def number(value: float) -> Tensor:
    """A number as a float32 tensor (1,)."""
    return torch.tensor([float(value)])


def stack_features(parts: Sequence[NoiseFeatures], copies: int) -> NoiseFeatures:
    """Features of C channels, repeated for images that are folded as (copies · C)."""

    def stack(values: Sequence[Tensor]) -> Tensor:
        channels = torch.cat(list(values))
        return channels.repeat(copies, *[1] * (channels.ndim - 1))

    parameters = zip(*(part.stabilizer.parameters for part in parts), strict=True)
    features, read = stack([part.features for part in parts]), stack([part.read for part in parts])
    return NoiseFeatures(Stabilizer(*map(stack, parameters)), features, read)


def read_variance(noise_model: Noise, intercept: float, mean: float, std: float) -> float:
    """Variance without photons, ADU²; where the model does not state it, the smallest one over an image's signals."""
    if isinstance(noise_model, PoissonGaussian | GammaPoisson):
        return float(noise_model.read_noise) ** 2 + noise_model.rounding_variance
    if isinstance(noise_model, Gaussian):
        return intercept
    return least_variance(noise_model, mean, std)


def kernel_correlation(kernel: Tensor) -> Tensor:
    """Autocorrelation at `LAGS` of white noise after convolution with a kernel (Y, X) of unit energy."""
    rho = kernel_autocovariance(kernel, (3, 3))
    return torch.stack([rho[y, x] for y, x in LAGS]).float()
