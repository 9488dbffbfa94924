"""The background of images: the brightness that most patches have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from noisewise.axes import Array

Background = tuple[float, float]
"""Its brightness, in image units, and how wide a quarter of the patches spreads about it."""

FEWEST_TILES = 32  # from which on it is told which brightness is commonest
DARKER = 8.0  # spreads below it, where chance puts no patch: then it is no background


def backgrounds(images: Sequence[tuple[Array, Array]], patch: Sequence[int]) -> tuple[Background | None, ...]:
    """Of each channel of images (C, *S) and masks (C, *S) of the pixels that count."""
    channels = range(len(images[0][0]))
    return tuple(commonest(tile_means([(x[c], usable[c]) for x, usable in images], patch)) for c in channels)


def tile_means(pieces: Sequence[tuple[Array, Array]], patch: Sequence[int]) -> Array:
    """Means of tiles of patch size, side by side in each image, of those that are usable for the most part."""
    found = []
    for image, usable in pieces:
        sides = [side for n, p in zip(image.shape, patch, strict=True) for side in (n // p, p)]
        kept = tuple(slice(count * p) for count, p in zip(sides[::2], patch, strict=True))
        total, number = (
            part[kept].reshape(sides).sum(tuple(range(1, len(sides), 2)), dtype=np.float64)
            for part in (np.where(usable, image, 0), usable)
        )
        most = number > np.prod(patch) / 2
        found.append(total[most] / number[most])
    return np.concatenate(found)


def commonest(values: Array) -> Background | None:
    """Where values lie densest: about the shortest interval with a quarter of them, three times as wide.

    None where values are few, or one is farther below than chance puts it.
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
