"""Tiles as plain data: the region that is read, the part of it that is kept, and where that is written.

The tiled result equals that of the whole image because a tile starts at a multiple of the network's stride, so that
pooling falls on the same pixels, and has a halo of the receptive field's radius on all sides inside the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from noisewise.axes import Region


@dataclass(frozen=True)
class Tile:
    """One tile: `read` and `write` are regions of the image, `keep` is the region `write` within `read`."""

    read: Region
    keep: Region
    write: Region


def plan_tiles(size: Sequence[int], tile: Sequence[int], halo: Sequence[int], stride: Sequence[int]) -> Iterator[Tile]:
    """Yield tiles whose `write` regions cover the image once.

    size: of the image. tile: of the kept part. halo: radius of the receptive field (both are rounded up to multiples of
    the stride). All in pixels, one number for each spatial axis.
    """
    axes = [
        list(plan_axis(n, round_up(t, s), round_up(h, s))) for n, t, h, s in zip(size, tile, halo, stride, strict=True)
    ]
    for parts in product(*axes):
        read, keep, write = zip(*parts, strict=True)
        yield Tile(read, keep, write)


def plan_axis(size: int, tile: int, halo: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield (read, keep, write) along one axis."""
    for start in range(0, size, tile):
        stop = min(start + tile, size)
        first, last = max(0, start - halo), min(size, stop + halo)
        yield slice(first, last), slice(start - first, stop - first), slice(start, stop)


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple that is not below a value."""
    return -(-value // multiple) * multiple


def tile_within(pixels: float, size: Sequence[int], halo: Sequence[int], stride: Sequence[int]) -> tuple[int, ...]:
    """Size of the largest tile (kept part) that reads at most `pixels` including its halo, but at least the stride.

    The image is halved along its longest side until it fits.
    """
    tile = [round_up(n, s) for n, s in zip(size, stride, strict=True)]

    def read(axis: int) -> int:
        return min(round_up(size[axis], stride[axis]), tile[axis] + 2 * round_up(halo[axis], stride[axis]))

    while True:
        total = prod(map(read, range(len(tile))))
        longest = max(range(len(tile)), key=lambda axis: tile[axis] / stride[axis])
        if total <= pixels or tile[longest] <= stride[longest]:
            return tuple(tile)
        tile[longest] = round_up(-(-tile[longest] // 2), stride[longest])
