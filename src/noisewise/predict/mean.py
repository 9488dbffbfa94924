"""The mean of a result is that of the noisy image, however short the training was, and whatever it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod

import numpy as np
import torch

from noisewise.axes import Array, Layout, Region
from noisewise.io.base import Source
from noisewise.io.light import read_single
from noisewise.methods.base import Denoiser, Method

PIXELS = 1 << 16  # of an image that are compared with their result
SIDE = {2: (128, 128), 3: (16, 64, 64)}  # of the regions in which they are, pixels
FROM_LIMIT = 3.0  # standard deviations of the noise from a limit: nearer signals are clipped, and their mean is not s
LEAST = 0.1  # of the pixels must be that far from the limits
OUTLIER = 8.0  # root mean squares of x - s: pixels beyond are cosmic rays or the like, not noise
BY_CHANCE = 3.0  # standard errors, up to which means differ by chance


@dataclass(frozen=True)
class MeanCorrection:
    """s -> factor · s + shift for each channel, arrays (C, 1, ...), image units."""

    factor: Array
    shift: Array

    @classmethod
    def none(cls, net: Denoiser) -> MeanCorrection:
        """The correction that changes nothing."""
        shape = (len(net.mean), *[1] * net.dims)
        return cls(np.ones(shape, np.float32), np.zeros(shape, np.float32))

    def mean(self, image: Array) -> Array:
        """Corrected signals (..., C, *S)."""
        corrected: Array = image * self.factor + self.shift
        return corrected


def keep_mean(
    method: Method, net: Denoiser, source: Source, layout: Layout, *, together: int, most: float,
    denoise: Callable[[Array], Array],
) -> MeanCorrection:  # fmt: skip
    """The correction that keeps the mean of an image, from a part of its pixels.

    None where E[s|x] and x differ: for targets in other units, and fixed patterns. together: regions that are denoised
    at a time, each with `most` pixels. denoise: (N, C, *S) as read -> result.
    """
    if method.traits.needs == "clean" or any(noise_model.size is not None for noise_model in net.noise):
        return MeanCorrection.none(net)
    levels = np.broadcast_to(source.saturation_level, len(net.mean))
    return measure_correction(net, sampled_pairs(source, layout, net.stride, together, most, denoise), levels)


def measure_correction(net: Denoiser, pairs: Iterator[tuple[Array, Array]], levels: Array) -> MeanCorrection:
    """The correction from images as read (N, C, *S) and their results: ⟨x⟩ = ⟨s⟩ for each channel.

    A constant is added where the means differ by more than chance; for photon counts, whose signals are never negative,
    the light is multiplied. levels: at which the camera saturates, (C,). Pixels that are not finite (as float32),
    saturated, or near a limit of the noise model do not count.
    """
    found = MeanCorrection.none(net)
    images = list(pairs)
    for c in range(len(net.mean)):
        x, s = (np.concatenate([part[i][:, c].ravel() for part in images]).astype(np.float64) for i in (0, 1))
        recorded = (np.abs(x) <= np.finfo(np.float32).max) & (x != levels[c])
        used = recorded & far_from_limits(net, c, s)
        if used.sum() <= LEAST * recorded.sum():
            continue
        x, s = x[used], s[used]
        if net.no_light is not None:
            dark = float(net.no_light[c].flatten()[0])
            if s.mean() > dark:
                found.factor[c] = max(x.mean() - dark, 0.0) / (s.mean() - dark)
                found.shift[c] = dark * (1 - found.factor[c])
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # values whose squares are too large for float64
            difference = x - s
            difference = difference[np.abs(difference) <= OUTLIER * np.sqrt(np.mean(difference**2))]
            error = difference.std() / len(difference) ** 0.5
            if abs(difference.mean()) > BY_CHANCE * error:
                found.shift[c] = difference.mean()
    return found


def far_from_limits(net: Denoiser, channel: int, signal: Array) -> Array:
    """Where a signal is not clipped by its noise; everywhere without a noise model."""
    if not net.noise:
        return np.ones(signal.shape, bool)
    noise_model = net.noise_model(channel).typical()
    low, high = noise_model.quantization.low, noise_model.quantization.high
    if low is None and high is None:
        return np.ones(signal.shape, bool)
    std = noise_model.mean_var(torch.from_numpy(signal))[1].clamp(min=0).sqrt().numpy()
    least, most = (-np.inf if low is None else low), (np.inf if high is None else high)
    return np.asarray((signal > least + FROM_LIMIT * std) & (signal < most - FROM_LIMIT * std))


def sample_regions(size: Sequence[int], stride: Sequence[int], count: int, most: float) -> list[list[Region]]:
    """For each of `count` single images, regions spread over it; all together hold about `PIXELS` pixels.

    Small images are one region. A region has at most `most` pixels, and begins at multiples of the stride.
    """
    whole = tuple(slice(0, n) for n in size)
    if prod(size) <= min(max(PIXELS // count, prod(SIDE[len(size)])), most):
        images = np.unique(np.linspace(0, count - 1, max(1, PIXELS // prod(size))).round().astype(int))
        return [[whole] if i in images else [] for i in range(count)]
    side = [min(a, b) for a, b in zip(SIDE[len(size)], size, strict=True)]
    while prod(side) > max(most, prod(stride)):
        side = [max(s, n // 2) for n, s in zip(side, stride, strict=True)]
    regions = max(1, PIXELS // prod(side))
    rng = np.random.default_rng(0)
    found: list[list[Region]] = [[] for _ in range(count)]
    for image in np.linspace(0, count - 1, regions).round().astype(int):
        corner = [int(rng.integers(0, (n - a) // s + 1)) * s for n, a, s in zip(size, side, stride, strict=True)]
        found[image].append(tuple(slice(c, c + a) for c, a in zip(corner, side, strict=True)))
    return found


def sampled_pairs(
    source: Source, layout: Layout, stride: Sequence[int], together: int, most: float, denoise: Callable[[Array], Array]
) -> Iterator[tuple[Array, Array]]:
    """Regions of an image, as read, and their results, (N, C, *S); `together` are denoised at a time."""
    images = list(layout.images(source.shape))
    regions = sample_regions([source.size_of(axis) for axis in layout.spatial], stride, len(images), most)
    queue = ((image, region) for image, parts in zip(images, regions, strict=True) for region in parts)
    while batch := list(islice(queue, together)):
        noisy = np.stack([read_single(source, layout, image, region) for image, region in batch])
        yield noisy, denoise(noisy)
