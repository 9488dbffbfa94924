"""What training reads: sources (with their targets), cleaned, and the counts of what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisewise.axes import Array, Layout, Region, region_shape
from noisewise.errors import UserError
from noisewise.io.base import Source


@dataclass(frozen=True)
class TrainingImage:
    """A noisy image, its target where the method needs one, and how both lie before the network."""

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
                f"{self.noisy.name}'s {self.noisy.shape}; give one target of the same shape an image"
            )

    @property
    def size(self) -> tuple[int, ...]:
        """Spatial size."""
        return tuple(self.noisy.size_of(axis) for axis in self.layout.spatial)

    def images(self) -> Iterator[Region]:
        """The single images along the batch axes."""
        return self.layout.images(self.noisy.shape)


@dataclass
class PixelCounts:
    """How many pixels could not teach, by reason."""

    pixels: int = 0
    not_finite: int = 0
    saturated: int = 0

    def notes(self) -> list[str]:
        """What to tell the user; empty if all is well."""
        return [
            f"{count:,} of {self.pixels:,} pixels are {what}: left out of training, {then}"
            for count, what, then in (
                (self.not_finite, "NaN or infinite", "kept as they are in the output"),
                (self.saturated, "saturated", "estimated from their neighbours in the output"),
            )
            if count
        ]


@dataclass
class Pixels:
    """A piece of one image as the network sees it: (C, *spatial) float32, where it is usable, where it lies."""

    noisy: Array
    usable: Array
    target: Array | None = None
    pixel_counts: PixelCounts = field(default_factory=PixelCounts)
    corner: tuple[int, ...] = ()


def load(scene: TrainingImage, region: Region) -> Pixels:
    """Read a region of one image; pixels that are not finite are filled, those and saturated ones not usable."""
    raw = scene.layout.to_network(scene.noisy.read(region))[0]
    noisy, finite = fill(raw)
    saturated = at_top(raw, scene.noisy.top)
    usable = finite & ~saturated
    pixel_counts = PixelCounts(raw.size, raw.size - int(finite.sum()), int(saturated.sum()))
    if scene.target is None:
        return Pixels(noisy, usable, None, pixel_counts)
    target_raw = scene.layout.to_network(scene.target.read(region))[0]
    target, target_finite = fill(target_raw)
    return Pixels(noisy, usable & target_finite & ~at_top(target_raw, scene.target.top), target, pixel_counts)


def fill(image: Array) -> tuple[Array, Array]:
    """float32 with NaN and ±inf replaced by the channel's median, and the mask of what was finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is not finite either
        values = image.astype(np.float32)
    finite = np.isfinite(values)
    for channel, good in zip(values, finite, strict=True):
        if not good.all():
            channel[~good] = np.median(channel[good]) if good.any() else 0.0
    return values, finite


def at_top(image: Array, top: Any) -> Array:
    """True where an image (C, *spatial) is saturated; top: of its source."""
    return np.asarray(image == np.reshape(top, (-1, *[1] * (image.ndim - 1))))


def nbytes(scene: TrainingImage) -> int:
    """Memory that training on this scene takes when it is held whole: float32 and a mask, twice for a target."""
    images = 1 if scene.target is None else 2
    return int(np.prod(region_shape(scene.noisy.everything))) * (4 * images + 1)
