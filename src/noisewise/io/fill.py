"""Find fill: exact constants around registered images, in masked backgrounds, in blank frames."""

from __future__ import annotations

import numpy as np

from noisewise.axes import Array

SIDE = 5  # pixels: a fill covers squares of this size
RING = 6  # pixels around a fill, in which its value is rare
LEAST_PIXELS = 64
ENCLOSED, HOLES, FEW = 0.8, 2e-4, 4  # photons in the dark: other pixels within such a part of it, per pixel of it
AT_BORDER = SIDE * (SIDE // 2 + 1)  # pixels of a square that reaches half beyond the border of the image
BY_CHANCE = 1e-3  # such squares in the image, if its pixels had the value as often as those in the ring


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
    often = ring.any() and plane.size * (plane[ring] == value).mean() ** AT_BORDER > BY_CHANCE
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
