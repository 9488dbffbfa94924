"""What a report shows of one result: both images, their residual, checks, figures and how the result was made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from noisewise.axes import Array, Layout, Region, evenly
from noisewise.data.images import fill
from noisewise.errors import UserError
from noisewise.estimate.measure import measure
from noisewise.estimate.planes import at_limit, central_region, valid_mask
from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.consistency import ChannelNoise
from noisewise.evaluate.finished import Finding, check_finished
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.io.fill import opened
from noisewise.io.light import read_light
from noisewise.io.scan_lines import aligned
from noisewise.model import Model
from noisewise.report.verdict import Verdict, unusual, verdict_of
from noisewise.workflow.packaged import packaged_result

PLANES = 8  # of a stack that are shown
CHECKED = 1 << 18  # pixels of a plane that is checked and shown
CLASSES = 10  # of brightness
ENOUGH = 1000  # pixels of a class
PROJECTED, MOST_PROJECTED = 1 << 16, 64  # pixels of a plane, and planes, of a maximum projection
UNCHANGED = Verdict("believe", ("The result is the image itself: nothing was removed.",), ())
SAMPLES, SAMPLED = 4, 1 << 14  # samples, and pixels of their cut-out


@dataclass(frozen=True)
class Plane:
    """The middle of a plane (Y, X) of one channel, noisy and denoised, and its standard deviation if that was written.

    Pixels that are not light are NaN. start: (Y, X) of the first pixel. step: to which the result was rounded.
    """

    label: str
    noisy: Array
    denoised: Array
    std: Array | None = None
    channel: int = 0
    start: tuple[int, int] = (0, 0)
    step: float = 0.0


@dataclass(frozen=True)
class BrightnessClass:
    """Pixels of similar signals: mean signal; mean residual and its standard error; its power over that of noise."""

    signal: float
    mean: float
    error: float
    ratio: float
    pixels: int


@dataclass(frozen=True)
class Trained:
    """What only the model tells: validation losses (step, loss); samples (4, Y, X) of a cut-out, if it draws any."""

    losses: list[tuple[int, float]]
    samples: Array | None = None


@dataclass(frozen=True)
class Collected:
    """All that is shown. record: how the result was made. checkup: of the noisy image's first channel; None where it
    has none. trained: of its model, if that was at hand. projection: of stacks and movies. seen: the fraction of the
    image that was checked.
    """

    name: str
    planes: list[Plane]
    findings: list[Finding]
    verdict: Verdict
    classes: list[BrightnessClass]
    checkup: NoiseReport | None
    record: dict[str, Any] = field(default_factory=dict)
    trained: Trained | None = None
    projection: Plane | None = None
    seen: float = 1.0


def collect(
    noisy: Source, denoised: Source, std: Source | None, record: dict[str, Any], model: Model | None = None
) -> Collected:
    """Check a result against its noisy image. model: that made it, if it is at hand.

    Errors: `UserError` for images of different shapes.
    """
    if noisy.shape != denoised.shape or noisy.axes != denoised.axes:
        shapes = " and ".join(f"{one.axes} {' x '.join(map(str, one.shape))}" for one in (noisy, denoised))
        raise UserError(f"{denoised.name}: is not a result of {noisy.name}: their shapes differ ({shapes})")
    if (record.get("checks") or {}).get("image", noisy.name) != noisy.name:  # another one of the same call was checked
        record = {name: value for name, value in record.items() if name != "checks"}
    checkups = {channel: checkup_of(noisy, channel) for channel in range(noisy.size_of("C"))}
    planes = list(planes_of(noisy, denoised, std))
    findings = strongest([checks_of(plane, checkups[plane.channel]) for plane in planes])
    first = checkups[0]
    classes = []
    if first is not None:
        classes = brightness_classes([plane for plane in planes if plane.channel == 0], ChannelNoise([first.noise]))
    trained = None if model is None else Trained(model.train_state.validation_losses, samples_of(model, noisy))
    verdict = (
        UNCHANGED
        if not any(map(changed, planes))
        else verdict_of(findings, [*unusual(record.get("checks") or {}), *not_checked(planes, checkups)])
    )
    seen = sum(plane.noisy.size for plane in planes) / math.prod(noisy.shape)
    return Collected(
        denoised.name, planes, findings, verdict, classes, first, record, trained, projection(noisy, denoised), seen,
    )  # fmt: skip


def not_checked(planes: Sequence[Plane], checkups: Mapping[int, NoiseReport | None]) -> Iterator[str]:
    """A sentence for each channel that was changed, and could not be checked."""
    for channel, checkup in checkups.items():
        differs = any(changed(one) for one in planes if one.channel == channel)
        if differs and (checkup is None or checkup.kind == "none"):
            which = f"channel {channel}" if len(checkups) > 1 else "the image"
            yield f"No noise can be measured in {which}, so that its result was not checked: compare it by eye."


def changed(plane: Plane) -> bool:
    """Whether the result differs from the image."""
    return not np.array_equal(plane.noisy, plane.denoised, equal_nan=True)


def checkup_of(source: Source, channel: int) -> NoiseReport | None:
    """The measured noise of a channel; None where it cannot be measured."""
    try:
        return measure(source, channel=channel)
    except UserError:
        return None


def planes_of(noisy: Source, denoised: Source, std: Source | None) -> Iterator[Plane]:
    """Some planes of all channels, evenly chosen, their middle."""
    layout, channels = Layout(noisy.axes, "YX"), noisy.size_of("C")
    straight, result = aligned(noisy), with_lines_of(noisy, denoised)
    deviation = None if std is None else with_lines_of(noisy, std)
    regions = list(layout.images(noisy.shape))
    several = {"channel": channels > 1, "plane": len(regions) > 1}
    pairs = [(number, channel) for channel in range(channels) for number in range(len(regions))]
    for number, channel in evenly(pairs, PLANES):
        region = central_region(regions[number], noisy.axes, CHECKED)
        start = tuple(region[noisy.axes.index(axis)].start for axis in "YX")

        def read(source: Source, region: Region = region, channel: int = channel) -> Array:
            plane: Array = layout.to_network(read_light(source, region))[0, channel].astype(np.float64)
            return plane

        names = {"channel": f"channel {channel}", "plane": f"plane {number + 1} of {len(regions)}"}
        label = ", ".join(names[what] for what, shown in several.items() if shown)
        before, after = read(straight), read(result)
        after[np.isnan(before)] = np.nan
        step = 1.0 if np.issubdtype(denoised.dtype, np.integer) else 0.0
        read_std = None if deviation is None else read(deviation)
        yield Plane(label, before, after, read_std, channel, (start[0], start[1]), step)


def with_lines_of(noisy: Source, source: Source) -> Source:
    """The source with its lines aligned as those of the noisy image are."""
    found = copy(source)
    found.line_displacement = noisy.line_displacement
    return aligned(found)


def projection(noisy: Source, denoised: Source) -> Plane | None:
    """Maxima over the planes of the first channel, their middle; None for a single plane."""
    layout = Layout(noisy.axes, "YX")
    regions = list(layout.images(noisy.shape))
    if len(regions) == 1:
        return None
    chosen = [central_region(region, noisy.axes, PROJECTED) for region in evenly(regions, MOST_PROJECTED)]
    before, after = (
        np.fmax.reduce([layout.to_network(source.read(region))[0, 0].astype(np.float64) for region in chosen])
        for source in (noisy, denoised)
    )
    return Plane(f"maximum of {len(chosen)} planes", before, after)


def samples_of(model: Model, noisy: Source) -> Array | None:
    """Samples of a cut-out from the middle, of the first channel; None if the model draws none."""
    if not model.method.traits.samples:
        return None
    layout = Layout(noisy.axes, model.spec.spatial)
    region = central_region(next(iter(layout.images(noisy.shape))), noisy.axes, SAMPLED)
    with open_source(noisy.read(region), noisy.axes) as part:
        drawn = [layout.to_network(one)[0, 0] for one in model.draw(part, range(SAMPLES))]
    return np.stack([one if one.ndim == 2 else one[len(one) // 2] for one in drawn])


def checks_of(plane: Plane, checkup: NoiseReport | None) -> list[Finding]:
    """The checks of one plane, against the image and against the result of the packaged denoiser.

    Nothing where there is no noise, or no pixel of light that was changed.
    """
    if checkup is None or checkup.kind == "none" or not changed(plane):
        return []
    values = checkup.pixel_values
    valid = valid_mask([plane.noisy], values) & ~at_limit([plane.noisy], values.low)
    valid &= ~opened(plane.noisy == plane.denoised)  # where the user excluded pixels, or nothing is noise
    if not valid.any():
        return []
    noisy, denoised = torch.from_numpy(fill(plane.noisy[None])[0][0]), torch.from_numpy(plane.denoised)
    second = packaged_result(noisy, checkup.noise)
    found = check_finished(noisy.double(), denoised, second, checkup.noise, torch.from_numpy(valid), plane.step)
    return [replace(one, place=in_whole(one.place, plane), plane=plane.label) for one in found]


def in_whole(place: tuple[int, int] | None, plane: Plane) -> tuple[int, int] | None:
    """A place in the whole plane, of which a part was checked."""
    return None if place is None else (place[0] + plane.start[0], place[1] + plane.start[1])


def strongest(found: Sequence[Sequence[Finding]]) -> list[Finding]:
    """Of each check the finding that is largest over the planes that were checked."""
    largest: dict[str, Finding] = {}
    for one in chain.from_iterable(found):
        if one.check not in largest or one.excess > largest[one.check].excess:
            largest[one.check] = one
    return list(largest.values())


def brightness_classes(planes: Sequence[Plane], noise: ChannelNoise) -> list[BrightnessClass]:
    """Residuals by brightness, in classes of equally many pixels."""
    signal = np.concatenate([plane.denoised.ravel() for plane in planes])
    residual = np.concatenate([(plane.noisy - plane.denoised).ravel() for plane in planes])
    finite = np.isfinite(signal) & np.isfinite(residual)
    signal, residual = signal[finite], residual[finite]
    variance = noise.mean_var(torch.from_numpy(signal)[:, None])[1][:, 0].numpy()
    count = max(1, min(CLASSES, len(signal) // ENOUGH))
    return [
        BrightnessClass(
            float(signal[part].mean()), float(residual[part].mean()), float((variance[part].mean() / len(part)) ** 0.5),
            float((residual[part] ** 2).mean() / max(variance[part].mean(), 1e-30)), len(part),
        )
        for part in np.array_split(np.argsort(signal, kind="stable"), count)
        if len(part)
    ]  # fmt: skip
