"""Noise seen through small blocks: their cosine transforms, sorted by how flat the image is there.

White noise has the same power at all frequencies of an orthonormal transform; the image has most of its power at
the low ones. In the flattest blocks of each brightness little but noise is left.

Source: the block-wise estimator of Ponomarenko et al. 2007, with the choice of blocks made unbiased: see `flattest`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from noisewise.axes import Array

MOST_BLOCKS = 24_000  # of one measurement: more adds time, not precision
FEWEST_BLOCKS = 8  # of one brightness


@dataclass(frozen=True)
class Blocks:
    """Blocks of side w: mean (N,), power (N, w, w) by vertical and horizontal frequency, ADU².

    around (N,): mean of the pixels around the block, which holds none of its noise. pixels (N, w, w): of a frame, ADU.
    """

    mean: Array
    around: Array
    power: Array
    pixels: Array

    @property
    def side(self) -> int:
        """w, pixels."""
        return int(self.power.shape[-1])


@dataclass(frozen=True)
class Pair:
    """An image to measure: what carries the noise, what tells the brightness, a frame as it was recorded.

    All the same for a single frame; of two frames, the difference over √2, the mean, and the first.
    """

    noisy: Array
    level: Array
    frame: Array


def cut(pairs: Sequence[Pair], side: int, usable: Sequence[Array]) -> Blocks:
    """Overlapping blocks of all images (Y, X), without those that hold an unusable pixel (False)."""
    parts = []
    for pair, good in zip(pairs, usable, strict=True):
        rows, columns = pair.noisy.shape
        wanted = MOST_BLOCKS / len(pairs)
        stride = max(2, round((rows * columns / wanted) ** 0.5))
        window = (side, side)
        keep = sliding_window_view(good, window)[::stride, ::stride].all((-2, -1))
        noisy, level, frame = (
            sliding_window_view(image, window)[::stride, ::stride][keep]
            for image in (pair.noisy, pair.level, pair.frame)
        )
        parts.append((
            level.mean((-2, -1)),
            mean_around(pair.level, side)[::stride, ::stride][keep],
            transform(centred(noisy)) ** 2,
            frame,
        ))  # fmt: skip
    return Blocks(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def mean_around(image: Array, side: int) -> Array:
    """Mean of the pixels around each block, at most half a side away, the block itself left out."""
    total = np.pad(image.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    first = [np.arange(size - side + 1) for size in image.shape]

    def window(margin: int) -> tuple[Array, Array]:
        low = [np.maximum(start - margin, 0) for start in first]
        high = [np.minimum(start + side + margin, size) for start, size in zip(first, image.shape, strict=True)]
        area = np.outer(high[0] - low[0], high[1] - low[1])
        top, bottom = total[low[0]], total[high[0]]
        return bottom[:, high[1]] - top[:, high[1]] - bottom[:, low[1]] + top[:, low[1]], area

    (outer, outer_area), (inner, inner_area) = window(side // 2), window(0)
    return np.asarray((outer - inner) / (outer_area - inner_area))


def centred(blocks: Array) -> Array:
    """Blocks (..., w, w) less their means."""
    return np.asarray(blocks - blocks.mean((-2, -1), keepdims=True))


def transform(blocks: Array) -> Array:
    """Orthonormal cosine transform (DCT-II) of blocks (..., w, w)."""
    basis = cosines(blocks.shape[-1])
    result: Array = basis @ blocks @ basis.T
    return result


@cache
def cosines(side: int) -> Array:
    """Basis functions of the orthonormal DCT-II, one a row (w, w)."""
    k, i = np.mgrid[:side, :side]
    basis = np.sqrt(2 / side) * np.cos(np.pi * (i + 0.5) * k / side)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


@cache
def radius(side: int) -> Array:
    """Distance of each frequency from zero, in units of the highest along one axis (w, w)."""
    u, v = np.mgrid[:side, :side] / side
    return np.asarray(np.hypot(u, v))


def classes(brightness: Array, count: int, *, split_brightest: bool = False) -> list[Array]:
    """Indices of the blocks in `count` classes of equal size, from dark to bright; fewer if there are few.

    split_brightest: halve the last one again and again: in many images a small part spans most of the range.
    """
    order = np.argsort(brightness, kind="stable")
    least = 4 * FEWEST_BLOCKS
    count = max(1, min(count, len(order) // least))
    ends = [len(order) * i // count for i in range(1, count)]
    rest = len(order) - (ends[-1] if ends else 0)
    while split_brightest and count > 1 and rest >= 2 * least:
        rest //= 2
        ends.append(len(order) - rest)
    return np.split(order, ends)


@dataclass(frozen=True)
class Spectrum:
    """Of chosen blocks: mean power (w, w) by frequency, ADU²; mean brightness, ADU; their number."""

    power: Array
    level: float
    count: int


def flattest(blocks: Blocks, members: Array, shares: Sequence[tuple[float, float]]) -> list[Spectrum]:
    """Mean power spectra of some blocks, for each range (from, to) of ranks of flatness.

    Half of the frequencies, those of one colour of a chessboard, tell how flat a block is; the other half is
    averaged; then they change parts. A block is so never chosen for the very numbers that are read from it: noise,
    whose coefficients are uncorrelated, is measured without bias, while what the image adds is low in both halves.
    """
    u, v = np.mgrid[: blocks.side, : blocks.side]
    chess = (u + v) % 2 == 0
    telling = (radius(blocks.side) <= 0.75) & (u + v > 0)
    powers = [np.zeros((blocks.side, blocks.side)) for _ in shares]
    chosen: list[list[Array]] = [[] for _ in shares]
    for colour in (chess, ~chess):
        ranked = members[np.argsort(blocks.power[members][:, telling & colour].mean(1), kind="stable")]
        for power, parts, (start, stop) in zip(powers, chosen, shares, strict=True):
            first = int(start * len(ranked))
            parts.append(ranked[first : max(first + FEWEST_BLOCKS, int(stop * len(ranked)))])
            power[~colour] = blocks.power[parts[-1]].mean(0)[~colour]
    for power in powers:
        power[0, 0] = 0.0
    everyone = [np.concatenate(parts) for parts in chosen]
    return [
        Spectrum(power, float(blocks.mean[who].mean()), len(who) // 2)
        for power, who in zip(powers, everyone, strict=True)
    ]
