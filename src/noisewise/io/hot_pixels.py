"""Find and replace hot and dead pixels: isolated, and farther from their neighbours than any noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from noisewise.axes import Array
from noisewise.io.base import HotPixels

HOT = 8.0  # standard deviations of the noise from the background around a pixel
PHOTONS = 10.0  # the smallest steps of the pixel values, which a few photons reach by chance
SPREAD = 0.2  # of a pixel's excess that its brightest neighbour has; of a point in focus it has 0.4 or more
NOISE = 2.5  # standard deviations by which noise alone raises the brightest of eight neighbours
MOST = 0.01  # of the pixels: what is more frequent is no defect of the detector
STATIC = 0.5  # of the hot pixels must be hot in another plane of the image, where there are several
CLASSES, TAIL = 12, 2.6  # of brightness; standard deviations beyond which one in a hundred lies
LEAST_SPREAD = 0.1  # of the median spread of all brightnesses
MANY = 4096  # different values of an image, from which on it is continuous
AROUND = [shift for shift in product((-1, 0, 1), repeat=2) if any(shift)]
RING = [shift for shift in product(range(-2, 3), repeat=2) if max(map(abs, shift)) == 2]


def hot_pixels(planes: Array, limits: HotPixels) -> tuple[tuple[Array, ...], Array]:
    """Indices of the hot and dead pixels of planes (..., Y, X), and the median of their neighbours."""
    padded = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(2, 2)] * 2, mode="reflect")
    candidates, margin = np.zeros(planes.shape, bool), (HOT - NOISE) * limits.std.min()
    for sign in (1, -1):
        beyond = neighbour_extreme(padded, sign)
        with np.errstate(invalid="ignore"):
            candidates |= sign * (planes.astype(np.float64) - beyond) > limits.least + margin
    where: tuple[Array, ...] = np.nonzero(candidates)
    value = planes[where].astype(np.float64)
    near, far = (
        np.stack([padded[(*where[:-2], where[-2] + 2 + dy, where[-1] + 2 + dx)] for dy, dx in shifts]).astype(float)
        for shifts in (AROUND, RING)
    )
    if not value.size:
        return where, value
    background = finite_median(far)
    std = np.interp(background, limits.signal, limits.std)
    excess = value - background
    nearest = np.nanmax(np.sign(excess) * (near - background), 0)
    hot = (np.abs(excess) > HOT * std + limits.least) & (nearest < np.maximum(SPREAD * np.abs(excess), NOISE * std))
    return tuple(index[hot] for index in where), finite_median(near)[hot]


def without_hot_pixels(planes: Array, limits: HotPixels) -> Array:
    """Planes (..., Y, X) with the median of the neighbours in place of hot and dead pixels."""
    where, median = hot_pixels(planes, limits)
    if not len(median):
        return planes
    planes = planes.copy()
    planes[where] = median.astype(planes.dtype)
    return planes


def neighbour_extreme(padded: Array, sign: int) -> Array:
    """The highest (sign 1) or lowest (sign -1) of the eight neighbours of each pixel, from planes padded by two."""
    combine = np.fmax if sign > 0 else np.fmin
    height, width = (size - 4 for size in padded.shape[-2:])
    found = None
    for y, x in AROUND:
        part = padded[..., 2 + y : 2 + y + height, 2 + x : 2 + x + width]
        found = part if found is None else combine(found, part)
    return np.asarray(found)


def finite_median(values: Array) -> Array:
    """Median over the first axis, of the finite values."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nanmedian(np.where(np.isfinite(values), values, np.nan), 0))


def find_hot_pixels(planes: Sequence[Array]) -> HotPixels | None:
    """The hot pixels of some planes (Y, X) of one channel, if there are any.

    Where there are several planes, they must be hot in another one too: defects of a detector stay where they are.
    """
    limits = noise_limits(planes)
    if limits is None:
        return None
    found = [set(zip(*hot_pixels(plane, limits)[0], strict=True)) for plane in planes]
    pixels, number = sum(plane.size for plane in planes), sum(map(len, found))
    if not 0 < number <= MOST * pixels:
        return None
    if len(planes) > 1:
        again = sum(any(pixel in other for other in found if other is not one) for one in found for pixel in one)
        if again < STATIC * number:
            return None
    return replace(limits, fraction=number / pixels)


def noise_limits(planes: Sequence[Array]) -> HotPixels | None:
    """The spread of pixels around the median of four neighbours, by brightness: noise, and texture of the image."""
    signal: list[Array] = []
    residual: list[Array] = []
    steps: list[float] = []
    for plane in planes:
        values = plane.astype(np.float64)
        cross = np.stack([values[1:-1, :-2], values[1:-1, 2:], values[:-2, 1:-1], values[2:, 1:-1]])
        cross.sort(0)
        background = cross[1:3].mean(0)
        inside = values[1:-1, 1:-1]
        good = np.isfinite(background) & np.isfinite(inside)
        signal.append(background[good])
        residual.append(inside[good] - background[good])
        different = np.unique(values[np.isfinite(values)])
        steps.append(np.diff(different).min() if 1 < len(different) < MANY else 0.0)
    brightness, deviation = np.concatenate(signal), np.abs(np.concatenate(residual))
    if len(brightness) < CLASSES * 100:
        return None
    parts = np.array_split(np.argsort(brightness, kind="stable"), CLASSES)
    quantiles = [np.quantile(deviation[part], (0.68, 0.99)) for part in parts]
    spread = np.array([max(inner, outer / TAIL) for inner, outer in quantiles])
    if not spread.any():
        return None
    spread = np.maximum(spread, LEAST_SPREAD * np.median(spread[spread > 0]))
    centre = np.array([brightness[part].mean() for part in parts])
    distinct = np.append(True, np.diff(centre) > 0)
    return HotPixels(centre[distinct], spread[distinct], PHOTONS * min(steps))
