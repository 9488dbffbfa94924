"""Pixels that are not light: found when an image is opened, and left out or replaced when it is read."""

from __future__ import annotations

from itertools import product

import numpy as np

from noisewise.axes import Array, Layout, Region
from noisewise.io.base import HotPixels, NotLight, Source
from noisewise.io.fill import SIDE, fill_value, opened
from noisewise.io.hot_pixels import find_hot_pixels, without_hot_pixels
from noisewise.io.scan_lines import LEAST, line_displacement

PLANES, BLOCK = 8, 2048  # that are searched: planes, and pixels along each side
HOT_BLOCK = 1024  # pixels along each side of the part of a plane in which hot pixels are searched


def inspect_pixels(source: Source) -> None:
    """Find the fill value and the hot pixels of each channel, and displaced lines; note what was found."""
    if source.not_light is not None:
        return
    layout = Layout(source.axes, "YX")
    regions = list(layout.images(source.shape))
    chosen = [regions[i] for i in np.unique(np.linspace(0, len(regions) - 1, PLANES).round().astype(int))]
    planes = [[layout.to_network(source.read(part))[0] for part in corners(region, source.axes)] for region in chosen]
    fill: dict[int, float] = {}
    hot: dict[int, HotPixels] = {}
    for channel in range(source.size_of("C")):
        where = f" of channel {channel}" if source.size_of("C") > 1 else ""
        areas: dict[float, int] = {}
        for value, area in (fill_value(part[channel]) for parts in planes for part in parts):
            if area:
                areas[value] = areas.get(value, 0) + area
        size = sum(part[channel].size for parts in planes for part in parts)
        if 0 < sum(areas.values()) < size:
            fill[channel] = max(areas, key=lambda value: areas[value])
            share = sum(areas.values()) / size
            source.notes.append(
                f"about {100 * share:.2g} % of the pixels{where} are exactly {fill[channel]:g}, which noise cannot "
                f"leave: they were filled in, are left out, and stay as they are"
            )
        found = find_hot_pixels([parts[0][channel][:HOT_BLOCK, :HOT_BLOCK] for parts in planes])
        if found is not None:
            hot[channel] = found
            source.notes.append(
                f"about {100 * found.fraction:.2g} % of the pixels{where} are hot or dead: single pixels, farther from "
                f"their neighbours than noise or any point of light; they are replaced by the median of these"
            )
    source.not_light = NotLight(fill, hot)
    source.line_displacement = line_displacement([channel for parts in planes for channel in parts[0]])
    if abs(source.line_displacement) > LEAST:
        source.notes.append(
            f"odd lines are displaced by {source.line_displacement:.1f} pixels along X, as in bidirectional scans: "
            f"lines are aligned before denoising, and put back; correct the phase of the scan in the microscope"
        )


def corners(region: Region, axes: str) -> list[Region]:
    """The region itself, or blocks at the four corners of a large one."""
    if all(part.stop - part.start <= 2 * BLOCK for part, axis in zip(region, axes, strict=True) if axis in "YX"):
        return [region]

    def ends(part: slice) -> tuple[slice, slice]:
        return slice(part.start, min(part.start + BLOCK, part.stop)), slice(
            max(part.stop - BLOCK, part.start), part.stop
        )

    return list(product(*(ends(part) if axis in "YX" else (part,) for part, axis in zip(region, axes, strict=True))))


def read_with_mask(source: Source, region: Region) -> tuple[Array, Array]:
    """The pixels of a region, with all channels and without hot pixels, and where they are fill.

    Both are those of the whole image, whatever the region.
    """
    known = source.not_light or NotLight()
    y, x = source.axes.index("Y"), source.axes.index("X")
    wide, inner = list(region), [slice(None)] * len(region)
    for axis in (y, x):
        start = max(region[axis].start - 2 * SIDE, 0)
        wide[axis] = slice(start, min(region[axis].stop + 2 * SIDE, source.shape[axis]))
        inner[axis] = slice(region[axis].start - start, region[axis].stop - start)
    pixels = np.moveaxis(source.read(tuple(wide)), (y, x), (-2, -1))
    mask = np.zeros(pixels.shape, bool)
    others = [axis for axis in source.axes if axis not in "YX"]
    for channel in {*known.fill, *known.hot}:
        one = tuple(slice(channel, channel + 1) if axis == "C" else slice(None) for axis in others)
        if channel in known.fill:
            mask[one] = opened(pixels[one] == known.fill[channel])
        if channel in known.hot:
            pixels[one] = np.where(mask[one], pixels[one], without_hot_pixels(pixels[one], known.hot[channel]))
    pixels, mask = (np.moveaxis(part, (-2, -1), (y, x))[tuple(inner)] for part in (pixels, mask))
    return pixels, mask


def read_light(source: Source, region: Region) -> Array:
    """Read a region, with all channels, with NaN in place of fill, and without hot pixels."""
    if not is_known(source):
        return source.read(region)
    pixels, mask = read_with_mask(source, region)
    return np.where(mask, np.nan, pixels) if mask.any() else pixels


def read_single(source: Source, layout: Layout, image: Region, spatial: Region) -> Array:
    """`read_light` of a spatial region of one single image, for the network: (C, *spatial)."""
    planes: Array = layout.to_network(read_light(source, layout.within(image, spatial)))
    return np.asarray(planes[0])


def with_fill(source: Source, region: Region, result: Array) -> Array:
    """A result for a region, with the fill of the source as it is."""
    if source.not_light is None or not source.not_light.fill:
        return result
    pixels, mask = read_with_mask(source, region)
    return np.where(mask, pixels, result)


def is_known(source: Source) -> bool:
    """Whether an image has pixels that are not light."""
    return source.not_light is not None and bool(source.not_light.fill or source.not_light.hot)
