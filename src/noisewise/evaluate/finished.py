"""Checks of a finished result against the noisy image and its noise model: from the two images alone, without a model.

The residual of an honest result is noise. What was blurred, sharpened, shifted, scaled, erased or invented is left in
it; stripes are seen in the result itself. Each check gives a number that is small for honest results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad

from noisewise.evaluate.consistency import NoiseLike

SPOT_WIDTHS = (1.0, 1.6)  # pixels: standard deviation of the spots of the matched filters
BLOCK = 16  # pixels: side of the blocks whose means are compared
BANDS = (0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.36, 0.43, 0.5)  # cycles per pixel
SIGNAL_TO_NOISE = 1.0  # of a frequency band, from which its transfer is known
ROUGHNESS = 8  # classes of the gradient, in each of which the residual has its own spread
CONTRAST = 3.0  # of a spot of the result, in standard deviations of the noise, to count as one
STRIPE_FLOOR = 0.05  # standard deviations of the noise
# Preliminary: they still blame many honest results, and are to be calibrated with `benchmarks/harm.py`.
LIMITS = {
    "amount": 0.4, "scale": 0.015, "blocks": 5.0, "shift": 0.1, "blurred": 0.15, "sharpened": 0.1, "structure": 0.2,
    "spots": 5.0, "invented": 3.4, "stripes": 6.0,
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """The value of a check, and where in the image (Y, X) it is largest; None for the whole image."""

    check: str
    value: float
    place: tuple[int, int] | None = None

    @property
    def excess(self) -> float:
        """The value in units of its limit; above 1 there is something to look at."""
        return abs(self.value) / LIMITS[self.check]


def check_finished(noisy: Tensor, denoised: Tensor, noise: NoiseLike, valid: Tensor | None = None) -> list[Finding]:
    """All checks of one plane (Y, X), ADU. noise: its model. valid: pixels that count."""
    signal = denoised.double()
    variance = noise.mean_var(signal)[1]
    std = variance.clamp(min=1e-3 * float(variance.mean())).sqrt()
    counts = torch.ones_like(noisy, dtype=torch.bool) if valid is None else valid
    unit = torch.where(counts, (noisy.double() - signal) / std, 0.0)
    return [
        Finding("amount", float((unit[counts] ** 2).mean()) - 1), *blocks(unit, signal, std),
        *geometry(unit, signal, std), *transfer(unit, signal, std), *structure(unit), *spots(unit, signal, std),
        *stripes(signal, std),
    ]  # fmt: skip


def blocks(unit: Tensor, signal: Tensor, std: Tensor) -> Iterator[Finding]:
    """Scale: slope of block means of the residual against those of the result. Blocks: their largest mean.

    At low frequencies a denoiser leaves the image as it is: these residuals are smaller than noise.
    """
    side = min(BLOCK, *unit.shape)

    def means(image: Tensor) -> Tensor:
        return avg_pool2d(image[None, None], side)[0, 0]

    residual, level, error = means(unit * std), means(signal), means(std)
    weight = 1 / error**2
    centred = level - (weight * level).sum() / weight.sum()
    power = float((weight * centred**2).sum())
    slope = float((weight * centred * residual).sum()) / power if power > 0 else 0.0
    yield Finding("scale", shrunk(slope, 2 / side * power**-0.5 if power > 0 else 0.0))
    found = (residual / error).abs() * side
    at = int(found.argmax())
    place = (at // found.shape[1] * side, at % found.shape[1] * side)
    yield Finding("blocks", float(found.flatten()[at]), place)


def shrunk(value: float, error: float) -> float:
    """A value reduced by an error, towards zero."""
    return max(abs(value) - error, 0.0) * (1 if value > 0 else -1)


def geometry(unit: Tensor, signal: Tensor, std: Tensor) -> Iterator[Finding]:
    """Shift (pixels): the residual's regression on the gradient."""
    design = torch.stack([(part / std).flatten() for part in gradient(signal)], 1)
    normal = design.T @ design
    normal = normal + 1e-9 * normal.diagonal().mean().clamp(min=1e-30) * torch.eye(2, dtype=normal.dtype)
    inverse = torch.linalg.inv(normal)
    found, errors = inverse @ (design.T @ unit.flatten()), 3 * inverse.diagonal().sqrt()
    shifts = [shrunk(float(value), float(error)) for value, error in zip(found, errors, strict=True)]
    yield Finding("shift", max(shifts, key=abs))


def gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along Y and X."""
    padded = pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    return (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2, (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2


def transfer(unit: Tensor, signal: Tensor, std: Tensor) -> Iterator[Finding]:
    """How much of the image's spectrum is in the result, in bands of frequency where there is more image than noise.

    With X = S + N and independent noise of power σ², E[X D*] / (E|X|² − σ²) is 1 for D = S, and up to 1 + σ² / E|S|²
    where noise is left. Less: blurred. More: sharpened.
    """
    window = torch.outer(*(torch.hann_window(size, periodic=False, dtype=torch.float64) for size in signal.shape))
    scale = float(std.mean())
    result = signal / scale
    noisy = result + unit * std / scale
    x, d = (torch.fft.rfft2(window * (image - image.mean())) for image in (noisy, result))
    fy, fx = torch.fft.fftfreq(signal.shape[0])[:, None], torch.fft.rfftfreq(signal.shape[1])[None]
    radius = (fy**2 + fx**2).sqrt()
    power = float((window**2 * (std / scale) ** 2).sum())
    low, high = [0.0], [0.0]
    for start, stop in pairwise(BANDS):
        band = (radius >= start) & (radius < stop)
        count = int(band.sum())
        if count < 20:
            continue
        total, cross = float((x[band].abs() ** 2).mean()), float((x[band] * d[band].conj()).real.mean())
        of_signal = total - power
        if of_signal < SIGNAL_TO_NOISE * power:
            continue
        error = 2 * total / of_signal / count**0.5
        low.append(max(1 - cross / of_signal - error, 0.0))
        high.append(max(cross / total - 1, 0.0))
    yield Finding("blurred", max(low))
    yield Finding("sharpened", max(high))


def structure(unit: Tensor) -> Iterator[Finding]:
    """The largest correlation of neighbours in the residual."""
    both = [float((unit[1:] * unit[:-1]).mean()), float((unit[:, 1:] * unit[:, :-1]).mean())]
    yield Finding("structure", max(both) / max(float((unit**2).mean()), 1e-12))


def spots(unit: Tensor, signal: Tensor, std: Tensor) -> Iterator[Finding]:
    """The largest matched-filter value of the residual anywhere (erased), and at spots of the result (invented)."""
    erased, invented = Finding("spots", 0.0), Finding("invented", 0.0)
    down, right = gradient(signal)
    rough = max_pool2d(((down**2 + right**2).sqrt() / std)[None, None], 5, 1, 2)[0, 0]
    for width in SPOT_WIDTHS:
        kernel = spot(width)
        found = evened(filtered(unit, kernel), rough)
        erased = max(erased, largest("spots", found), key=lambda one: one.value)
        contrast = filtered(signal / std, kernel - kernel.mean())
        peaks = (contrast == max_pool2d(contrast[None], 5, 1, 2)[0]) & (contrast > CONTRAST)
        invented = max(invented, largest("invented", torch.where(peaks, -found, 0.0)), key=lambda one: one.value)
    yield from (erased, invented)


def evened(values: Tensor, rough: Tensor) -> Tensor:
    """Values over their spread in places that are equally rough; the spread is at least that of noise."""
    edges = rough.flatten().quantile(torch.linspace(0, 1, ROUGHNESS + 1, dtype=rough.dtype)[1:-1])
    which = torch.bucketize(rough, edges)
    result = torch.zeros_like(values)
    for number in range(ROUGHNESS):
        inside = which == number
        if inside.any():
            spread = float(values[inside].abs().quantile(0.98)) / 2.33
            result[inside] = values[inside] / max(spread, 0.9)
    return result


def spot(width: float) -> Tensor:
    """A round Gaussian of unit energy."""
    along = torch.arange(-5, 6, dtype=torch.float64)
    profile = torch.exp(-0.5 * (along / width) ** 2)
    kernel = torch.outer(profile, profile)
    return kernel / (kernel**2).sum().sqrt()


def filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlation of an image with a kernel, with replicated borders."""
    half = kernel.shape[-1] // 2
    return conv2d(pad(image[None, None], (half,) * 4, mode="replicate"), kernel[None, None])[0, 0]


def largest(check: str, values: Tensor) -> Finding:
    """The largest value and its place."""
    at = int(values.argmax())
    return Finding(check, float(values.flatten()[at]), (at // values.shape[1], at % values.shape[1]))


def stripes(signal: Tensor, std: Tensor) -> Iterator[Finding]:
    """The row or column that differs most from its neighbours along all of its length, in spreads of all rows."""
    best = Finding("stripes", 0.0)
    for turned in (False, True):
        unit = (signal / std).T if turned else signal / std
        if len(unit) < 16:
            continue
        offset = (unit[1:-1] - (unit[:-2] + unit[2:]) / 2).median(1).values
        score = offset.abs() / (1.4826 * float(offset.abs().median()) + STRIPE_FLOOR)
        at = int(score.argmax())
        if float(score[at]) > best.value:
            best = Finding("stripes", float(score[at]), (0, at + 1) if turned else (at + 1, 0))
    yield best
