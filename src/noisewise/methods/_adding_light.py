"""Samples of p(s|x) by adding light: exposures are drawn at the present estimate until there is no noise left.

For every network that is conditioned on the noise, and so knows E[s | y] at every light; `simulated` and `gap` use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from noisewise.methods._conditioned import ConditionedSettings
from noisewise.methods.base import Denoiser
from noisewise.methods.losses.conditioned import moments
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.counter_noise import drawn_at
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated, convolved
from noisewise.noise.ops.conditioning import NoiseFeatures
from noisewise.noise.ops.exposure import exposure_noise
from noisewise.posterior import MODE

Key = tuple[int, ...]  # seed, sample and channel of an image, step
PIXELS, ROWS, COLUMNS = range(3)  # random fields of an exposure
ACCELERATION = 1.7  # power of the number of a step, with which the logarithm of the light grows
SPREAD = 1.3  # of samples of the packaged network, which responds to noise too little where there is much light
SPREADS, SPREAD_POWER = (1.0, 1.6), 0.6  # smallest and largest; the variance of samples grows with this power of it


@dataclass(frozen=True, kw_only=True)
class LightSettings(ConditionedSettings):
    """Settings of methods whose samples add light."""

    growth: Annotated[float, Interval(gt=1, le=1e6)] = 400.0
    """light of a sample, relative to the image"""
    passes: Annotated[int, Interval(ge=2, le=1000)] = 12
    """number of times that a sample goes through the network"""

    def lights(self, first: float = 1.0) -> list[float]:
        """The light of the image, and after each step: little is added at first, when most is decided."""
        parts = (number / (self.passes - 1) for number in range(self.passes))
        return [first * self.growth**part for part in (one**ACCELERATION for one in parts)]

    def fit_samples(self, net: Denoiser, patches: Tensor) -> None:
        """Set the spread with which samples have the variance that the network predicts."""
        net.spread.zero_()
        ratios, places = list[Tensor](), tuple(range(1, patches.ndim - 1))
        for number, patch in enumerate(patches[:, None]):
            with torch.inference_mode():
                std = self.posterior(net, patch).std
                pair = self.sampler(net, patch, None, seed=number)((0, 1))
            assert std is not None
            ratios.append(pair.double().var(0)[0].mean(places) / std.double().square()[0].mean(places))
        ratio = torch.stack(ratios).mean(0)
        found = (SPREAD * ratio ** (-1 / SPREAD_POWER)).clamp(*SPREADS)
        net.spread.copy_(torch.where(torch.isfinite(ratio) & (ratio > 0), found, 0.0).reshape(net.spread.shape))


def add_light(
    image: Tensor, first: Tensor, lights: Sequence[float], denoise: Callable[[Tensor, float], Tensor],
    noise: Callable[[Tensor, float, int], Tensor] | None, spread: float | Tensor = 1.0,
) -> Tensor:  # fmt: skip
    """A sample of p(s|x) for each image.

    Let y be the image with light a, and D(y; a) = E[s | y]. With more light e, drawn from the noise model at the
    estimate, y ← (a y + e (D(y; a) + n / √e)) / (a + e). As e → 0, y becomes s plus the noise of a light a → ∞, with
    s ~ p(s | x), and D(y; a) becomes s. With few steps, y would spread too little, since the estimate lacks the
    variance of s given y. How D changed in the step before, its answer to that noise n, stands for it:

        y ← (a y + e (D(y; a) + β (D(y; a) − D(y'; a')) + n / √e)) / (a + e),  β = (√(a / a') − 1) √r / (r − 1),

    with r = (a + e) / a, is exact where D(y; a) = y. For Gaussian signals and twelve passes to 400 times the light,
    variances are right within 3 %, where the signal has a tenth of the power of the noise or more.

    image, first: the images, and E[s | x]. lights: of the images, and after each step. denoise: D(y; a). noise:
    (signal, light, step) -> noise of an exposure of a signal; None: the mode, with n = 0. spread: factor on β; 1 for
    an exact D.

    Sources: Eldan 2013, doi:10.1007/s00039-013-0214-y, and Montanari 2023, arXiv:2305.10690 (stochastic localization);
    Lu et al. 2022, arXiv:2211.01095 (multistep solvers of diffusion models).
    """
    seen, mean, before, last = image, first, first, 1.0
    for step, (light, more) in enumerate(pairwise(lights)):
        root = math.sqrt(more / light)
        added = mean + spread * (last - 1) * root / (root**2 - 1) * (mean - before)
        if noise is not None:
            added = added + noise(mean, more - light, step)
        seen = torch.lerp(added, seen, light / more)
        before, mean, last = mean, denoise(seen, more), root
    return mean


def light_sampler(
    net: Denoiser, noisy: Tensor, features: NoiseFeatures, lights: Sequence[float],
    coordinates: Tensor | None = None, seed: int = 0,
) -> Callable[[Sequence[int]], Tensor]:  # fmt: skip
    """Samples of p(s|x) for images (N, C, *S), image units: sample numbers -> (numbers, N, C, *S).

    net: conditioned on the noise. features: of the noise at light one. lights: of the image, and after each step.
    coordinates: (N, dims, *S), of each pixel in its whole image.
    """
    where = (grid_coordinates(noisy) if coordinates is None else coordinates)[0].cpu()
    image = noisy.float().flatten(0, 1)[:, None]
    first = estimate(net, image, features.with_light(lights[0]))
    of_channels = torch.where(net.spread > 0, net.spread, SPREAD).flatten()
    spread = of_channels.repeat(len(noisy)).reshape(-1, *[1] * (image.ndim - 1))

    def draw(numbers: Sequence[int]) -> Tensor:
        many, copies = features.repeat(len(numbers)), (len(numbers), *[1] * (image.ndim - 1))
        keys = [(seed, n, c) for n in numbers for _ in noisy for c in range(noisy.shape[1])]

        def denoise(seen: Tensor, light: float) -> Tensor:
            return estimate(net, seen, many.with_light(light))

        def noise(signal: Tensor, light: float, step: int) -> Tensor:
            return noise_of_exposure(net, signal, many, light, where, [(*key, step) for key in keys])

        drawn = add_light(
            image.repeat(copies), first.repeat(copies), lights, denoise, None if MODE in numbers else noise,
            spread.repeat(copies),
        )  # fmt: skip
        return drawn.reshape(len(numbers), *noisy.shape)

    return draw


def estimate(net: Denoiser, seen: Tensor, features: NoiseFeatures) -> Tensor:
    """E[s | y] of images (N·C, 1, *S)."""
    mean = net.unfold(moments(net, seen, features)[0])
    if net.keeps_noisy:
        mean = torch.lerp(mean, net.unfold(seen), net.kept_of(mean))
    return mean.flatten(0, 1)[:, None]


def noise_of_exposure(
    net: Denoiser, signal: Tensor, features: NoiseFeatures, light: float, where: Tensor, keys: Sequence[Key]
) -> Tensor:
    """Noise of an exposure of signals (N·C, 1, *S), a function of the keys and the coordinates (dims, *S)."""
    channels = len(net.mean)
    fields, offsets = (torch.empty(len(keys), count, *where.shape[1:]) for count in (2, 1))
    for channel in range(channels):
        mine = slice(channel, None, channels)
        fields[mine], offsets[mine] = random_fields(net.noise_model(channel), where, keys[mine])
    photons, read = (part[:, None] for part in fields.to(signal).unbind(1))
    return exposure_noise(signal, features, light, photons, read) + offsets.to(signal) / math.sqrt(light)


def random_fields(noise_model: Noise, where: Tensor, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
    """Two normal fields (N, 2, *S), correlated as the noise is, and row and column offsets (N, 1, *S), ADU."""
    model = noise_model.spectral_approximation()
    if not isinstance(model, Correlated):
        return drawn_at(where, [(*key, PIXELS) for key in keys], 2), torch.zeros(1)
    offsets = torch.zeros(1)
    for field, axis, kernel in ((ROWS, -1, model.row_kernel[:, None]), (COLUMNS, -2, model.column_kernel[None])):
        if kernel.any():
            line = where.clone()
            line[axis] = 0  # the same along this axis
            offsets = offsets + filtered_field(line, [(*key, field) for key in keys], 1, kernel)
    return filtered_field(where, [(*key, PIXELS) for key in keys], 2, model.kernel), offsets


def filtered_field(where: Tensor, keys: Sequence[Key], count: int, kernel: Tensor) -> Tensor:
    """Normal fields (N, count, *S), convolved with a kernel (Y, X)."""
    reach = (*[0] * (len(where) - 2), *(side // 2 for side in kernel.shape))
    return drawn_at(where, keys, count, reach, partial(convolved, kernel=kernel))
