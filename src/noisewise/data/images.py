"""Training images: sources and their targets, read with masks of valid pixels, and counts of excluded pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from noisewise.axes import Array, Layout, Region, region_shape
from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.io.light import read_with_mask

BANDS, BAND_PIXELS = 16, 1 << 20  # images are read in about so many parts, of at least so many pixels each
LINES = 1 << 10  # that are filled together


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
    """Read a region of one image; pixels that are not finite are filled. Those and saturated pixels are not valid.

    It is read in bands, so that little more memory is used than for what is returned.
    """
    pixel_counts = PixelCounts()
    noisy, valid = read_bands(image, image.noisy, region, pixel_counts)
    if image.target is None:
        return Pixels(noisy, valid, None, pixel_counts)
    target, target_valid = read_bands(image, image.target, region, PixelCounts())
    valid &= target_valid
    return Pixels(noisy, valid, target, pixel_counts)


def read_bands(image: TrainingImage, source: Source, region: Region, counts: PixelCounts) -> tuple[Array, Array]:
    """float32 pixels (C, *spatial) and their valid mask; `counts` receives the numbers of excluded pixels."""
    spatial = [image.layout.axes.index(letter) for letter in image.layout.spatial]
    shape = (source.size_of("C"), *region_shape([region[at] for at in spatial]))
    pixels, valid, finite = np.empty(shape, np.float32), np.empty(shape, bool), True
    first, start = spatial[0], region[spatial[0]].start
    for rows in bands(shape):
        band = (*region[:first], slice(start + rows.start, start + rows.stop), *region[first + 1 :])
        read, mask = read_with_mask(source, band) if source is image.noisy else (source.read(band), None)
        raw = image.layout.to_network(read)[0]
        with np.errstate(over="ignore", invalid="ignore"):  # values outside the range of float32 become infinite
            pixels[:, rows] = raw
        good, saturated, left_out = np.isfinite(pixels[:, rows]), is_saturated(raw, source), 0
        if mask is not None and mask.any():
            filled = image.layout.to_network(mask)[0]
            left_out = int((good & filled).sum())
            pixels[:, rows][filled] = np.nan
            good &= ~filled
            saturated &= ~filled
        counts.pixels += raw.size
        counts.not_finite += raw.size - int(good.sum()) - left_out
        counts.saturated += int(saturated.sum())
        finite &= bool(good.all())
        np.logical_and(good, np.logical_not(saturated, out=saturated), out=valid[:, rows])
    if not finite:
        fill_missing(pixels, np.isfinite(pixels))
    return pixels, valid


def bands(shape: Sequence[int], most: int = BANDS) -> list[slice]:
    """Divide the first spatial axis of images (C, *spatial) into parts of `BAND_PIXELS` or more.

    most: about so many; the default is for files, whose chunks are decoded again for each part that they reach into.
    """
    size, number = shape[1], max(1, min(most, prod(shape) // BAND_PIXELS))
    step = max(1, size // number)
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def fill(image: Array) -> tuple[Array, Array]:
    """Replace NaN and ±inf by the nearest values; returns float32 (C, *spatial) and the mask of finite pixels."""
    with np.errstate(over="ignore", invalid="ignore"):  # values outside the range of float32 become infinite
        values = np.array(image, np.float32, order="C")
    finite = np.isfinite(values)
    fill_missing(values, finite)
    return values, finite


def fill_missing(images: Array, good: Array) -> None:
    """Replace the other pixels of images (C, *spatial), in place: by the nearest good one along X, else along Y.

    In a slice without any, by the median of the channel; in a channel without any, by 0.
    """
    width = images.shape[-1]
    for image, known in zip(images, good, strict=True):
        if known.all():
            continue
        lines, known_lines = image.reshape(-1, width), known.reshape(-1, width)
        for start in range(0, len(lines), LINES):
            part, known_part = lines[start : start + LINES], known_lines[start : start + LINES]
            if not known_part.all():
                part[:] = np.take_along_axis(part, nearest(known_part), 1)
        slices, whole = lines.reshape(-1, image.shape[-2], width), known_lines.any(1).reshape(-1, image.shape[-2])
        empty = np.median(image[known]) if known.any() else np.float32(0)
        for slice_yx, some, at in zip(slices, whole.any(1), nearest(whole), strict=True):
            slice_yx[:] = slice_yx[at] if some else empty


def nearest(known: Array) -> Array:
    """For each place in lines (N, size), the nearest known one, the first of two; the last one if none is known."""
    size = known.shape[1]
    place = np.arange(size)
    before = np.maximum.accumulate(np.where(known, place, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, place, size)[:, ::-1], axis=1)[:, ::-1]
    first = (before >= 0) & ((after >= size) | (place - before <= after - place))
    return np.where(first, before, np.minimum(after, size - 1))


def is_saturated(image: Array, source: Source) -> Array:
    """True where an image (C, *spatial) is at the saturation level of its source."""
    return np.asarray(image == np.reshape(source.saturation_level, (-1, *[1] * (image.ndim - 1))))


def nbytes(image: TrainingImage) -> int:
    """Memory in bytes for training on the whole image: float32 and a mask, and float32 for a target."""
    images = 1 if image.target is None else 2
    return int(np.prod(region_shape(image.noisy.everything))) * (4 * images + 1)
