"""Compare predictions with their references: all metrics for each single image, read one at a time.

An image with further axes has several single images: one for each time point, channel and sample. For a stack, PSNR
and NRMSE are computed from all its pixels; SSIM, MS-SSIM, MicroSSIM and Fourier ring correlation from its planes, since
their windows and rings assume one pixel size, and that along Z differs. MicroSSIM uses all planes of a channel in all
files together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from itertools import product
from math import inf, prod
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.evaluate.metrics import (
    GAUSSIAN,
    checked,
    checked_range,
    contrast_of,
    ms_ssim,
    nrmse,
    psnr,
    psnr_affine,
    smallest_side,
    ssim,
)
from noisewise.evaluate.microssim import UNIFORM, micro_ssim
from noisewise.evaluate.resolution import SMALLEST, Frc, frc, resolution
from noisewise.io.base import Source

Index = dict[str, int]  # position along the axes that are not space


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Metrics of one image, or means over several; None for a metric that is not defined."""

    psnr: float | None
    psnr_affine: float | None
    nrmse: float | None
    ssim: float | None
    ms_ssim: float | None
    micro_ssim: float | None = None
    resolution: float | None = None


@dataclass(kw_only=True)
class Comparison:
    """Comparison of one prediction with its reference.

    index, data_range and scores: one entry for each single image. resolution_unit: µm, or pixels if the files do not
    state the pixel size.
    """

    prediction: str
    reference: str
    resolution_unit: str
    index: list[Index] = field(default_factory=list)
    data_range: list[float] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)

    @property
    def mean(self) -> Scores:
        """Means over the single images."""
        return mean_scores(self.scores)


def compare(
    pairs: Sequence[tuple[Source, Source]], data_range: float | None = None, with_resolution: bool = False,
    report: Callable[[float], None] = lambda _: None,
) -> tuple[list[Comparison], list[str]]:  # fmt: skip
    """Compare predictions with their references; also returns notes on what was left out.

    pairs: (prediction, reference). data_range: for PSNR and the SSIM metrics (default: for each single image, max − min
    of its reference). with_resolution: also estimate the resolution by Fourier ring correlation, for pairs of
    independent images. report: receives the fraction done.

    Errors: `UserError` for different axes or sizes, NaN or infinite pixels, constant references.
    """
    if data_range is not None:
        checked_range(data_range)
    for prediction, reference in pairs:
        check_same_size(prediction, reference)
    counter = PlaneCounter(pairs, report)
    found = [compare_pair(*pair, data_range, with_resolution, counter) for pair in pairs]
    add_micro_ssim(pairs, found, counter)
    return found, notes_on(pairs, found, with_resolution)


