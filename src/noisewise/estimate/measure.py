"""The check-up: the noise in an image, measured without a calibration and without a reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.estimate.artifacts import is_jpeg
from noisewise.estimate.autocorrelation import SMALLEST
from noisewise.estimate.block_statistics import BlockStatistics
from noisewise.estimate.dct_blocks import BlockSource, dct, extract_blocks, radial_frequency
from noisewise.estimate.explanations import (
    MIN_VALID,
    SPECTRUM_SIDE,
    VARIANCE_SIDE,
    block_fraction,
    few_photon_levels,
    noise_levels,
    plane_statistics,
)
from noisewise.estimate.photon_counts import count_correlation, count_levels, count_line, count_values, has_few_photons
from noisewise.estimate.planes import MAX_PLANES, at_limit, read_planes, valid_mask
from noisewise.estimate.report import NoiseReport
from noisewise.estimate.variance import NoiseLevels, estimate_noise_levels, field_ratio, variance_line
from noisewise.io import open_source
from noisewise.io.base import Source, naming
from noisewise.io.light import inspect_pixels
from noisewise.noise.fit.pixel_values import PixelValueCounter, PixelValues

MIN_SIDE = 32  # pixels
QUICK_PLANES, QUICK_BLOCKS = 2, 4_000
COMPUTABLE = (1e-30, 1e30)  # the smallest range of pixel values, and the largest value


def measure(image: Any, *, axes: str | None = None, channel: int = 0) -> NoiseReport:
    """Measure the noise in one image (path, NumPy, dask, zarr, xarray) or in a list of images.

    Images of a list are assumed to have the same camera and exposure. With a time axis the noise is measured in the
    differences between successive frames, which contain no signal; otherwise in the most homogeneous parts of each
    brightness. At most eight planes of the image are used, and of large ones the central part.

    axes: letters from `STCZYX`, one per dimension, if the image does not give them or they are wrong. channel: the
    index of the channel that is measured, from 0.

    Returns a `NoiseReport`: what was measured (ADU), a verdict and warnings, and noise models (`noise`, `pixel_noise`).

    Errors: `UserError` if the image is constant, smaller than 32 x 32 pixels, or saturated or missing almost
    everywhere, or has no such channel.
    """
    sources = open_images(image, axes, channel)
    source = sources[0]
    read = [read_planes(one, channel, max(1, MAX_PLANES // len(sources))) for one in sources]
    axis, pairs = read[0][0], [(along, group) for along, part in read for group in part]
    planes = [group for _, group in pairs]
    pixel_values, few_photons, block_sources = prepared(source, pairs)
    with naming(source.name), as_unmeasurable():
        explanations = (few_photon_levels if few_photons else noise_levels)(block_sources, pixel_values)
    valid = [part.valid for part in block_sources]
    between = [
        noise_correlation(group[0], group[1], mask) for group, mask in zip(planes, valid, strict=True) if len(group) > 1
    ]
    report = partial(
        NoiseReport,
        name=source.name,
        channel=channel if "C" in source.axes else None,
        pixel_values=pixel_values,
        plane_correlation={axis: float(np.median(between))} if between else {},
        from_frames=axis == "T" and bool(between),
        hot_fraction=hot_fraction(source, channel),
        jpeg=any(is_jpeg(part.frame, pixel_values.step) for part in block_sources),
        few_photons=few_photons,
        line_displacement=source.line_displacement,
    )
    first, *others = [
        report(
            levels=one.levels,
            line=count_line(pixel_values.step, one.levels) if few_photons else variance_line(one.levels),
            correlation=one.correlation,
            signal_range=tuple(np.quantile(one.blocks.mean, (0.01, 0.5, 0.95)).tolist()),
            field_ratio=1.0 if few_photons else field_ratio(one.blocks, one.levels),
            probability=one.probability,
        )
        for one in explanations
    ]
    return replace(first, other=others[0]) if others else first


def measure_levels(source: Source, channel: int) -> NoiseLevels:
    """The noise levels of one channel, quickly: from a few planes, few blocks, and as if the noise were white.

    Good for comparing images. Errors: `UserError`, as `measure`.
    """
    inspect_pixels(source)
    axis, groups = read_planes(source, channel, QUICK_PLANES)
    _, few_photons, sources = prepared(source, [(axis, group) for group in groups])
    blocks = extract_blocks(sources, VARIANCE_SIDE, QUICK_BLOCKS)
    with naming(source.name):
        return count_levels(blocks) if few_photons else estimate_noise_levels(blocks, count_correlation(SPECTRUM_SIDE))


def prepared(source: Source, pairs: list[tuple[str, list[Array]]]) -> tuple[PixelValues, bool, list[BlockSource]]:
    """How pixel values are stored, whether they are counts of few photons, and what blocks are cut from.

    pairs: groups of planes, each with the axis along which they follow each other. Errors: `UserError` for images
    without noise to measure.
    """
    planes = [group for _, group in pairs]
    check_planes(source.name, planes)
    counter = PixelValueCounter(source.dtype)
    for plane in (plane for group in planes for plane in group):
        counter.add(plane)
    pixel_values = counter.measure()
    few_photons = has_few_photons([plane for group in planes for plane in group], pixel_values)
    if few_photons:
        pixel_values = count_values(pixel_values)
    sources = [block_source(group, along, pixel_values) for along, group in pairs]
    return pixel_values, few_photons, with_enough_blocks(source.name, sources)


def single_image_statistics(image: Any) -> BlockStatistics | None:
    """What the network reads of one plane; None for photon counts, which it is not meant for."""
    source = open_source(image)
    pixel_values, few_photons, sources = prepared(source, [("", [source.read().astype(np.float64)])])
    return None if few_photons else plane_statistics(sources, pixel_values)[-1]


@contextmanager
def as_unmeasurable() -> Iterator[None]:
    """Errors: `UserError` where the pixels do not determine the correlation of their noise."""
    try:
        yield
    except np.linalg.LinAlgError:
        raise UserError("its noise cannot be measured; give a noise model, or use a method that needs none") from None


def open_images(image: Any, axes: str | None, channel: int) -> list[Source]:
    """Open an image or a list of them. Errors: `UserError` if there is none, or one has no such channel."""
    sources = [open_source(one, axes) for one in image] if isinstance(image, list) else [open_source(image, axes)]
    if not sources:
        raise UserError("no image to measure; give a path, an array, or a list of these")
    for source in sources:
        if not 0 <= channel < source.size_of("C"):
            raise UserError(f"{source.name}: has no channel {channel}; its channels are 0 to {source.size_of('C') - 1}")
        inspect_pixels(source)
    return sources


def check_planes(name: str, planes: list[list[Array]]) -> None:
    """Refuse images without noise to measure. Errors: `UserError`."""
    if not planes:
        raise UserError(f"{name}: holds no finite pixel; give the image as it was recorded")
    height, width = np.min([group[0].shape for group in planes], axis=0)
    if min(height, width) < MIN_SIDE:
        raise UserError(
            f"{name}: {height} x {width} pixels are too few to measure noise; give {MIN_SIDE} x {MIN_SIDE} or more"
        )
    finite = np.concatenate([plane[np.isfinite(plane)] for group in planes for plane in group])
    if finite.min() == finite.max():
        raise UserError(f"{name}: all pixels have the value {finite[0]:g}, so there is no noise; give another image")
    largest, span = float(np.abs(finite).max()), float(finite.max() / 2 - finite.min() / 2)
    if largest > COMPUTABLE[1] or span < COMPUTABLE[0]:
        raise UserError(
            f"{name}: pixel values of up to {largest:.0e}, within {2 * span:.0e}, are too large or too small for "
            f"32-bit floats; rescale the image"
        )


def block_source(group: list[Array], axis: str, pixel_values: PixelValues) -> BlockSource:
    """Difference and mean of successive frames, and the first one; three times the plane itself if there is one."""
    first, second = (np.where(np.isfinite(plane), plane, 0.0) for plane in (group[0], group[-1]))
    valid = valid_mask(group, pixel_values)
    used = group if axis == "T" else group[:1]
    clipped = np.mean([at_limit([plane], pixel_values.low) for plane in used], 0)
    if axis == "T" and len(group) > 1:
        return BlockSource((second - first) / np.sqrt(2), (first + second) / 2, first, valid, clipped)
    return BlockSource(first, first, first, valid, clipped)


def with_enough_blocks(name: str, sources: list[BlockSource]) -> list[BlockSource]:
    """The sources, without blocks that have a clipped pixel; also with these, where there are few others.

    Errors: `UserError` if there are hardly any blocks.
    """
    if block_fraction(sources) < MIN_VALID:
        sources = [replace(source, most_clipped=1.0) for source in sources]
    fraction = block_fraction(sources)
    if fraction < MIN_VALID / 10 or block_fraction(sources, SPECTRUM_SIDE) == 0:
        raise UserError(
            f"{name}: only {100 * fraction:.2g} % of the image is neither saturated nor missing, too little to measure "
            "noise; expose less, or give another image"
        )
    return sources


def noise_correlation(first: Array, second: Array, valid: Array) -> float:
    """Correlation of the noise of two planes: of the high frequencies of the most homogeneous tenth of the blocks."""
    window = (VARIANCE_SIDE, VARIANCE_SIDE)
    keep = sliding_window_view(valid, window)[::4, ::4].all((-2, -1))
    a, b = (dct(sliding_window_view(np.where(valid, plane, 0.0), window)[::4, ::4])[keep] for plane in (first, second))
    frequency = radial_frequency(VARIANCE_SIDE)
    low = (a**2)[:, (frequency > 0) & (frequency < 0.6)].mean(1)
    chosen = np.argsort(low)[: max(len(low) // 10, 1)]
    x, y = (part[chosen][:, frequency > 0.8] for part in (a, b))
    return float((x * y).sum() / max(float(np.sqrt((x**2).sum() * (y**2).sum())), SMALLEST))


def hot_fraction(source: Source, channel: int) -> float:
    """Share of the pixels of a channel that are hot or dead."""
    found = source.not_light.hot.get(channel) if source.not_light else None
    return found.fraction if found else 0.0
