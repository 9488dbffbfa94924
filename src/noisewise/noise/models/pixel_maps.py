"""Noise of sensors whose pixels differ in gain, offset and read noise (sCMOS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.base import Value
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization

MANY = 1_000_000  # pixels that are enough for a quantile
OUTLIER = 16.0  # times the mean square: left out of a variance estimate
MOST_GAIN_RATIO = 2.0  # to the typical gain, either way: other gains are failed measurements


@dataclass(frozen=True)
class PixelStatistics:
    """Mean (ADU) and variance (ADU²) of each pixel of a recording, and the variances' degrees of freedom."""

    mean: Tensor
    variance: Tensor
    freedom: float


class PixelMaps(PoissonGaussian):
    """xᵢ = oᵢ + gᵢ kᵢ + N(0, σᵢ²), kᵢ ~ Poisson((s − ō) / ḡ): the signal s has no fixed pattern.

    E[xᵢ|s] = oᵢ + gᵢ (s − ō) / ḡ, which equals s in a typical pixel only.

    gain: gᵢ, ADU per electron. offset: oᵢ, ADU. read_noise: σᵢ, ADU; maps (Y, X), or numbers where all pixels are
    alike. typical_gain, typical_offset: ḡ and ō, by default the medians of the maps.
    """

    typical_gain: Tensor
    typical_offset: Tensor

    def __init__(
        self,
        gain: Value,
        offset: Value,
        read_noise: Value,
        quantization: Quantization = CONTINUOUS,
        typical_gain: Value | None = None,
        typical_offset: Value | None = None,
    ) -> None:
        super().__init__(gain, offset, read_noise, quantization)
        typical_gain = self.gain.median() if typical_gain is None else typical_gain
        typical_offset = self.offset.median() if typical_offset is None else typical_offset
        self.store(typical_gain=typical_gain, typical_offset=typical_offset)

    @classmethod
    def of_maps(cls, gain: Tensor, offset: Tensor, variance: Tensor, quantization: Quantization = CONTINUOUS) -> Self:
        """Noise model of maps (Y, X): gain (ADU per electron), offset (ADU), variance (ADU²); outliers replaced.

        Gains that are not finite or differ from the median by more than a factor of two are failed fits, as in pixels
        without light; they become the median. So do offsets that are not finite, and variances not finite or negative.
        """
        typical = gain[torch.isfinite(gain) & (gain > 0)].median()
        valid_gain = torch.isfinite(gain) & (gain < MOST_GAIN_RATIO * typical) & (gain > typical / MOST_GAIN_RATIO)
        valid_variance, valid_offset = torch.isfinite(variance) & (variance >= 0), torch.isfinite(offset)
        return cls(
            torch.where(valid_gain, gain, gain[valid_gain].median()),
            torch.where(valid_offset, offset, offset[valid_offset].median()),
            torch.where(valid_variance, variance, variance[valid_variance].median()).sqrt(),
            quantization,
        )

    @classmethod
    def of_recordings(
        cls, light: PixelStatistics, dark: PixelStatistics, gain: float, quantization: Quantization = CONTINUOUS
    ) -> Self:
        """Noise model of a camera from a recording of any scene and a dark recording.

        σᵢ² and gᵢ of single pixels are uncertain; they are shrunk to typical values as far as measurement errors
        explain their scatter (empirical Bayes). gain: the typical one, ADU per electron.
        """
        dark_variance = shrink_variance(dark.variance, dark.freedom)
        bright = (light.mean - dark.mean).clamp(min=1e-9)
        pixel_gain = (light.variance - dark.variance) / bright
        error2 = 2 * (light.variance**2 / light.freedom + dark.variance**2 / dark.freedom) / bright**2
        read_noise = (dark_variance - quantization.rounding_variance).clamp(min=0).sqrt()
        return cls(shrink(pixel_gain, error2, gain), dark.mean, read_noise, quantization)

    def of_pixels(self, pixels: Tensor) -> PixelMaps:
        """Noise model of the pixels with these flat indices (N,)."""
        return self._select(lambda map_yx: map_yx.flatten()[pixels])

    def _select(self, select: Callable[[Tensor], Tensor]) -> PixelMaps:
        """Noise model of selected pixels; parameters that are numbers stand for all pixels."""
        maps = (self.gain, self.offset, self.read_noise)
        gain, offset, read_noise = (select(part) if part.ndim else part for part in maps)
        return PixelMaps(gain, offset, read_noise, self.quantization, self.typical_gain, self.typical_offset)

    def signal_from_mean(self, mean: Tensor) -> Tensor:
        """Signal s with this mean value E[xᵢ|s] of each pixel: the inverse of `pixel_mean`, ADU."""
        return self.typical_offset + self.typical_gain * (mean - self.offset) / self.gain

    def pixel_mean(self, signal: Tensor) -> Tensor:
        """E[xᵢ|s] = oᵢ + gᵢ (s − ō) / ḡ, ADU."""
        typical_gain, typical_offset = self.typical_gain.to(signal), self.typical_offset.to(signal)
        return self.offset.to(signal) + self.gain.to(signal) * (signal - typical_offset) / typical_gain

    def electrons(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        return super().electrons(self.pixel_mean(signal))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        electrons, _ = self.electrons(signal)
        gain, read_noise = self.gain.to(signal), self.read_noise.to(signal)
        return self.pixel_mean(signal), gain**2 * electrons + read_noise**2 + self.quantization.rounding_variance

    def crop(self, window: tuple[slice, ...]) -> PixelMaps:
        """Noise model of a region (Y, X) of the sensor."""
        part = self._select(lambda map_yx: map_yx[window])
        part.provenance = self.provenance
        return part

    @property
    def size(self) -> tuple[int, int] | None:
        """Sensor size (Y, X) in pixels; None if all pixels are alike."""
        shapes = [tuple(part.shape) for part in (self.gain, self.offset, self.read_noise) if part.ndim == 2]
        return (shapes[0][0], shapes[0][1]) if shapes else None

    def typical(self) -> PoissonGaussian:
        """Noise model of a typical pixel, which defines the unit of the signal."""
        return PoissonGaussian(self.typical_gain, self.typical_offset, self.read_noise.median(), self.quantization)

    def at(self, pixels: Tensor) -> PixelMaps:
        """Noise model of the pixels at coordinates (M, [Z], Y, X), for values (M, n).

        Errors: `UserError` for pixels outside the sensor.
        """
        y, x, size = pixels[:, -2], pixels[:, -1], self.size
        if size is None:
            return self
        if len(pixels) and (int(y.max()) >= size[0] or int(x.max()) >= size[1]):
            raise UserError(
                f"the noise model has {size[0]} x {size[1]} pixels, and the image is larger; crop the image, or "
                f"calibrate the region of the sensor that it was taken with"
            )
        return self._select(lambda map_yx: map_yx[y, x][:, None])

    def tabulated(self, noisy: Tensor, signal: Tensor, image_statistics: tuple[float, float]) -> Tensor:  # noqa: ARG002
        """`log_prob` itself, because each pixel would need its own table."""
        return self.log_prob(noisy, signal)

    @classmethod
    def fit(cls, *_: Any, **__: Any) -> Self:
        """Not possible: pairs do not determine the offset of a pixel. Errors: `UserError`, always."""
        raise UserError(
            "pixel maps cannot be fitted to images alone; record dark frames and run noisewise calibrate STACK "
            "--dark DARK --kind pixel_maps -o NOISE"
        )


def shrink(values: Tensor, error2: Tensor, typical: float) -> Tensor:
    """Shrink values to the typical one by error² / (error² + scatter²), the scatter of the half with smaller errors."""
    deviation, error2 = (values - typical).flatten(), error2.clamp(min=1e-300)
    some = torch.arange(0, len(deviation), 1 + len(deviation) // MANY)
    precise = some[error2.flatten()[some] <= error2.flatten()[some].median()]
    square, error = deviation[precise] ** 2, error2.flatten()[precise]
    inlier = square < OUTLIER * torch.maximum(error.mean(), square.median())
    scatter2 = (square[inlier].mean() - error[inlier].mean()).clamp(min=0)
    return typical + (values - typical) * (scatter2 / (scatter2 + error2))


def shrink_variance(variance: Tensor, freedom: float) -> Tensor:
    """Shrink variances to their median by an inverse-gamma prior, fitted to the scatter of their logarithms.

    The scatter is that of the middle half, because hot pixels are outliers. freedom: degrees of freedom.

    Source: Smyth 2004, doi:10.2202/1544-6115.1027.
    """
    typical = variance.median()
    log = variance.clamp(min=1e-12 * typical).log().flatten()
    log = log[:: 1 + len(log) // MANY]
    scatter2 = float((log.quantile(0.75) - log.quantile(0.25)) / 1.349) ** 2
    excess = scatter2 - float(torch.polygamma(1, torch.tensor(freedom / 2)))
    if excess <= 0:
        return torch.full_like(variance, float(typical))
    # ψ₁(x) ≈ 1 / x + 1 / (2 x²), solved for x, half the prior's degrees of freedom.
    prior = (1 + (1 + 2 * excess) ** 0.5) / excess
    shrunk: Tensor = (freedom * variance + prior * typical) / (freedom + prior)
    return shrunk
