"""Compare trained models by their expected error on parts of the images, without a truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array, Layout, Region, evenly
from noisewise.data.images import fill
from noisewise.estimate.planes import cuts_of, fullest
from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.consistency import check_consistency
from noisewise.evaluate.expected_gain import Power
from noisewise.evaluate.held_out import held_out_errors, neighbour_mean
from noisewise.io.base import Source
from noisewise.io.light import read_light
from noisewise.io.scan_lines import aligned
from noisewise.methods.base import Denoiser, Method
from noisewise.noise.base import Noise
from noisewise.workflow.packaged import as_function, for_checks

MOST_PIXELS, PARTS, DEPTH = 1 << 16, 4, 8  # of all parts together; parts; slices of a part
TYPICAL = 0.98  # of the hidden pixels: without those that no method predicts, such as letters in a data bar


@dataclass(frozen=True)
class Explanation:
    """Noise models of all channels, and the check-ups of those with light, which they are made from."""

    noise_models: tuple[Noise, ...]
    checkups: tuple[NoiseReport, ...]

    @property
    def probability(self) -> float:
        """The probability that it is right."""
        return min(one.probability for one in self.checkups)

    @property
    def log_variance_error(self) -> float:
        """Standard error of the logarithm of the noise variance."""
        return max(one.log_variance_error for one in self.checkups)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of noise, by channel."""
        return tuple(one.kind for one in self.checkups)

    @property
    def white(self) -> bool:
        """Whether the noise of each pixel is independent of its neighbours'."""
        return set(self.kinds) == {"white"}


@dataclass(frozen=True)
class Judgement:
    """What is expected of a result: its power under each explanation, and whether what it removes is none such noise.

    held_out: squared error of hidden pixels in units of the noise variance; None where it was not needed.
    """

    powers: tuple[Power, ...]
    inconsistent: bool
    held_out: float | None = None


@dataclass
class Judge:
    """Judges results on the same parts of the images; for networks that see stacks and those that see planes, others.

    sources: the images. explanations: of their noise, the most probable one first. limits: saturated pixel values, by
    channel. known: parts that were read.
    """

    sources: Sequence[Source]
    explanations: Sequence[Explanation]
    limits: Mapping[int, float] = field(default_factory=dict)
    known: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def judge(self, method: Method, net: Denoiser, spatial: str) -> Judgement:
        """Judge a trained network that sees these spatial axes together."""
        noisy, valid = self.parts(spatial)
        denoise, weight = as_function(method, net), 1 / self._variance(noisy)
        denoised = denoise(noisy)
        checks = [
            check_consistency(
                noisy, for_checks(one.noise_models), denoise, valid=valid, weight=weight, stability=False,
                denoised=denoised,
            )
            for one in self.explanations
        ]  # fmt: skip
        return Judgement(tuple(map(Power.of, checks)), all(one.other_noise for one in checks))

    def held_out(self, method: Method, net: Denoiser, spatial: str) -> float | None:
        """Squared error of hidden pixels, in units of the noise variance; None where noise is not independent."""
        if not self.explanations[0].white:
            return None
        noisy, valid = self.parts(spatial)
        errors = held_out_errors(noisy, as_function(method, net)) / self._variance(noisy)
        scored = errors[valid & errors.isfinite()]
        return None if not len(scored) else float(scored[scored <= scored.quantile(TYPICAL)].mean())

    def parts(self, spatial: str) -> tuple[Tensor, Tensor]:
        """The parts of the images that a network sees, and which of their pixels count.

        For one that sees planes, the planes of stacks that another one sees, if there is one.
        """
        if spatial not in self.known:
            stacks = [parts for axes, parts in self.known.items() if axes.endswith(spatial)]
            noisy, valid = stacks[0] if stacks else self._read(spatial)
            self.known[spatial] = (as_planes(noisy), as_planes(valid)) if stacks else (noisy, valid)
        return self.known[spatial]

    def _variance(self, noisy: Tensor) -> Tensor:
        """Noise variance at a smooth version of the images, under the most probable explanation."""
        smooth = neighbour_mean(neighbour_mean(noisy))
        variance = for_checks(self.explanations[0].noise_models).mean_var(smooth.double())[1].to(noisy)
        return variance.clamp(min=1e-3 * float(variance.mean()))

    def _read(self, spatial: str) -> tuple[Tensor, Tensor]:
        """A part of some images (N, C, *S), ADU, and which of their pixels count."""
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
        images = np.stack([part_of(source, region, spatial, sizes) for source, region in chosen])
        valid = np.isfinite(images)
        for channel, limit in self.limits.items():
            valid[:, channel] &= images[:, channel] != limit
        filled = fill(images.reshape(-1, *images.shape[2:]))[0].reshape(images.shape)
        return torch.from_numpy(filled), torch.from_numpy(valid)


def as_planes(stacks: Tensor) -> Tensor:
    """(N, C, Z, Y, X) -> (N·Z, C, Y, X)."""
    return stacks.transpose(1, 2).flatten(0, 1)


def part_of(source: Source, region: Region, spatial: str, sizes: Sequence[int]) -> Array:
    """The middle of one image, (C, *S); or in Y and X a corner, if that has more pixels that are finite."""
    straight, layout = aligned(source), Layout(source.axes, spatial)
    depth = {
        axis: slice(start := (source.size_of(axis) - size) // 2, start + size)
        for axis, size in zip(spatial[:-2], sizes[:-2], strict=True)
    }

    def read(cut: Region) -> Array:
        parts = depth | dict(zip("YX", cut, strict=True))
        chosen = tuple(parts.get(axis, part) for axis, part in zip(source.axes, region, strict=True))
        image: Array = layout.to_network(read_light(straight, chosen))[0]
        return image

    return fullest(map(read, cuts_of([source.size_of(axis) for axis in "YX"], sizes[-2:])))
