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

READING = 0.05  # of the time to compute a pixel: to read one


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


def tile_within(
    pixels: float, size: Sequence[int], halo: Sequence[int], stride: Sequence[int], only_read: int = 0
) -> tuple[int, ...]:  # fmt: skip
    """Size of the tile (kept part) that reads at most `pixels` including its halo, and computes the fewest for each
    pixel that is kept: of all whose sides are those of the image, halved some times. Where none reads so few, of those
    that read the fewest.

    only_read: number of axes, the first ones, along which the halo is read, but not computed.
    """
    found = []
    for tile in product(*(halved(n, s) for n, s in zip(size, stride, strict=True))):
        read = [
            min(round_up(n, s), side + 2 * round_up(h, s))
            for n, s, side, h in zip(size, stride, tile, halo, strict=True)
        ]
        computed = prod(tile[:only_read]) * prod(read[only_read:])
        found.append((max(prod(read), pixels), (computed + READING * prod(read)) / prod(tile), -prod(tile), tile))
    return min(found)[-1]


def halved(size: int, multiple: int) -> list[int]:
    """A size, its half, and so on, rounded up to multiples, down to one."""
    found = [round_up(size, multiple)]
    while found[-1] > multiple:
        found.append(round_up(-(-found[-1] // 2), multiple))
    return found
