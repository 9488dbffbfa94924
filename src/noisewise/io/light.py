"""Pixels that are not light: found when an image is opened, and left out or replaced when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from itertools import product

import numpy as np

from noisewise.axes import Array, Layout, Region, evenly
from noisewise.io.base import NotLight, Source
from noisewise.io.fill import SIDE, fill_value, opened
from noisewise.io.hot_pixels import find_hot_pixels, without_hot_pixels
from noisewise.io.scan_lines import LEAST, line_displacement

PLANES, BLOCK = 8, 2048  # that are searched: planes, and pixels along each side
MOST_VALUES = 4  # of one channel
HOT_PIXELS = 1 << 20  # of all planes together, in which hot pixels and displaced lines are searched


def inspect_pixels(source: Source, given: NotLight | None = None) -> None:
    """Find the fill value and the hot pixels of each channel, and displaced lines; note what was found.

    given: what the user excludes.
    """
    if source.not_light is not None:
        return
    source.not_light = given = given or NotLight()
    layout = Layout(source.axes, "YX")
    regions = list(layout.images(source.shape))
    chosen = evenly(regions, PLANES)
    chosen += [region for region in source.blank if region not in chosen]
    count = source.size_of("C")
    fill: dict[int, dict[float, int]] = {channel: {} for channel in range(count)}
    side = int((HOT_PIXELS / len(chosen)) ** 0.5)
    sizes, blocks = [0] * count, [list[Array]() for _ in range(count)]
    for region in chosen:
        for first, part in enumerate(corners(region, source.axes)):
            for channel, plane in enumerate(layout.to_network(read_light(source, part))[0]):
                add_fill(fill[channel], plane)
                sizes[channel] += plane.size
                if not first:
                    blocks[channel].append(plane[:side, :side].copy())
    fill = {channel: dict(sorted(areas.items(), key=lambda item: -item[1])[:MOST_VALUES])
            for channel, areas in fill.items() if channel not in given.left_out}  # fmt: skip
    empty = frozenset(channel for channel, areas in fill.items() if sum(areas.values()) == sizes[channel])
    if len(empty | given.left_out) == count:  # nothing is known of such an image
        empty, fill = frozenset(), {}
    hot = {channel: find_hot_pixels(planes) for channel, planes in enumerate(blocks)
           if channel not in empty | given.left_out}  # fmt: skip
    source.not_light = replace(
        given,
        fill={channel: tuple(areas) for channel, areas in fill.items() if areas},
        hot={channel: found for channel, found in hot.items() if found is not None},
        empty=empty,
    )
    source.notes += notes_of(source.not_light, fill, sizes)
    source.line_displacement = line_displacement([plane for planes in zip(*blocks, strict=True) for plane in planes])
    if abs(source.line_displacement) > LEAST:
        source.notes.append(
            f"odd lines are displaced by {source.line_displacement:.1f} pixels along X, as in bidirectional scans: "
            f"lines are aligned before denoising, and put back; correct the phase of the scan in the microscope"
        )


def add_fill(areas: dict[float, int], plane: Array) -> None:
    """Add the number of pixels (Y, X) of the value that fills parts of a plane, if there is one."""
    value, area = fill_value(plane)
    if area:
        areas[value] = areas.get(value, 0) + area


def notes_of(found: NotLight, fill: Mapping[int, Mapping[float, int]], sizes: Sequence[int]) -> Iterator[str]:
    """What was found in each channel: how many pixels, and what is done with them."""
    for channel, size in enumerate(sizes):
        where = f" of channel {channel}" if len(sizes) > 1 else ""
        values = " or ".join(f"{value:g}" for value in fill.get(channel, {}))
        if channel in found.empty:
            yield f"all pixels{where} are exactly {values}: it stays as it is"
        elif channel in found.fill:
            share = sum(fill[channel].values()) / size
            yield (
                f"about {100 * share:.2g} % of the pixels{where} are exactly {values}, which noise cannot leave: they "
                f"were filled in, are left out, and stay as they are"
            )
        if channel in found.hot:
            yield (
                f"about {100 * found.hot[channel].fraction:.2g} % of the pixels{where} are hot or dead: single pixels, "
                f"farther from their neighbours than noise or any point of light; they are replaced by the median of "
                f"these"
            )


def corners(region: Region, axes: str) -> list[Region]:
    """Blocks of a region: the region itself, its halves along a longer axis, or the two ends of a very long one."""

    def ends(part: slice, axis: str) -> tuple[slice, ...]:
        size = part.stop - part.start
        if axis not in "YX" or size <= BLOCK:
            return (part,)
        first, last = min(BLOCK, size // 2), min(BLOCK, size - size // 2)
        return slice(part.start, part.start + first), slice(part.stop - last, part.stop)

    return list(product(*map(ends, region, axes)))


def read_with_mask(source: Source, region: Region) -> tuple[Array, Array]:
    """The pixels of a region, with all channels and without hot pixels, and where they are fill.

    Both are those of the whole image, whatever the region.
    """
    known = source.not_light or NotLight()
    if not (known.fill or known.hot):
        plain = source.read(region)
        return plain, is_excluded(known, source, region, plain)
    y, x = source.axes.index("Y"), source.axes.index("X")
    wide, inner = list(region), [slice(None)] * len(region)
    for axis in (y, x):
        start = max(region[axis].start - 2 * SIDE, 0)
        wide[axis] = slice(start, min(region[axis].stop + 2 * SIDE, source.shape[axis]))
        inner[axis] = slice(region[axis].start - start, region[axis].stop - start)
    around = source.read(tuple(wide))
    pixels, mask = (
        np.moveaxis(part, (y, x), (-2, -1)) for part in (around, is_excluded(known, source, tuple(wide), around))
    )
    others = [axis for axis in source.axes if axis not in "YX"]
    for channel in {*known.fill, *known.hot}:
        one = tuple(slice(channel, channel + 1) if axis == "C" else slice(None) for axis in others)
        if channel in known.fill:
            mask[one] |= channel in known.empty
            for value in known.fill[channel] if channel not in known.empty else ():
                mask[one] |= opened(pixels[one] == value)
        if channel in known.hot:
            pixels[one] = np.where(mask[one], pixels[one], without_hot_pixels(pixels[one], known.hot[channel]))
    pixels, mask = (np.moveaxis(part, (-2, -1), (y, x))[tuple(inner)] for part in (pixels, mask))
    return pixels, mask


def is_excluded(known: NotLight, source: Source, region: Region, pixels: Array) -> Array:
    """True where pixels of a region were excluded."""
    found = np.zeros(pixels.shape, bool)
    for channel in known.left_out if "C" in source.axes else ():
        place = channel - region[source.axes.index("C")].start
        if 0 <= place < pixels.shape[source.axes.index("C")]:
            found[tuple(place if axis == "C" else slice(None) for axis in source.axes)] = True
    if known.ignore is not None:
        found |= pixels == known.ignore
    if known.mask is not None:
        mask, axes = known.mask, known.mask.axes
        part = mask.read(tuple(region[source.axes.index(axis)] for axis in axes)) == 0
        order = [axes.index(axis) for axis in source.axes if axis in axes]
        shape = [n if axis in axes else 1 for axis, n in zip(source.axes, pixels.shape, strict=True)]
        found |= part.transpose(order).reshape(shape)
    return found


def read_light(source: Source, region: Region) -> Array:
    """Read a region, with all channels, with NaN in place of fill, and without hot pixels."""
    pixels, mask = read_with_mask(source, region)
    return np.where(mask, np.nan, pixels) if mask.any() else pixels


def as_recorded(source: Source) -> Source:
    """The source with its hot pixels, and all others that are not light."""
    found = copy(source)
    found.not_light = NotLight()
    return found


def read_single(source: Source, layout: Layout, image: Region, spatial: Region) -> Array:
    """`read_light` of a spatial region of one single image, for the network: (C, *spatial)."""
    planes: Array = layout.to_network(read_light(source, layout.within(image, spatial)))
    return np.asarray(planes[0])


def with_fill(source: Source, region: Region, result: Array) -> Array:
    """A result for a region, with the fill of the source as it is."""
    known = source.not_light or NotLight()
    if not known.fill and not known.left_out and known.ignore is None and known.mask is None:
        return result
    pixels, mask = read_with_mask(source, region)
    return np.where(mask, pixels, result)


def has_repeated_planes(source: Source, along: str) -> bool:
    """Whether a plane of light equals the one before it along an axis, in some pairs spread over the first stack."""
    z, last = source.axes.index(along), source.size_of(along) - 2
    first = [slice(0, n) if axis in "CYX" else slice(0, 1) for axis, n in zip(source.axes, source.shape, strict=True)]
    for start in np.unique(np.linspace(0, last, PLANES).round().astype(int)):
        first[z] = slice(start, start + 2)
        one, two = np.moveaxis(read_light(source, tuple(first)), z, 0)
        if np.array_equal(one, two, equal_nan=True) and np.isfinite(one).any():
            return True
    return False


def with_light(source: Source) -> list[int]:
    """The channels of an image that are chosen, and not empty."""
    inspect_pixels(source)
    known = source.not_light or NotLight()
    return [channel for channel in range(source.size_of("C")) if channel not in known.empty | known.left_out]
