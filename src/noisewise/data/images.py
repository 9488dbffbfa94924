"""Training images: sources and their targets, read with masks of valid pixels, and counts of excluded pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from noisewise.axes import Array, Layout, Region, region_shape
from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.io.light import read_with_mask


@dataclass(frozen=True)
class TrainingImage:
    """A noisy image, its target if the method needs one, and the layout of both for the network."""

    noisy: Source
    layout: Layout
    target: Source | None = None

    def __post_init__(self) -> None:
        for axis, size in zip(self.noisy.axes, self.noisy.shape, strict=True):
            if size == 0:
                raise UserError(f"{self.noisy.name}: axis {axis} has size 0; there is nothing to denoise")
        if self.target is not None and self.target.shape != self.noisy.shape:
            raise UserError(
                f"{self.target.name}: the target's shape {self.target.shape} differs from "
                f"{self.noisy.name}'s {self.noisy.shape}; give one target of the same shape for each image"
            )

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size in pixels."""
        return tuple(self.noisy.size_of(axis) for axis in self.layout.spatial)

    def images(self) -> Iterator[Region]:
        """Regions of the single images along the batch axes."""
        return self.layout.images(self.noisy.shape)


@dataclass
class PixelCounts:
    """Numbers of pixels that were excluded from training, by reason."""

    pixels: int = 0
    not_finite: int = 0
    saturated: int = 0

    def notes(self) -> list[str]:
        """Messages for the user; empty if no pixel was excluded."""
        return [
            f"{count:,} of {self.pixels:,} pixels {'is' if count == 1 else 'are'} {what}: left out of training, {then}"
            for count, what, then in (
                (self.not_finite, "NaN or infinite", "kept as they are in the output"),
                (self.saturated, "saturated", "estimated from their neighbours in the output"),
            )
            if count
        ]


@dataclass
class Pixels:
    """A region of one image for the network: (C, *spatial) float32, its valid mask, and its corner in the image."""

    noisy: Array
    valid: Array
    target: Array | None = None
    pixel_counts: PixelCounts = field(default_factory=PixelCounts)
    corner: tuple[int, ...] = ()


def load(image: TrainingImage, region: Region) -> Pixels:
    """Read a region of one image; pixels that are not finite are filled. Those and saturated pixels are not valid."""
    pixels, mask = read_with_mask(image.noisy, region)
    raw, filled = (image.layout.to_network(part)[0] for part in (pixels, mask))
    noisy, finite = fill(np.where(filled, np.nan, raw) if filled.any() else raw)
    saturated = is_saturated(raw, image.noisy) & ~filled
    valid = finite & ~saturated
    pixel_counts = PixelCounts(raw.size, int((~finite & ~filled).sum()), int(saturated.sum()))
    if image.target is None:
        return Pixels(noisy, valid, None, pixel_counts)
    target_raw = image.layout.to_network(image.target.read(region))[0]
    target, target_finite = fill(target_raw)
    return Pixels(noisy, valid & target_finite & ~is_saturated(target_raw, image.target), target, pixel_counts)


def fill(image: Array) -> tuple[Array, Array]:
    """Replace NaN and ±inf by the nearest values; returns float32 (C, *spatial) and the mask of finite pixels."""
    with np.errstate(over="ignore", invalid="ignore"):  # values outside the range of float32 become infinite
        values = image.astype(np.float32)
    finite = np.isfinite(values)
    for channel, good in zip(values, finite, strict=True):
        if not good.all():
            channel[~good] = nearest(channel, good)[~good] if good.any() else 0.0
    return values, finite


def nearest(image: Array, good: Array) -> Array:
    """An image (*spatial) with values of good pixels, and elsewhere of the nearest good pixel along X, else along Y."""
    known = good
    for axis in (-1, -2):
        size = image.shape[axis]
        place = np.arange(size).reshape(-1, *[1] * (-axis - 1))
        before = np.maximum.accumulate(np.where(known, place, -1), axis=axis)
        after = np.flip(np.minimum.accumulate(np.flip(np.where(known, place, size), axis), axis=axis), axis)
        first = (before >= 0) & ((after >= size) | (place - before <= after - place))
        chosen = np.where(first, before, np.minimum(after, size - 1))
        reached = (before >= 0) | (after < size)
        image = np.where(reached, np.take_along_axis(image, chosen, axis), image)
        known = np.broadcast_to(reached, image.shape)
    return np.where(known, image, np.median(image[good]))


def is_saturated(image: Array, source: Source) -> Array:
    """True where an image (C, *spatial) is at the saturation level of its source."""
    return np.asarray(image == np.reshape(source.saturation_level, (-1, *[1] * (image.ndim - 1))))


def nbytes(image: TrainingImage) -> int:
    """Memory in bytes for training on the whole image: float32 and a mask, and float32 for a target."""
    images = 1 if image.target is None else 2
    return int(np.prod(region_shape(image.noisy.everything))) * (4 * images + 1)
