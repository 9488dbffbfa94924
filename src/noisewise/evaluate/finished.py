"""Checks of a finished result: against the noisy image, and against a second result of the same image.

The residual of an honest result is noise. What was blurred, sharpened, shifted, scaled, erased or invented differs from
another honest result by more than these differ from each other, in a way that tells what happened. Each check gives a
number that is small for honest results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from noisewise.evaluate.consistency import BLOCK_SHARE, NoiseLike, neighbour_correlation
from noisewise.noise.ops.specks import WHITE, without_specks

SPOT_WIDTHS, HALF = (1.0, 1.6), 5  # pixels: standard deviations of the spots of the matched filters; half of a filter
BLOCK, STEP = 16, 24  # pixels: side of the blocks whose means are compared; rows on either side of a seam
BANDS = (0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43, 0.5)  # cycles per pixel
SEED = 1_000_039  # not one from which others draw noise
SCALE_ERRORS, CLEAR = 1.5, 0.05  # standard errors; mean square of the signal's contrast, in units of the noise
ROUNDED = ("offset", "blocks", "seam", "stripe")  # to which the rounding of a flat result adds
VISIBLE = 0.1  # standard deviations of the noise, by which a speck sticks out
SIGNAL_TO_NOISE, FEWEST = 0.15, 20  # of a frequency band that is compared; its Fourier components
# Calibrated on honest and on harmed results with `benchmarks/harm.py`.
LIMITS = {
    "missing": 1e-6, "offset": 0.3, "left": 0.9,
    "amount": 0.6, "structure": 0.3, "scale": 0.016, "shift": 0.1, "blurred": 0.39, "sharpened": 0.085, "blocks": 0.45,
    "seam": 0.1, "stripe": 0.35, "erased": 2.4, "invented": 3.5, "specks": 1.5,
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """The value of a check, and where it is largest: (Y, X) in the plane, and the plane's label; None: everywhere."""

    check: str
    value: float
    place: tuple[int, int] | None = None
    plane: str = ""

    @property
    def excess(self) -> float:
        """The value in units of its limit; above 1 there is something to look at."""
        return abs(self.value) / LIMITS[self.check]


def check_finished(
    noisy: Tensor, denoised: Tensor, second: Tensor, noise: NoiseLike, valid: Tensor | None = None, step: float = 0.0
) -> list[Finding]:
    """All checks of one plane (Y, X), ADU. second: another result. noise: its model. valid: pixels that count. step: to
    which the result was rounded.
    """
    light = torch.ones_like(noisy, dtype=torch.bool) if valid is None else valid
    counts = light & denoised.isfinite()
    missing = Finding("missing", 1 - float(counts.sum()) / max(int(light.sum()), 1))
    if not counts.any():
        return [missing]
    denoised = torch.where(denoised.isfinite(), denoised, second.to(denoised))
    variance = noise.mean_var(second.double())[1]
    std = variance.clamp(min=1e-3 * float(variance.mean())).sqrt()
    residual, change = (
        torch.where(counts, (one.double() - other.double()) / std, 0.0)
        for one, other in ((noisy, denoised), (denoised, second))
    )
    signal = second.double()
    contrast = contrast_of(signal, std)
    found = [
        missing, Finding("offset", -float(residual[counts].mean())), least_removed(residual, counts),
        Finding("amount", float((residual[counts] ** 2).mean()) - 1),
        structure(residual, noise_like(noise, second, std)),
        *geometry(change, contrast, signal, std), *transfer(residual, change, signal, std),
        means(change), *lines(change), *spots(residual, change), specks(denoised.double(), std, step),
    ]  # fmt: skip
    rounding = 0.0 if is_clear(contrast) else step / 2 / float(std.median())
    return [less(one, rounding) if one.check in ROUNDED else one for one in found]


def less(one: Finding, most: float) -> Finding:
    """A finding less what rounding alone may be."""
    return replace(one, value=math.copysign(max(abs(one.value) - most, 0.0), one.value))


def noise_like(noise: NoiseLike, signal: Tensor, std: Tensor) -> Tensor:
    """New noise of this signal, in standard deviations."""
    drawn = noise.sample(signal, torch.Generator().manual_seed(SEED)) - signal
    return drawn.double() / std


def structure(residual: Tensor, noise: Tensor) -> Finding:
    """The largest correlation of neighbours in the residual, beyond that of noise."""
    beyond = [neighbour_correlation(residual, axis) - neighbour_correlation(noise, axis) for axis in "YX"]
    return Finding("structure", max(beyond))


def contrast_of(signal: Tensor, std: Tensor) -> Tensor:
    """The signal less its weighted mean, in standard deviations of the noise."""
    weight = 1 / std**2
    return (signal - (weight * signal).sum() / weight.sum()) / std


def is_clear(contrast: Tensor) -> bool:
    """Whether the signal differs from a flat one by more than two honest results of it may differ."""
    return float((contrast**2).mean()) > CLEAR


def geometry(change: Tensor, contrast: Tensor, signal: Tensor, std: Tensor) -> Iterator[Finding]:
    """Scale: regression of the change on the signal, less 1.5 standard errors of a scale that is measured in the noisy
    image. Shift (pixels): regression on the signal's gradient.
    """
    clear, power = is_clear(contrast), max(float((contrast**2).sum()), 1e-12)
    scale = float((contrast * change).sum()) / power if clear else 0.0
    yield Finding("scale", math.copysign(max(abs(scale) - SCALE_ERRORS / power**0.5, 0.0), scale))
    shifts = [0.0]
    for part in gradient(signal):
        slope = part / std
        steepness = float((slope**2).sum())
        shifts.append(-float((slope * change).sum()) / steepness if clear and steepness > 0 else 0.0)
    yield Finding("shift", max(shifts, key=abs))


def gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along Y and X."""
    padded = pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    return (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2


def transfer(residual: Tensor, change: Tensor, signal: Tensor, std: Tensor) -> Iterator[Finding]:
    """How much weaker (blurred) or stronger (sharpened) the result is at any scale: E[D R*] / E|R|² − 1.

    Stronger counts as far as the noisy image contradicts it: a posterior mean is not stronger than the image.
    """
    scale = float(std.mean())
    window = torch.outer(*(torch.hann_window(size, periodic=False, dtype=torch.float64) for size in signal.shape))
    second = torch.fft.rfft2(window * (signal - signal.mean()) / scale)
    moved = change * std / scale
    difference = torch.fft.rfft2(window * (moved - moved.mean()))
    removed = residual * std / scale
    noisy = torch.fft.rfft2(window * (removed - removed.mean()))
    fy, fx = torch.fft.fftfreq(signal.shape[0])[:, None], torch.fft.rfftfreq(signal.shape[1])[None]
    radius, power = (fy**2 + fx**2).sqrt(), float((window**2).sum())
    weaker, stronger = [0.0], [0.0]
    for start, stop in pairwise(BANDS):
        band = (radius >= start) & (radius < stop)
        strength = float((second[band].abs() ** 2).mean())
        if int(band.sum()) >= FEWEST and strength > SIGNAL_TO_NOISE * power:
            gained, left = (
                float((one[band] * second[band].conj()).real.mean()) / strength for one in (difference, noisy)
            )
            weaker.append(-gained)
            stronger.append(min(gained, -left))
    yield Finding("blurred", max(weaker))
    yield Finding("sharpened", max(stronger))


def least_removed(residual: Tensor, counts: Tensor) -> Finding:
    """By how much the residual of a block has less power than noise, where it has least."""
    side = min(BLOCK, *residual.shape)
    power, share = (avg_pool2d(one[None, None].double(), side)[0, 0] for one in (residual**2, counts))
    missing = 1 - power / share.clamp(min=1e-9)
    missing[share < BLOCK_SHARE] = 0.0
    return largest("left", missing, side)


def means(change: Tensor) -> Finding:
    """The largest mean of a block."""
    side = min(BLOCK, *change.shape)
    return largest("blocks", avg_pool2d(change[None, None], side)[0, 0].abs(), side)


def lines(change: Tensor) -> Iterator[Finding]:
    """Seam: the largest step between the rows (columns) on either side of one. Stripe: a row that differs from both."""
    seam, stripe = Finding("seam", 0.0), Finding("stripe", 0.0)
    for turned in (False, True):
        image = change.T if turned else change
        if len(image) <= 2 * STEP:
            continue
        total = torch.cat([image.new_zeros(1), image.median(1).values.cumsum(0)])
        middle = total[STEP:-STEP]
        step = (total[2 * STEP :] - middle - (middle - total[: -2 * STEP])) / STEP
        offset = (image[1:-1] - (image[:-2] + image[2:]) / 2).median(1).values
        seam = max(seam, along("seam", step, STEP, turned), key=lambda one: one.value)
        stripe = max(stripe, along("stripe", offset, 1, turned), key=lambda one: one.value)
    yield from (seam, stripe)


def along(check: str, values: Tensor, first: int, turned: bool) -> Finding:
    """The largest of the values of rows, or of columns; first: the number of the first one."""
    at = int(values.abs().argmax())
    place = at + first
    return Finding(check, float(values[at].abs()), (0, place) if turned else (place, 0))


def spots(residual: Tensor, change: Tensor) -> Iterator[Finding]:
    """Spots, in standard deviations of a matched filter: seen in the image and not in the result, or the reverse.

    Both the residual and the change must show one.
    """
    erased, invented = Finding("erased", 0.0), Finding("invented", 0.0)
    for width in SPOT_WIDTHS:
        left, moved = (filtered(image, width) for image in (residual, change))
        erased = max(erased, largest("erased", torch.minimum(left, -moved)), key=lambda one: one.value)
        invented = max(invented, largest("invented", torch.minimum(-left, moved)), key=lambda one: one.value)
    yield from (erased, invented)


def specks(denoised: Tensor, std: Tensor, step: float = 0.0) -> Finding:
    """Specks among 1000 pixels, that stick out by more than a step of rounding."""
    away = (denoised - without_specks(denoised[None, None], std, WHITE)[0, 0]).abs()
    return Finding("specks", 1000 * float((away > (VISIBLE * std).clamp(min=1.01 * step)).double().mean()))


def spot_profile(width: float) -> Tensor:
    """A Gaussian of unit energy: the outer product with itself is a round spot of unit energy."""
    profile = torch.exp(-0.5 * (torch.arange(-HALF, HALF + 1, dtype=torch.float64) / width) ** 2)
    unit: Tensor = profile / profile.norm()
    return unit


def filtered(image: Tensor, width: float) -> Tensor:
    """Correlation of an image with a round spot of unit energy, with replicated borders."""
    profile, padded = spot_profile(width), pad(image[None, None], (HALF,) * 4, mode="replicate")
    found: Tensor = conv2d(conv2d(padded, profile[None, None, :, None]), profile[None, None, None, :])[0, 0]
    return found


def largest(check: str, values: Tensor, side: int = 1) -> Finding:
    """The largest value, or 0, and its place. side: of the blocks (pixels) that the values are of."""
    at = int(values.argmax())
    place = (at // values.shape[1] * side, at % values.shape[1] * side)
    return Finding(check, max(float(values.flatten()[at]), 0.0), place)
