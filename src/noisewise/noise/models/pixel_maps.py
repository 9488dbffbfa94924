"""Cameras whose pixels differ: gain, offset and read noise of each, as sCMOS sensors have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.base import Value
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization

MANY = 1_000_000  # pixels that are enough for a quantile
OUTLIER = 16.0  # times the mean square: left out of a scatter
WILDEST = 2.0  # times the typical gain, or a part of it: beyond, a gain is taken for a failure of its measurement


@dataclass(frozen=True)
class Level:
    """A recording in each pixel: mean (ADU), variance (ADU²), and degrees of freedom of the variance."""

    mean: Tensor
    variance: Tensor
    freedom: float


class PixelMaps(PoissonGaussian):
    """xᵢ = oᵢ + gᵢ kᵢ + N(0, σᵢ²), kᵢ ~ Poisson((s − ō) / ḡ): the signal s is free of the fixed pattern.

    E[xᵢ|s] = oᵢ + gᵢ (s − ō) / ḡ, so that the mean of what is recorded is s only in a typical pixel.

    gain: gᵢ, ADU per electron. offset: oᵢ, ADU. read_noise: σᵢ, ADU; maps of shape (Y, X), or numbers where all
    pixels are alike. typical_gain, typical_offset: ḡ and ō; the medians of the maps, unless given.
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
        self.keep(typical_gain=typical_gain, typical_offset=typical_offset)

    @classmethod
    def of_maps(cls, gain: Tensor, offset: Tensor, variance: Tensor, quantization: Quantization = CONTINUOUS) -> Self:
        """The law of a camera's maps (Y, X): ADU per electron, ADU, ADU². What cannot be true is made typical.

        Gains that are negative, not finite or beyond twice (half) the median are fits that failed, as in pixels that
        never saw light; they become the median. So do offsets and variances that are not finite or negative.
        """
        typical = gain[torch.isfinite(gain) & (gain > 0)].median()
        sane = torch.isfinite(gain) & (gain < WILDEST * typical) & (gain > typical / WILDEST)
        known, real = torch.isfinite(variance) & (variance >= 0), torch.isfinite(offset)
        return cls(
            torch.where(sane, gain, gain[sane].median()),
            torch.where(real, offset, offset[real].median()),
            torch.where(known, variance, variance[known].median()).sqrt(),
            quantization,
        )

    @classmethod
    def of_recordings(cls, light: Level, dark: Level, gain: float, quantization: Quantization = CONTINUOUS) -> Self:
        """The law of a camera from a recording with light, of any scene, and one without.

        σᵢ² and gᵢ of single pixels are uncertain; they are drawn to the typical as far as chance explains their
        scatter. gain: the typical one, ADU per electron.
        """
        noise = shrunk_variance(dark.variance, dark.freedom)
        bright = (light.mean - dark.mean).clamp(min=1e-9)
        own = (light.variance - dark.variance) / bright
        error2 = 2 * (light.variance**2 / light.freedom + dark.variance**2 / dark.freedom) / bright**2
        read_noise = (noise - quantization.step**2 / 12).clamp(min=0).sqrt()
        return cls(shrunk(own, error2, gain), dark.mean, read_noise, quantization)

    def of_pixels(self, pixels: Tensor) -> PixelMaps:
        """The law of some pixels (N,), by flat index."""
        gain, offset, read_noise = (part.flatten()[pixels] for part in (self.gain, self.offset, self.read_noise))
        return PixelMaps(gain, offset, read_noise, self.quantization, self.typical_gain, self.typical_offset)

    def freed(self, recorded: Tensor) -> Tensor:
        """The signal that is recorded so on average: the inverse of `recorded`, ADU."""
        return self.typical_offset + self.typical_gain * (recorded - self.offset) / self.gain

    def recorded(self, signal: Tensor) -> Tensor:
        """E[xᵢ|s] = oᵢ + gᵢ (s − ō) / ḡ, ADU."""
        typical_gain, typical_offset = self.typical_gain.to(signal), self.typical_offset.to(signal)
        return self.offset.to(signal) + self.gain.to(signal) * (signal - typical_offset) / typical_gain

    def electrons(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        return super().electrons(self.recorded(signal))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        electrons, _ = self.electrons(signal)
        gain, read_noise = self.gain.to(signal), self.read_noise.to(signal)
        return self.recorded(signal), gain**2 * electrons + read_noise**2 + self.quantization.step**2 / 12

    def crop(self, window: tuple[slice, ...]) -> PixelMaps:
        """The law of a part (Y, X) of the sensor."""
        gain, offset, read_noise = (
            map_yx[window] if map_yx.ndim else map_yx for map_yx in (self.gain, self.offset, self.read_noise)
        )
        part = PixelMaps(gain, offset, read_noise, self.quantization, self.typical_gain, self.typical_offset)
        part.provenance = self.provenance
        return part

    @property
    def size(self) -> tuple[int, int] | None:
        """Pixels (Y, X) of the sensor; None if they are all alike."""
        shapes = [tuple(part.shape) for part in (self.gain, self.offset, self.read_noise) if part.ndim == 2]
        return (shapes[0][0], shapes[0][1]) if shapes else None

    def typical(self) -> PoissonGaussian:
        """The law of a pixel like most, in whose units the signals are."""
        return PoissonGaussian(self.typical_gain, self.typical_offset, self.read_noise.median(), self.quantization)

    def at(self, pixels: Tensor) -> PixelMaps:
        """The law of pixels with coordinates (M, [Z], Y, X), for values (M, n).

        Errors: `UserError` for pixels that the sensor does not have.
        """
        y, x, size = pixels[:, -2], pixels[:, -1], self.size
        if size is None:
            return self
        if len(pixels) and (int(y.max()) >= size[0] or int(x.max()) >= size[1]):
            raise UserError(
                f"the noise model is of {size[0]} x {size[1]} pixels, and the image is larger; crop the image, or "
                f"calibrate the part of the sensor that it was taken with"
            )
        gain, offset, read_noise = (
            part[y, x][:, None] if part.ndim else part for part in (self.gain, self.offset, self.read_noise)
        )
        return PixelMaps(gain, offset, read_noise, self.quantization, self.typical_gain, self.typical_offset)

    def tabulated(self, noisy: Tensor, signal: Tensor, image_statistics: tuple[float, float]) -> Tensor:  # noqa: ARG002
        """`log_prob` itself: a table holds one law, and here each pixel has its own."""
        return self.log_prob(noisy, signal)

    @classmethod
    def fit(cls, *_: Any, **__: Any) -> Self:
        """Not possible: pairs do not tell the offset of a pixel. Errors: `UserError`, always."""
        raise UserError("maps of the pixels cannot be fitted to pairs; calibrate with dark frames, kind 'maps'")


def shrunk(values: Tensor, error2: Tensor, typical: float) -> Tensor:
    """Values drawn to the typical one by error² / (error² + scatter²); the scatter is that of the better known half."""
    off, error2 = (values - typical).flatten(), error2.clamp(min=1e-300)
    some = torch.arange(0, len(off), 1 + len(off) // MANY)
    known = some[error2.flatten()[some] <= error2.flatten()[some].median()]
    square, chance = off[known] ** 2, error2.flatten()[known]
    usual = square < OUTLIER * torch.maximum(chance.mean(), square.median())
    scatter2 = (square[usual].mean() - chance[usual].mean()).clamp(min=0)
    return typical + (values - typical) * (scatter2 / (scatter2 + error2))


def shrunk_variance(variance: Tensor, freedom: float) -> Tensor:
    """Variances drawn to their median as an inverse-gamma prior does, whose width the scatter of logarithms tells.

    The scatter is that of the middle half, as hot pixels are far out.
    Source: Smyth, Stat. Appl. Genet. Mol. Biol. 3, 3 (2004).
    """
    typical = variance.median()
    log = variance.clamp(min=1e-12 * typical).log().flatten()
    log = log[:: 1 + len(log) // MANY]
    scatter = float((log.quantile(0.75) - log.quantile(0.25)) / 1.349) ** 2
    rest = scatter - float(torch.polygamma(1, torch.tensor(freedom / 2)))
    if rest <= 0:
        return torch.full_like(variance, float(typical))
    # ψ₁(x) ≈ 1 / x + 1 / (2 x²), solved for x, half the prior's degrees of freedom.
    prior = (1 + (1 + 2 * rest) ** 0.5) / rest
    drawn: Tensor = (freedom * variance + prior * typical) / (freedom + prior)
    return drawn
