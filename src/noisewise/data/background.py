"""Estimate the background of images: the most common brightness of their patches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from noisewise.axes import Array

Background = tuple[float, float]
"""Its brightness, and the width of the interval around it that holds a quarter of the patches; image units."""

FEWEST_TILES = 32  # fewer do not determine the most common brightness
DARKER = 8.0  # widths below it: a patch darker than this is not background by chance, so there is no background


def backgrounds(images: Sequence[tuple[Array, Array]], patch: Sequence[int]) -> tuple[Background | None, ...]:
    """Estimate the background of each channel from images (C, *S) and masks (C, *S) of their valid pixels."""
    channels = range(len(images[0][0]))
    return tuple(find_background(tile_means([(x[c], valid[c]) for x, valid in images], patch)) for c in channels)


def tile_means(pieces: Sequence[tuple[Array, Array]], patch: Sequence[int]) -> Array:
    """Means over adjacent tiles of patch size in images, for tiles of which more than half of the pixels are valid."""
    found = []
    for image, valid in pieces:
        sides = [side for n, p in zip(image.shape, patch, strict=True) for side in (n // p, p)]
        kept = tuple(slice(count * p) for count, p in zip(sides[::2], patch, strict=True))
        pixels, mask = (part[kept].reshape(sides) for part in (image, valid))
        within = tuple(range(1, len(sides), 2))
        number = mask.sum(within, dtype=np.float64)
        total = pixels.sum(within, dtype=np.float64, where=mask)
        enough = number > np.prod(patch) / 2
        found.append(total[enough] / number[enough])
    return np.concatenate(found)


def find_background(values: Array) -> Background | None:
    """Estimate the mode of values: the mean in a window three times as wide as the shortest interval with a quarter.

    The window is centred on its mean, iteratively. None if there are too few values, or one lies far below the window.
    """
    if len(values) < FEWEST_TILES:
        return None
    ordered = np.sort(values)
    count = math.ceil(len(ordered) / 4)
    lengths = ordered[count - 1 :] - ordered[: len(ordered) - count + 1]
    first = int(lengths.argmin())
    middle, width = ordered[first : first + count].mean(), lengths[first]
    for _ in range(5):
        middle = ordered[np.abs(ordered - middle) <= 1.5 * width].mean()
    return None if ordered[0] < middle - DARKER * width else (float(middle), float(width))
