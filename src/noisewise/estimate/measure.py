"""The check-up: what an image says of its own noise, without a calibration and without the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from noisewise.axes import Array, Layout, Region
from noisewise.errors import UserError
from noisewise.estimate.autocorrelation import correlate
from noisewise.estimate.dct_blocks import Pair, cut, radius, transform
from noisewise.estimate.pixel_values import PixelValues, hot_pixels, look_at_values, looks_like_jpeg
from noisewise.estimate.report import NoiseReport
from noisewise.estimate.variance import NoiseLevels, noise_levels
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.noise.fit.variance_line import VarianceLine

SPECTRUM_SIDE, LAW_SIDE = 16, 8  # pixels: blocks for the correlation, blocks for the variance
MOST_PLANES = 8
MOST_PIXELS = 2**21  # of all planes together: more adds time, not precision
SMALLEST = 32  # pixels along each side
FEWEST = 0.25  # of the blocks must be free of clipped and missing pixels


def measure(image: Any, *, axes: str | None = None, channel: int = 0) -> NoiseReport:
    """What there is to know of the noise in one image (path, NumPy, dask, zarr, xarray), or in a list of images.

    Images of a list are taken to have one camera and one exposure. With a time axis the noise is read from differences
    between successive frames, which hold no signal; otherwise from the flattest parts of each brightness. Up to eight
    planes of the image are looked at, of large ones the middle.

    Errors: `UserError` if the image is constant, too small, or saturated or missing almost everywhere.
    """
    sources = [open_source(one, axes) for one in image] if isinstance(image, list) else [open_source(image, axes)]
    for source in sources:
        if not 0 <= channel < source.size_of("C"):
            raise UserError(f"{source.name}: has no channel {channel}; its channels are 0 to {source.size_of('C') - 1}")
    source, most = sources[0], max(1, MOST_PLANES // len(sources))
    read = [read_planes(one, channel, most) for one in sources]
    along, planes = read[0][0], [group for _, part in read for group in part]
    check_planes(source.name, planes)
    pixel_values = look_at_values([plane for group in planes for plane in group], source.dtype)
    good = [usable(group, pixel_values, with_dark=True) for group in planes]
    if share_of_blocks(good) < FEWEST:  # then most is dark and clipped, and has to do
        good = [usable(group, pixel_values, with_dark=False) for group in planes]
    if share_of_blocks(good) < FEWEST / 10:
        raise UserError(f"{source.name}: is saturated or missing almost everywhere; expose less, or give another image")
    pairs = [make_pair(group, along) for group in planes]
    correlation = correlate(cut(pairs, SPECTRUM_SIDE, good))
    blocks = cut(pairs, LAW_SIDE, good)
    levels = noise_levels(blocks, correlation)
    between = [alike(group[0], group[1], usable) for group, usable in zip(planes, good, strict=True) if len(group) > 1]
    return NoiseReport(
        name=source.name,
        channel=channel if "C" in source.axes else None,
        pixel_values=pixel_values,
        levels=levels,
        line=variance_line(levels),
        correlation=correlation,
        plane_correlation={along: float(np.median(between))} if between else {},
        from_frames=along == "T" and bool(between),
        hot_fraction=float(np.mean([hot_pixels(pair.frame, noise_std(levels, pair.frame)) for pair in pairs])),
        jpeg=any(looks_like_jpeg(pair.frame, pixel_values.step) for pair in pairs),
        signal_range=tuple(np.quantile(blocks.mean, (0.01, 0.5, 0.95)).tolist()),
    )


def read_planes(source: Source, channel: int, most: int = MOST_PLANES) -> tuple[str, list[list[Array]]]:
    """Up to so many planes (Y, X), float64, spread over the image, each with its successor along T, or else Z."""
    layout = Layout(source.axes, "YX")
    regions = list(layout.images(source.shape))
    along = next((axis for axis in "TZ" if source.size_of(axis) > 1), "")
    if along:
        position, size = source.axes.index(along), source.size_of(along)
        regions = [region for region in regions if region[position].stop < size]
    chosen = np.unique(np.linspace(0, len(regions) - 1, most).round().astype(int))
    groups = []
    for region in (middle(regions[i], source.axes, MOST_PIXELS // (MOST_PLANES // most * len(chosen))) for i in chosen):
        if along:
            start = region[position].start
            region = (*region[:position], slice(start, start + 2), *region[position + 1 :])
        groups.append([np.asarray(plane[channel], np.float64) for plane in layout.to_network(source.read(region))])
    return along, groups


def middle(region: Region, axes: str, pixels: int) -> Region:
    """The middle of a region, so that it has at most so many pixels along Y and X; its shape is kept."""
    sizes = [part.stop - part.start for part, axis in zip(region, axes, strict=True) if axis in "YX"]
    share = min((pixels / (sizes[0] * sizes[1])) ** 0.5, 1.0)

    def cut_short(part: slice) -> slice:
        size = part.stop - part.start
        start = part.start + (size - int(share * size)) // 2
        return slice(start, start + int(share * size))

    return tuple(cut_short(part) if axis in "YX" else part for part, axis in zip(region, axes, strict=True))


def check_planes(name: str, planes: list[list[Array]]) -> None:
    """Refuse what has no noise to measure. Errors: `UserError`."""
    height, width = planes[0][0].shape
    if min(height, width) < SMALLEST:
        raise UserError(
            f"{name}: {height} x {width} pixels are too few to measure noise in; give {SMALLEST} x {SMALLEST} or more"
        )
    finite = np.concatenate([plane[np.isfinite(plane)] for group in planes for plane in group])
    if not len(finite):
        raise UserError(f"{name}: holds no finite pixel; give the image as it was recorded")
    if finite.min() == finite.max():
        raise UserError(f"{name}: all pixels have the value {finite[0]:g}; there is nothing to measure")


def usable(group: list[Array], pixel_values: PixelValues, *, with_dark: bool) -> Array:
    """True where a pixel is finite and not clipped in any of the planes; with_dark: at the lower end either."""
    good = np.all([np.isfinite(plane) for plane in group], 0)
    for limit in (pixel_values.low if with_dark else None, pixel_values.high):
        if limit is not None:
            good &= np.all([plane != limit.value for plane in group], 0)
    return np.asarray(good)


def share_of_blocks(usable: list[Array]) -> float:
    """Part of the blocks that hold usable pixels only."""
    window = (LAW_SIDE, LAW_SIDE)
    return float(np.mean([sliding_window_view(good, window)[::4, ::4].all((-2, -1)).mean() for good in usable]))


def make_pair(group: list[Array], along: str) -> Pair:
    """Difference and mean of successive frames and the first; three times the plane itself if there is one."""
    first, second = (np.where(np.isfinite(plane), plane, 0.0) for plane in (group[0], group[-1]))
    if along == "T" and len(group) > 1:
        return Pair((second - first) / np.sqrt(2), (first + second) / 2, first)
    return Pair(first, first, first)


def alike(first: Array, second: Array, good: Array) -> float:
    """Correlation of the noise of two planes: of their high frequencies in the flattest tenth of the blocks."""
    parts = [
        transform(sliding_window_view(np.where(good, plane, 0.0), (LAW_SIDE, LAW_SIDE))[::4, ::4])
        for plane in (first, second)
    ]
    keep = sliding_window_view(good, (LAW_SIDE, LAW_SIDE))[::4, ::4].all((-2, -1))
    a, b = (part[keep] for part in parts)
    distance = radius(LAW_SIDE)
    low = (a**2)[:, (distance > 0) & (distance < 0.6)].mean(1)
    chosen = np.argsort(low)[: max(len(low) // 10, 1)]
    x, y = (part[chosen][:, distance > 0.8] for part in (a, b))
    return float((x * y).sum() / max(float(np.sqrt((x**2).sum() * (y**2).sum())), 1e-30))


def variance_line(levels: NoiseLevels) -> VarianceLine:
    """The line through the levels; a flat one where they do not rise, as noise falls with no signal."""
    if len(levels.signal) > 2 and np.ptp(levels.signal) > 0:
        line = levels.fit()
        if line.slope > 0:
            return line
    weight = levels.freedom / levels.variance**2
    mean = float((weight * levels.variance).sum() / weight.sum())
    spread = float(np.sqrt(1 / (weight / 2).sum()))
    return VarianceLine(0.0, mean, ((np.inf, 0.0), (0.0, spread**2)))


def noise_std(levels: NoiseLevels, image: Array) -> Array:
    """Standard deviation of the noise at each pixel's own value."""
    return np.asarray(np.sqrt(np.interp(image, levels.signal, levels.variance)))
