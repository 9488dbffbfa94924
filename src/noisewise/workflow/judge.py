"""Compare trained models by their expected error on parts of the images, without a truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array, Layout, Region, evenly
from noisewise.estimate.measurement import Kind
from noisewise.evaluate.consistency import ChannelNoise, ConsistencyCheck, DenoiseFunction, check_consistency
from noisewise.evaluate.held_out import held_out_errors, neighbour_mean
from noisewise.io.base import Source
from noisewise.io.light import read_light
from noisewise.io.scan_lines import aligned
from noisewise.methods.base import Denoiser, Method
from noisewise.noise.base import Noise
from noisewise.posterior import Posterior
from noisewise.predict.run import Predictor

MOST_PIXELS, PARTS, DEPTH = 1 << 16, 4, 8  # of all parts together; parts; slices of a part
TYPICAL = 0.98  # of the hidden pixels: without those that no method predicts, such as letters in a data bar


@dataclass(frozen=True)
class Explanation:
    """Noise models of all channels, the probability that they are right, and the kinds of noise that were found."""

    noise_models: tuple[Noise, ...]
    probability: float
    kinds: tuple[Kind, ...]

    @property
    def white(self) -> bool:
        """Whether the noise of each pixel is independent of its neighbours'."""
        return set(self.kinds) == {"white"}


@dataclass(frozen=True)
class Judgement:
    """What is expected of a result: its squared error in units of the noise variance; that of the image itself is 1.

    held_out: squared error of hidden pixels in the same units, where the noise is independent. check: under the most
    probable explanation.
    """

    risk: float
    error: float
    held_out: float | None
    check: ConsistencyCheck

    @property
    def in_doubt(self) -> bool:
        """Whether the result is not consistent with the noise."""
        return self.check.in_doubt or self.risk > 1


@dataclass
class Judge:
    """Judges results on the same parts of the images.

    sources: the images. explanations: of their noise, the most probable one first. limits: of each channel, saturated
    pixel values or None.
    """

    sources: Sequence[Source]
    explanations: Sequence[Explanation]
    limits: Sequence[float | None] = ()
    parts: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def judge(self, method: Method, net: Denoiser, spatial: str) -> Judgement:
        """Judge a trained network that sees these spatial axes together."""
        if spatial not in self.parts:
            self.parts[spatial] = self._read(spatial)
        noisy, valid = self.parts[spatial]
        device = next(net.buffers()).device
        noisy, valid = noisy.to(device), valid.to(device)
        denoise = as_function(method, net)
        weight = 1 / self._variance(noisy)
        checks = [
            check_consistency(
                noisy, ChannelNoise([model.typical() for model in one.noise_models]), denoise, valid=valid,
                weight=weight, stability=number == 0,
            )
            for number, one in enumerate(self.explanations)
        ]  # fmt: skip
        shares = [one.probability / sum(other.probability for other in self.explanations) for one in self.explanations]
        unit = sum(share * check.noise for share, check in zip(shares, checks, strict=True))
        risk = sum(share * check.risk for share, check in zip(shares, checks, strict=True))
        error = sum(share * check.risk_error for share, check in zip(shares, checks, strict=True))
        held_out = None
        if self.explanations[0].white:
            errors = held_out_errors(noisy, denoise) * weight
            scored = errors[valid & errors.isfinite()]
            held_out = float(scored[scored <= scored.quantile(TYPICAL)].mean()) / unit
        return Judgement(risk / unit, error / unit, held_out, checks[0])

    def _variance(self, noisy: Tensor) -> Tensor:
        """Noise variance at a smooth version of the images, under the most probable explanation."""
        smooth = neighbour_mean(neighbour_mean(noisy))
        noise = ChannelNoise([model.typical() for model in self.explanations[0].noise_models])
        variance = noise.mean_var(smooth.double())[1].to(noisy)
        return variance.clamp(min=1e-3 * float(variance.mean()))

    def _read(self, spatial: str) -> tuple[Tensor, Tensor]:
        """The middle of some images (N, C, *S), ADU, and which of their pixels count."""
        found = [
            (source, region) for source in self.sources for region in Layout(source.axes, spatial).images(source.shape)
        ]
        chosen = evenly(found, PARTS)
        sizes = [min(source.size_of(axis) for source, _ in chosen) for axis in spatial]
        if len(spatial) == 3:
            sizes[0] = min(sizes[0], DEPTH)
        channels = chosen[0][0].size_of("C")
        side = (MOST_PIXELS / (len(chosen) * channels * int(np.prod(sizes[:-2])))) ** 0.5
        sizes = [*sizes[:-2], *(min(size, max(int(side), 32)) for size in sizes[-2:])]
        images = np.stack([middle_of(source, region, spatial, sizes) for source, region in chosen])
        valid = np.isfinite(images)
        for channel, limit in enumerate(self.limits):
            valid[:, channel] &= images[:, channel] != limit if limit is not None else True
        filled = np.where(np.isfinite(images), images, np.nanmedian(images))
        return torch.from_numpy(filled).float(), torch.from_numpy(valid)


def middle_of(source: Source, region: Region, spatial: str, sizes: Sequence[int]) -> Array:
    """The middle of one image, (C, *S)."""
    straight = aligned(source)
    parts = {
        axis: slice(start := (source.size_of(axis) - size) // 2, start + size)
        for axis, size in zip(spatial, sizes, strict=True)
    }
    cut = tuple(parts.get(axis, part) for axis, part in zip(source.axes, region, strict=True))
    image: Array = Layout(source.axes, spatial).to_network(read_light(straight, cut))[0]
    return image


def as_function(method: Method, net: Denoiser) -> DenoiseFunction:
    """A trained network as a function of images (N, C, *S)."""
    predictor = Predictor(method, net.eval())

    def posterior(noisy: Tensor) -> Posterior[Tensor]:
        return predictor.posterior(noisy, transforms=1)

    return posterior
