"""Cosine transforms (DCT-II) of small blocks, and the spectra of the most homogeneous blocks.

White noise has the same power at all frequencies of an orthonormal transform; the image has most of its power at the
low ones. The most homogeneous blocks of each brightness contain little but noise.

Source: the block-wise estimator of Ponomarenko et al. (2007), with an unbiased choice of blocks: see
`homogeneous_spectra`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from noisewise.axes import Array

MAX_BLOCKS = 24_000  # of one measurement: more cost time and add no precision
MIN_BLOCKS = 8  # of one brightness


@dataclass(frozen=True)
class Blocks:
    """Blocks of side w: mean (N,), ADU, and power (N, w, w) by vertical and horizontal frequency, ADU².

    surround (N,): mean of the pixels around the block, which contains none of its noise, ADU. pixels (N, w, w): pixel
    values of one frame, ADU. clipped (N,): fraction of the pixels at the lower limit. place (N, 2): where it begins
    along Y and X, as a fraction of the image.
    """

    mean: Array
    surround: Array
    power: Array
    pixels: Array
    clipped: Array
    place: Array

    @property
    def side(self) -> int:
        """w, pixels."""
        return int(self.power.shape[-1])


@dataclass(frozen=True)
class BlockSource:
    """What blocks are cut from (Y, X), ADU: an image with the noise, one with the brightness, and a recorded frame.

    All the same for a single frame. For two frames: their difference over √2, their mean, and the first frame.
    valid: pixels that may be used. clipped: pixels at the lower limit. Blocks with an invalid pixel, or with more than
    a fraction of clipped ones, are left out.
    """

    noisy: Array
    brightness: Array
    frame: Array
    valid: Array
    clipped: Array
    most_clipped: float = 0.0

    def blocks(self, side: int, stride: int) -> tuple[Array, Array]:
        """Which blocks are used (Y, X), and the clipped fraction of each."""
        window, step = (side, side), slice(None, None, stride)
        clipped = sliding_window_view(self.clipped, window)[step, step].mean((-2, -1))
        valid = sliding_window_view(self.valid, window)[step, step].all((-2, -1))
        return valid & (clipped <= self.most_clipped), clipped


def extract_blocks(sources: Sequence[BlockSource], side: int, most: int = MAX_BLOCKS) -> Blocks:
    """Overlapping blocks of all images (Y, X). most: about how many."""
    parts = []
    for source in sources:
        rows, columns = source.noisy.shape
        stride = max(2, round((rows * columns / (most / len(sources))) ** 0.5))
        window = (side, side)
        keep, clipped = source.blocks(side, stride)
        noisy, brightness, frame = (
            sliding_window_view(image, window)[::stride, ::stride][keep]
            for image in (source.noisy, source.brightness, source.frame)
        )
        parts.append((
            brightness.mean((-2, -1)),
            surround_mean(source.brightness, side)[::stride, ::stride][keep],
            dct(noisy - noisy.mean((-2, -1), keepdims=True)) ** 2,
            frame,
            clipped[keep],
            np.argwhere(keep) * stride / source.valid.shape,
        ))  # fmt: skip
    return Blocks(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def surround_mean(image: Array, side: int) -> Array:
    """Mean of the pixels around each block, up to half a side away, without the block itself."""
    total = np.pad(image.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    first = [np.arange(size - side + 1) for size in image.shape]

    def window(border: int) -> tuple[Array, Array]:
        low = [np.maximum(start - border, 0) for start in first]
        high = [np.minimum(start + side + border, size) for start, size in zip(first, image.shape, strict=True)]
        area = np.outer(high[0] - low[0], high[1] - low[1])
        top, bottom = total[low[0]], total[high[0]]
        return bottom[:, high[1]] - top[:, high[1]] - bottom[:, low[1]] + top[:, low[1]], area

    (outer, outer_area), (inner, inner_area) = window(side // 2), window(0)
    return np.asarray((outer - inner) / (outer_area - inner_area))


def dct(blocks: Array) -> Array:
    """Orthonormal cosine transform (DCT-II) of blocks (..., w, w)."""
    basis = dct_basis(blocks.shape[-1])
    result: Array = basis @ blocks @ basis.T
    return result


@cache
def dct_basis(side: int) -> Array:
    """Basis functions of the orthonormal DCT-II, one per row (w, w)."""
    k, i = np.mgrid[:side, :side]
    basis = np.sqrt(2 / side) * np.cos(np.pi * (i + 0.5) * k / side)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


@cache
def radial_frequency(side: int) -> Array:
    """Distance of each frequency from zero, in units of the highest frequency along one axis (w, w)."""
    u, v = np.mgrid[:side, :side] / side
    return np.asarray(np.hypot(u, v))


def brightness_classes(brightness: Array, count: int, *, split_brightest: bool = False) -> list[Array]:
    """Indices of the blocks in `count` classes of equal size, from dark to bright; fewer if there are few blocks.

    split_brightest: halve the last class repeatedly, as in many images a few bright pixels span most of the range.
    """
    order = np.argsort(brightness, kind="stable")
    smallest = 4 * MIN_BLOCKS
    count = max(1, min(count, len(order) // smallest))
    ends = [len(order) * i // count for i in range(1, count)]
    rest = len(order) - (ends[-1] if ends else 0)
    while split_brightest and count > 1 and rest >= 2 * smallest:
        rest //= 2
        ends.append(len(order) - rest)
    return np.split(order, ends)


@dataclass(frozen=True)
class Spectrum:
    """Of selected blocks: mean power (w, w) by frequency, ADU²; mean signal, ADU; number; clipped fraction."""

    power: Array
    signal: float
    count: int
    clipped: float


def homogeneous_spectra(blocks: Blocks, members: Array, ranges: Sequence[tuple[float, float]]) -> list[Spectrum]:
    """Mean power spectra of some blocks, for each range (from, to) of the rank in homogeneity, 0 to 1.

    Half of the frequencies, in a checkerboard pattern, rank the blocks; the power is averaged over the other half;
    then the halves are exchanged. A block is thus never selected by the numbers that are read from it: noise, whose
    coefficients are uncorrelated, is measured without bias, while the power that the image adds is low in both halves.
    """
    u, v = np.mgrid[: blocks.side, : blocks.side]
    even = (u + v) % 2 == 0
    ranking = (radial_frequency(blocks.side) <= 0.75) & (u + v > 0)
    halves = [
        (members[np.argsort(blocks.power[members][:, ranking & half].mean(1), kind="stable")], ~half)
        for half in (even, ~even)
    ]
    spectra = []
    for start, stop in ranges:
        first, power, selected = int(start * len(members)), np.zeros((blocks.side, blocks.side)), []
        for ranked, averaged in halves:
            selected.append(ranked[first : max(first + MIN_BLOCKS, int(stop * len(members)))])
            power[averaged] = blocks.power[selected[-1]].mean(0)[averaged]
        power[0, 0] = 0.0
        chosen = np.concatenate(selected)
        signal, clipped = (float(part[chosen].mean()) for part in (blocks.mean, blocks.clipped))
        spectra.append(Spectrum(power, signal, len(chosen) // 2, clipped))
    return spectra
