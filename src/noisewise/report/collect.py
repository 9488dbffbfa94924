"""What a report shows of one result: both images, their residual, checks, figures and how the result was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from noisewise.axes import Array, Layout, Region, evenly
from noisewise.errors import UserError
from noisewise.estimate.measure import measure
from noisewise.estimate.planes import central_region
from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.consistency import ChannelNoise
from noisewise.evaluate.finished import Finding, check_finished
from noisewise.io.base import Source
from noisewise.report.verdict import Verdict, verdict_of

PLANES = 8  # of a stack that are shown
CHECKED = 1 << 20  # pixels of a plane that is checked
CLASSES = 10  # of brightness
ENOUGH = 1000  # pixels of a class


@dataclass(frozen=True)
class Plane:
    """A plane (Y, X) of one channel, noisy and denoised, and its standard deviation if that was written."""

    label: str
    noisy: Array
    denoised: Array
    std: Array | None = None


@dataclass(frozen=True)
class BrightnessClass:
    """Pixels of similar signals: mean signal; mean residual and its standard error; its power over that of noise."""

    signal: float
    mean: float
    error: float
    ratio: float
    pixels: int


@dataclass(frozen=True)
class Collected:
    """All that is shown. record: how the result was made. checkup: of the noisy image; None where it has none."""

    name: str
    planes: list[Plane]
    findings: list[Finding]
    verdict: Verdict
    classes: list[BrightnessClass]
    checkup: NoiseReport | None
    record: dict[str, Any] = field(default_factory=dict)


def collect(noisy: Source, denoised: Source, std: Source | None, record: dict[str, Any]) -> Collected:
    """Check a result against its noisy image.

    Errors: `UserError` for images of different shapes.
    """
    if noisy.shape != denoised.shape or noisy.axes != denoised.axes:
        shapes = " and ".join(f"{one.axes} {' x '.join(map(str, one.shape))}" for one in (noisy, denoised))
        raise UserError(f"{denoised.name}: is not a result of {noisy.name}: their shapes differ ({shapes})")
    try:
        checkup = measure(noisy)
    except UserError:
        checkup = None
    planes = list(planes_of(noisy, denoised, std))
    findings, classes = [], []
    if checkup is not None:
        noise = ChannelNoise([checkup.noise])
        findings = strongest([checks_of(plane, checkup) for plane in planes])
        classes = brightness_classes(planes, noise)
    return Collected(denoised.name, planes, findings, verdict_of(findings), classes, checkup, record)


def planes_of(noisy: Source, denoised: Source, std: Source | None) -> Iterator[Plane]:
    """Some planes of the first channel, evenly chosen, their middle."""
    layout = Layout(noisy.axes, "YX")
    regions = list(layout.images(noisy.shape))
    for number, whole in evenly(list(enumerate(regions, 1)), PLANES):
        region = central_region(whole, noisy.axes, CHECKED)

        def read(source: Source, region: Region = region) -> Array:
            plane: Array = layout.to_network(source.read(region))[0, 0].astype(np.float64)
            return plane

        label = "" if len(regions) == 1 else f"plane {number} of {len(regions)}"
        yield Plane(label, read(noisy), read(denoised), None if std is None else read(std))


def checks_of(plane: Plane, checkup: NoiseReport) -> list[Finding]:
    """The checks of one plane."""
    valid = np.isfinite(plane.noisy) & np.isfinite(plane.denoised)
    for limit in (checkup.pixel_values.high, checkup.pixel_values.low):
        if limit is not None:
            valid &= plane.noisy != limit.value
    noisy, denoised = (np.nan_to_num(image, nan=float(np.nanmedian(image))) for image in (plane.noisy, plane.denoised))
    before, after = (torch.from_numpy(image) for image in (noisy, denoised))
    return check_finished(before, after, checkup.noise, torch.from_numpy(valid))


def strongest(found: Sequence[Sequence[Finding]]) -> list[Finding]:
    """Of each check the finding that is largest over the planes."""
    return [max(same, key=lambda one: one.excess) for same in zip(*found, strict=True)]


def brightness_classes(planes: Sequence[Plane], noise: ChannelNoise) -> list[BrightnessClass]:
    """Residuals by brightness, in classes of equally many pixels."""
    signal = np.concatenate([plane.denoised.ravel() for plane in planes])
    residual = np.concatenate([(plane.noisy - plane.denoised).ravel() for plane in planes])
    finite = np.isfinite(signal) & np.isfinite(residual)
    signal, residual = signal[finite], residual[finite]
    variance = noise.mean_var(torch.from_numpy(signal)[:, None])[1][:, 0].numpy()
    count = max(1, min(CLASSES, len(signal) // ENOUGH))
    order = np.argsort(signal, kind="stable")
    ends = np.linspace(0, len(order), count + 1).astype(int)
    return [
        BrightnessClass(
            float(signal[part].mean()), float(residual[part].mean()), float((variance[part].mean() / len(part)) ** 0.5),
            float((residual[part] ** 2).mean() / max(variance[part].mean(), 1e-30)), len(part),
        )
        for part in (order[start:stop] for start, stop in pairwise(ends))
        if len(part)
    ]  # fmt: skip
