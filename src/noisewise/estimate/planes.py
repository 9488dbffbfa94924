"""The planes of an image that its noise is measured in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from noisewise.axes import Array, Layout, Region, evenly
from noisewise.io.base import Source
from noisewise.io.light import read_light
from noisewise.io.scan_lines import aligned
from noisewise.noise.fit.pixel_values import Limit, PixelValues

MAX_PLANES = 8
MAX_PIXELS = 2**21  # of all planes together: more cost time and add no precision


def read_planes(source: Source, channel: int, max_planes: int = MAX_PLANES) -> tuple[str, list[list[Array]]]:
    """Read planes (Y, X), float64, evenly spread over the image, each with the next one along T, or else along Z.

    Returns the axis ("" for none) and the groups of one or two planes; planes without a finite pixel are left out.
    """
    source = aligned(source)
    layout = Layout(source.axes, "YX")
    regions = list(layout.images(source.shape))
    axis = next((axis for axis in "TZ" if source.size_of(axis) > 1), "")
    if axis:
        position, size = source.axes.index(axis), source.size_of(axis)
        regions = [region for region in regions if region[position].stop < size]
    chosen = evenly(regions, max_planes)
    pixels = MAX_PIXELS // (MAX_PLANES // max_planes * len(chosen))
    groups = []
    for region in (central_region(one, source.axes, pixels) for one in chosen):
        group = different(read_channel(source, layout, region, channel))
        for later in (1, 2) if axis else ():  # the next plane, or the one after it if that is a copy
            if len(group) < 2:
                part = slice(region[position].start, min(region[position].start + 1 + later, size))
                wide = (*region[:position], part, *region[position + 1 :])
                group = different(read_channel(source, layout, wide, channel))
        groups.append(group)
    return axis, [group for group in groups if group]


def read_channel(source: Source, layout: Layout, region: Region, channel: int) -> Array:
    """The planes (N, Y, X) of one channel in a region."""
    planes: Array = layout.to_network(read_light(source, region))[:, channel]
    return planes


def different(planes: Array) -> list[Array]:
    """The first plane with light, float64, and the first one after it that is not a copy; as far as there are any."""
    light = [plane.astype(np.float64) for plane in planes if np.isfinite(plane).any()]
    return light[:1] + [plane for plane in light[1:] if not np.array_equal(plane, light[0], equal_nan=True)][:1]


def central_region(region: Region, axes: str, max_pixels: int) -> Region:
    """The centre of a region with at most `max_pixels` pixels in its plane YX, and the same aspect ratio."""
    sizes = [part.stop - part.start for part, axis in zip(region, axes, strict=True) if axis in "YX"]
    scale = min((max_pixels / (sizes[0] * sizes[1])) ** 0.5, 1.0)

    def central(part: slice) -> slice:
        size = part.stop - part.start
        start = part.start + (size - int(scale * size)) // 2
        return slice(start, start + int(scale * size))

    return tuple(central(part) if axis in "YX" else part for part, axis in zip(region, axes, strict=True))


def cuts_of(size: Sequence[int], cut: Sequence[int]) -> Iterator[Region]:
    """Parts (Y, X) of a plane of this size, which have the size `cut`: the middle, then the corners."""
    spare = [whole - part for whole, part in zip(size, cut, strict=True)]
    for shares in ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)):
        starts = [int(share * rest) for share, rest in zip(shares, spare, strict=True)]
        yield tuple(slice(start, start + part) for start, part in zip(starts, cut, strict=True))


def fullest(parts: Iterable[Array]) -> Array:
    """The first one whose pixels are all finite; else the one with the most that are."""
    best, most = np.empty(0), -1
    for part in parts:
        finite = int(np.isfinite(part).sum())
        if finite > most:
            best, most = part, finite
        if most == part.size:
            break
    return best


def valid_mask(group: list[Array], pixel_values: PixelValues) -> Array:
    """True where a pixel is finite and not saturated in any plane."""
    valid = np.all([np.isfinite(plane) for plane in group], 0)
    return np.asarray(valid & ~at_limit(group, pixel_values.high))


def at_limit(group: list[Array], limit: Limit | None) -> Array:
    """True where a pixel is clipped at a limit in any plane."""
    return np.asarray(
        np.any([np.zeros_like(plane, bool) if limit is None else plane == limit.value for plane in group], 0)
    )