class PlaneCounter:
    """Counts the planes that were read, for the progress: once for most metrics, and twice for MicroSSIM."""

    def __init__(self, pairs: Sequence[tuple[Source, Source]], report: Callable[[float], None]) -> None:
        sizes = (reference for _, reference in pairs)
        self.planes = sum(prod(one.shape) // (one.size_of("Y") * one.size_of("X")) for one in sizes)
        self.done, self.report = 0, report

    def add(self, planes: int) -> None:
        """Count further planes and report the fraction done."""
        self.done += planes
        self.report(self.done / (3 * self.planes))


def compare_pair(
    prediction: Source, reference: Source, data_range: float | None, with_resolution: bool, counter: PlaneCounter
) -> Comparison:
    """Compute all metrics but MicroSSIM, which needs the whole set."""
    pixel = pixel_size(prediction, reference)
    found = Comparison(
        prediction=name_of(prediction), reference=name_of(reference), resolution_unit="µm" if pixel else "pixels"
    )
    for index in single_images(reference):
        with naming_image(prediction, reference, index):
            image, truth = checked(read(prediction, index), read(reference, index))
            contrast = contrast_of(truth)
            found.index.append(index)
            found.data_range.append(contrast if data_range is None else data_range)
            scores = scores_of(image, truth, found.data_range[-1])
            if with_resolution:
                scores = replace(scores, resolution=mean_resolution(image, truth, pixel or (1.0, 1.0)))
            found.scores.append(scores)
        counter.add(len(image))
    return found


def scores_of(image: Array, truth: Array, data_range: float) -> Scores:
    """Metrics of one single image (Z, Y, X)."""
    planes, side = list(zip(image, truth, strict=True)), min(image.shape[1:])
    return Scores(
        psnr=psnr(image, truth, data_range),
        psnr_affine=psnr_affine(image, truth, data_range),
        nrmse=nrmse(image, truth),
        ssim=mean_of([ssim(*plane, data_range) for plane in planes] if side >= len(GAUSSIAN) else []),
        ms_ssim=mean_of([ms_ssim(*plane, data_range) for plane in planes] if side >= smallest_side() else []),
    )


def mean_resolution(image: Array, truth: Array, pixel: tuple[float, float]) -> float | None:
    """Resolution from the mean of the planes' Fourier ring correlations."""
    if min(image.shape[1:]) < SMALLEST:
        return None
    curves = [frc(*plane, pixel) for plane in zip(image, truth, strict=True) if all(np.ptp(part) > 0 for part in plane)]
    if not curves:
        return None
    return resolution(Frc(curves[0].frequency, np.mean([curve.correlation for curve in curves], axis=0)))


# -- MicroSSIM of the set --------------------------------------------------------------------------


class Planes(Sequence[Array]):
    """Planes (Y, X) that are read on access, and counted if there is a counter."""

    def __init__(self, planes: list[tuple[Source, Index]], counter: PlaneCounter | None = None) -> None:
        self.planes, self.counter = planes, counter

    def __len__(self) -> int:
        return len(self.planes)

    def __getitem__(self, number: Any) -> Any:
        source, index = self.planes[number]
        if self.counter is not None:
            self.counter.add(1)
        return read(source, index)[0]


def add_micro_ssim(pairs: Sequence[tuple[Source, Source]], found: list[Comparison], counter: PlaneCounter) -> None:
    """Add MicroSSIM to the scores of all single images, channel by channel."""
    channels: dict[int, list[tuple[int, int]]] = {}
    for number, comparison in enumerate(found):
        if min(pairs[number][1].size_of(axis) for axis in "YX") >= len(UNIFORM):
            for single, index in enumerate(comparison.index):
                channels.setdefault(index.get("C", 0), []).append((number, single))
    for members in channels.values():
        set_micro_ssim(pairs, found, members, counter)


def set_micro_ssim(
    pairs: Sequence[tuple[Source, Source]], found: list[Comparison], members: list[tuple[int, int]],
    counter: PlaneCounter,
) -> None:  # fmt: skip
    """Add MicroSSIM to the scores of one set; members: (number of the pair, number of the single image)."""
    planes = [
        (number, single, found[number].index[single] | {"Z": z})
        for number, single in members
        for z in range(pairs[number][1].size_of("Z"))
    ]
    scores = micro_ssim(
        Planes([(pairs[number][0], index) for number, _, index in planes], counter),
        Planes([(pairs[number][1], index) for number, _, index in planes]),
        [found[number].data_range[single] for number, single, _ in planes],
    ).scores
    of_single: dict[tuple[int, int], list[float]] = {member: [] for member in members}
    for (number, single, _), score in zip(planes, scores, strict=True):
        of_single[number, single].append(score)
    for (number, single), values in of_single.items():
        found[number].scores[single] = replace(found[number].scores[single], micro_ssim=mean_of(values))


# -- single images ---------------------------------------------------------------------------------


def check_same_size(prediction: Source, reference: Source) -> None:
    """Errors: `UserError` for different sizes; axes of length one and the order of axes do not matter."""
    if sizes_of(prediction) != sizes_of(reference):
        one, other = (f"{source.axes} {source.shape}" for source in (prediction, reference))
        raise UserError(
            f"{name_of(prediction)} is {one}, but {name_of(reference)} is {other}; "
            "give images of one size, or axes if they are wrong"
        )


def sizes_of(source: Source) -> dict[str, int]:
    """Length by axis, without axes of length one (but with Y and X)."""
    return {axis: n for axis, n in zip(source.axes, source.shape, strict=True) if n > 1 or axis in "YX"}


def single_images(source: Source) -> Iterator[Index]:
    """Yield the positions of the single images along the axes that are not spatial."""
    sizes = {axis: n for axis, n in sizes_of(source).items() if axis not in "ZYX"}
    for position in product(*map(range, sizes.values())):
        yield dict(zip(sizes, position, strict=True))


def read(source: Source, index: Index) -> Array:
    """Read a single image (Z, Y, X); with Z in the index, one plane of it."""
    region = tuple(
        slice(index[axis], index[axis] + 1) if axis in index else slice(0, n)
        for axis, n in zip(source.axes, source.shape, strict=True)
    )
    order = [source.axes.index(axis) for axis in sorted(source.axes, key="ZYX".find)]  # space last
    pixels = source.read(region).transpose(order)
    return pixels.reshape(-1, *pixels.shape[-2:])


def pixel_size(prediction: Source, reference: Source) -> tuple[float, float] | None:
    """Pixel size along Y and X in µm, if one of the files states it."""
    scale = {**prediction.scale, **reference.scale}
    return (scale["Y"], scale["X"]) if {"Y", "X"} <= set(scale) else None


def name_of(source: Source) -> str:
    """Path of the file as given, or name of the array, or of one of several images in a file."""
    return source.name if source.path is None or source.in_file > 1 else str(source.path)


@contextmanager
def naming_image(prediction: Source, reference: Source, index: Index) -> Iterator[None]:
    """Add the names of the files and the position of the single image to an error."""
    try:
        yield
    except UserError as error:
        where = "".join(f", {axis} {position}" for axis, position in index.items())
        raise UserError(f"{name_of(prediction)} and its reference {name_of(reference)}{where}: {error}") from None


# -- means and notes -------------------------------------------------------------------------------


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are not None; None if there is none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Mean of each metric."""
    return Scores(**{part.name: mean_of([getattr(one, part.name) for one in scores]) for part in fields(Scores)})


def notes_on(pairs: Sequence[tuple[Source, Source]], found: list[Comparison], with_resolution: bool) -> list[str]:
    """Notes on how the files were read, and on metrics that were left out."""
    notes = [f"{name_of(source)}: {note}" for pair in pairs for source in pair for note in source.notes]
    notes += [
        f"{one.prediction} and {one.reference}: the two images are equal in every pixel, so that the PSNR is infinite; "
        f"give the denoised image and its truth"
        for one in found
        if all(scores.psnr == inf for scores in one.scores)
    ]
    smallest = {"SSIM": len(GAUSSIAN), "MS-SSIM": smallest_side(), "MicroSSIM": len(UNIFORM)}
    if with_resolution:
        smallest["the resolution"] = SMALLEST
    sides = {name_of(one): min(other.size_of("Y"), other.size_of("X")) for one, other in pairs}
    for metric, least in smallest.items():
        names = [name for name, side in sides.items() if side < least]
        if names:
            notes.append(f"{shortened(names)}: {metric} is left out; it needs {least} pixels or more along Y and X")
    names = [one.prediction for one in found if any(scores.resolution is None for scores in one.scores)]
    names = [name for name in names if sides[name] >= SMALLEST]
    if with_resolution and names:
        notes.append(f"{shortened(names)}: no resolution where the correlation does not fall below 1/7")
    return list(dict.fromkeys(notes))


def shortened(names: Sequence[str]) -> str:
    """The first name, and the number of further ones."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
