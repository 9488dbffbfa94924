"""Find pixels that are not light: exact constants around registered images, in masked backgrounds, in blank frames."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from noisewise.axes import Array, Layout, Region
from noisewise.io.base import Source

PLANES, BLOCK = 8, 2048  # that are searched: planes, and pixels along each side
SIDE = 5  # pixels: a fill covers squares of this size
RING = 6  # pixels around a fill, in which its value is rare
LEAST_PIXELS = 64
ENCLOSED, HOLES, FEW = 0.8, 2e-4, 4  # photons in the dark: other pixels within such a part of it, per pixel of it
RARE = 0.5  # of the pixels in the ring: more often, it is a dark region of few photons, or of weak noise


def mark_fill(source: Source) -> None:
    """Find the fill value of each channel, for `filled`, and note how much of the image it is."""
    if source.fill is not None:
        return
    layout = Layout(source.axes, "YX")
    regions = list(layout.images(source.shape))
    chosen = [regions[i] for i in np.unique(np.linspace(0, len(regions) - 1, PLANES).round().astype(int))]
    areas: list[dict[float, int]] = [{} for _ in range(source.size_of("C"))]
    size = 0
    for part in (part for region in chosen for part in corners(region, source.axes)):
        plane = layout.to_network(source.read(part))[0]
        size += prod(plane.shape[1:])
        for channel, of_channel in zip(plane, areas, strict=True):
            value, area = fill_value(channel)
            of_channel[value] = of_channel.get(value, 0) + area
    found: dict[int, float] = {}
    for channel, of_channel in enumerate(areas):
        if 0 < sum(of_channel.values()) < size:
            found[channel] = max(of_channel, key=of_channel.__getitem__)
            fraction = sum(of_channel.values()) / size
            where = f" of channel {channel}" if source.size_of("C") > 1 else ""
            source.notes.append(
                f"about {100 * fraction:.2g} % of the pixels{where} are exactly {found[channel]:g}, which noise cannot "
                f"leave: they were filled in, are left out, and stay as they are"
            )
    source.fill = found


def corners(region: Region, axes: str) -> list[Region]:
    """Blocks of a region: the region itself, its halves along a longer axis, or the two ends of a very long one."""

    def ends(part: slice, axis: str) -> tuple[slice, ...]:
        size = part.stop - part.start
        if axis not in "YX" or size <= BLOCK:
            return (part,)
        first, last = min(BLOCK, size // 2), min(BLOCK, size - size // 2)
        return slice(part.start, part.start + first), slice(part.stop - last, part.stop)

    return list(product(*map(ends, region, axes)))


def fill_value(plane: Array) -> tuple[float, int]:
    """The value that fills most of a plane (Y, X), and the number of its pixels; 0 if none does."""
    same = plane[1:, 1:] == plane[:-1, :-1]
    same &= plane[1:, 1:] == plane[1:, :-1]
    same &= plane[1:, 1:] == plane[:-1, 1:]
    if not same.any():
        return 0.0, 0
    values, counts = np.unique(plane[1:, 1:][same], return_counts=True)
    value = values[counts.argmax()]
    highest = np.nanmax(plane)
    if value == highest and np.nanmin(plane) < highest:  # saturated
        return 0.0, 0
    mask = opened(plane == value)
    area = int(mask.sum())
    if area < LEAST_PIXELS:
        return 0.0, 0
    around, square = counted(mask, 2 * RING + 1, False), (2 * RING + 1) ** 2
    ring, holes = (around > 0) & ~mask, (around > ENCLOSED * square) & ~mask
    often = ring.any() and (plane[ring] == value).mean() > RARE
    if often or int(holes.sum()) > max(FEW, HOLES * area):
        return 0.0, 0
    return float(value), area


def opened(mask: Array) -> Array:
    """The pixels of a mask (..., Y, X) in squares that it covers; outside of the image it covers everything."""
    half = SIDE // 2
    # Squares may reach beyond the border: their centres too.
    grown = np.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(2 * half, 2 * half)] * 2, constant_values=True)
    inside = np.pad(combined(grown, np.logical_and), [(0, 0)] * (mask.ndim - 2) + [(half, half)] * 2)
    return combined(inside, np.logical_or)[..., half:-half, half:-half]


def combined(mask: Array, operation: np.ufunc) -> Array:
    """The masks (..., Y, X) of the pixels in each square of `SIDE`, combined; smaller by `SIDE` − 1."""
    for axis in (-1, -2):
        lines = np.moveaxis(mask, axis, 0)
        size = len(lines) - SIDE + 1
        result = lines[:size].copy()
        for shift in range(1, SIDE):
            operation(result, lines[shift : shift + size], out=result)
        mask = np.moveaxis(result, 0, axis)
    return mask


def counted(mask: Array, side: int, outside: bool) -> Array:
    """How many pixels of the square around each pixel belong to a mask (..., Y, X)."""
    half = side // 2
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(half, half)] * 2, constant_values=outside)
    total = np.pad(padded.astype(np.int32).cumsum(-1).cumsum(-2), [(0, 0)] * (mask.ndim - 2) + [(1, 0)] * 2)
    return np.asarray(
        total[..., side:, side:] - total[..., :-side, side:] - total[..., side:, :-side] + total[..., :-side, :-side]
    )


def filled(source: Source, region: Region) -> Array:
    """True where pixels of a region, with all channels, are fill; the mask is that of the whole image."""
    return read_with_mask(source, region)[1]


def read_with_mask(source: Source, region: Region) -> tuple[Array, Array]:
    """The pixels of a region, with all channels, and where they are fill."""
    y, x = source.axes.index("Y"), source.axes.index("X")
    wide, inner = list(region), [slice(None)] * len(region)
    for axis in (y, x):
        start = max(region[axis].start - 2 * SIDE, 0)
        wide[axis] = slice(start, min(region[axis].stop + 2 * SIDE, source.shape[axis]))
        inner[axis] = slice(region[axis].start - start, region[axis].stop - start)
    around = source.read(tuple(wide))
    pixels = np.moveaxis(around, (y, x), (-2, -1))
    mask = np.zeros(pixels.shape, bool)
    others = [axis for axis in source.axes if axis not in "YX"]
    for channel, value in (source.fill or {}).items():
        one = tuple(slice(channel, channel + 1) if axis == "C" else slice(None) for axis in others)
        mask[one] = opened(pixels[one] == value)
    return around[tuple(inner)], np.moveaxis(mask, (-2, -1), (y, x))[tuple(inner)]


def read_light(source: Source, region: Region) -> Array:
    """Read a region, with all channels, with NaN in place of fill."""
    if not source.fill:
        return source.read(region)
    pixels, mask = read_with_mask(source, region)
    return np.where(mask, np.nan, pixels)


def with_fill(source: Source, region: Region, result: Array) -> Array:
    """A result for a region, with the fill of the source as it is."""
    if not source.fill:
        return result
    pixels, mask = read_with_mask(source, region)
    return np.where(mask, pixels, result)
