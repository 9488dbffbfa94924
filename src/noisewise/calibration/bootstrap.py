"""A noise model from the user's own noisy images and their denoised twins, where there is no recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.calibration.frames import Frames, open_frames
from noisewise.errors import UserError
from noisewise.io import checksum
from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import Pairs
from noisewise.noise.fit.recorded_values import Values
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from noisewise.version import __version__

KINDS = ("gaussian", "poisson_gaussian", "histogram", "mixture")
ENDS = (0.5, 99.5)  # percentiles of the denoised image: beyond, it is wrong more than noisy
LEVELS = 64
FEWEST = 1000  # pixels
OUTLIER = 8.0  # robust standard deviations: such deviations tell nothing of the variance
KERNEL = np.array([1.0, -2.0, 1.0]) / 6**0.5  # the highest frequencies; white noise keeps its variance
DULL = 0.6  # of the residual's variance: with less at the highest frequencies, the noise is no white noise


@dataclass
class Sums:
    """Of each level of the denoised image: pixels; signal, residual e, e², and of the highest frequencies h:

    h(x) h(e) and h(e)².
    """

    number: Array
    signal: Array
    mean: Array
    square: Array
    cross: Array
    power: Array


def bootstrap(noisy: Any, denoised: Any, *, kind: str = "mixture", axes: str | None = None) -> Noise:
    """p(x|s) from noisy images and their denoised twins (paths or arrays of equal shape), which stand in for s.

    The residual e = x − ŝ is not the noise: a denoiser that smooths leaves signal in it, one that lets noise pass
    takes noise out of it; its variance is wrong by tens of percent, to either side. At the highest frequencies h(·)
    the image holds hardly any signal. If the denoiser lets a part ρ of the noise pass there, then h(e) = (1 − ρ) h(n)
    and h(x) = h(n), and the variance of white noise is

        v(ŝ) = E[h(x) h(e)]² / E[h(e)²],

    whatever ρ. A line is put through v; residuals are scaled to it, and the law is fitted to them.

    Errors: `UserError` for images that do not fit each other, or without a range of signals.
    """
    if kind not in KINDS:
        raise UserError(f"a noise model of kind '{kind}' cannot be made from denoised images; give {', '.join(KINDS)}")
    images, twins = open_frames(noisy, axes), open_frames(denoised, axes)
    if images.shape != twins.shape or len(images) != len(twins):
        raise UserError(f"{twins.name}: does not have the shape of {images.name}; give its denoised twin")
    edges, quantization = levels_of(images, twins)
    sums = gather(images, twins, edges, quantization)
    line = line_of(sums)
    noise_model = fit_law(kind, images, twins, edges, sums, line, quantization)
    noise_model.provenance = provenance(kind, images, edges, sums, line, quantization)
    return noise_model


def levels_of(images: Frames, twins: Frames) -> tuple[Array, Quantization]:
    """Edges of the levels, by signal; how the noisy image is rounded and cut off. Errors: `UserError`."""
    values, kept = Values(images.dtype), []
    for frame, twin in zip(images, twins, strict=True):
        values.add(frame)
        kept.append(twin.ravel()[:: max(1, len(twins) * twin.size // 1_000_000)])
    signals = np.concatenate(kept)
    edges = np.unique(np.percentile(signals, np.linspace(*ENDS, LEVELS + 1)))
    if len(edges) < 3 or len(images) * images.shape[0] * images.shape[1] < FEWEST:
        raise UserError(f"{twins.name}: holds too few pixels or signals for a noise model; give a larger image")
    return edges, values.quantization


def together(images: Frames, twins: Frames) -> Iterator[tuple[Array, Array, float]]:
    """Frames, their twins, and the variance that rounding adds to the difference, ADU².

    A twin that was rounded is spread over its steps: else all residuals were whole, and a law fitted to the comb.
    """
    rng = np.random.default_rng(0)
    for frame, twin in zip(images, twins, strict=True):
        if (twin == np.rint(twin)).all():
            yield frame, twin + rng.uniform(-0.5, 0.5, twin.shape), 2 / 12
        else:
            yield frame, twin, 0.0


def gather(images: Frames, twins: Frames, edges: Array, quantization: Quantization) -> Sums:
    """What the residuals add up to."""
    found = np.zeros((6, len(edges) - 1))
    for frame, twin, rounding in together(images, twins):
        rest, high_x, high_e = frame - twin, highest(frame), highest(frame - twin)
        level = np.searchsorted(edges, twin) - 1
        use = (level >= 0) & (level < len(edges) - 1) & free(frame, quantization)
        use &= np.abs(high_e) < OUTLIER / 0.6745 * np.median(np.abs(high_e))
        parts = (np.ones_like(rest), twin, rest, rest**2, high_x * high_e, high_e**2 - rounding)
        found += [np.bincount(level[use], part[use], found.shape[1]) for part in parts]
    number = np.maximum(found[0], 1)
    return Sums(found[0], *(part / number for part in found[1:]))


def highest(image: Array) -> Array:
    """Second differences along Y and X, white noise keeps its variance; the border is mirrored."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if i == axis else (0, 0) for i in range(2)], mode="symmetric")
        parts = [padded.take(range(k, k + image.shape[axis]), axis) for k in range(3)]
        image = sum(weight * part for weight, part in zip(KERNEL, parts, strict=True))
    return image


def free(frame: Array, quantization: Quantization) -> Array:
    """Pixels whose neighbourhood is not cut off at the top, and not on the border."""
    good = np.pad(frame < np.inf if quantization.high is None else frame < quantization.high, 1)
    rows, columns = frame.shape
    around = [good[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.asarray(np.logical_and.reduce(around))


def line_of(sums: Sums) -> VarianceLine:
    """The variance of the noise against the signal; a constant where it does not rise."""
    some = (sums.number > 10) & (sums.power > 0)
    variance = sums.cross[some] ** 2 / sums.power[some]
    signal, number = sums.signal[some], sums.number[some]
    line = fit_line(torch.from_numpy(signal), torch.from_numpy(variance), torch.from_numpy(number))
    return line if line.slope > 0 else VarianceLine(0.0, float(number @ variance / number.sum()), line.covariance)


def fit_law(
    kind: str, images: Frames, twins: Frames, edges: Array, sums: Sums, line: VarianceLine, quantization: Quantization
) -> Noise:
    """The law of this kind."""
    low, high = float(edges[0]), float(edges[-1])
    if kind == "poisson_gaussian" and line.slope > 0:
        return PoissonGaussian.from_line(line, low, quantization)
    if kind in ("gaussian", "poisson_gaussian"):
        variance = line(float(sums.number @ sums.signal / sums.number.sum())) - quantization.step**2 / 12
        return Gaussian(max(variance, 1e-12) ** 0.5, quantization)
    pairs = Pairs(line, low, high, quantization)
    for frame, twin, _ in together(images, twins):
        pairs.add(*scaled(frame.ravel(), twin.ravel(), edges, sums, line, quantization))
    return Mixture.from_pairs(pairs) if kind == "mixture" else Histogram.from_pairs(pairs)


def scaled(
    frame: Array, twin: Array, edges: Array, sums: Sums, line: VarianceLine, quantization: Quantization
) -> tuple[Tensor, Tensor]:
    """Noisy values and signals whose residuals have mean zero and the variance of the line."""
    use = (twin >= edges[0]) & (twin <= edges[-1])
    x, s = frame[use], twin[use]
    spread = np.interp(s, sums.signal, sums.square - sums.mean**2)
    stretch = np.sqrt(np.maximum(line(s), 0) / np.maximum(spread, 1e-30))
    noisy = s + stretch * (x - s - np.interp(s, sums.signal, sums.mean))
    if quantization.high is not None:
        noisy = np.where(x >= quantization.high, quantization.high, noisy)
    if quantization.low is not None:
        noisy = np.where(x <= quantization.low, quantization.low, noisy)
    return torch.from_numpy(noisy), torch.from_numpy(s)


def provenance(
    kind: str, images: Frames, edges: Array, sums: Sums, line: VarianceLine, quantization: Quantization
) -> dict[str, Any]:
    """What is written beside the law, JSON-able."""
    residual = float(sums.number @ (sums.square - sums.mean**2) / sums.number.sum())
    noise = line(float(sums.number @ sums.signal / sums.number.sum()))
    warnings = []
    if noise < DULL * residual:
        warnings.append(
            f"at the highest frequencies there is only {100 * noise / residual:.0f} % of the residual's variance: the "
            "noise is correlated between pixels, or the denoised image too smooth; the noise model may be too narrow"
        )
    return {
        "software": f"noisewise {__version__}",
        "kind": kind,
        "bootstrapped_from": images.name,
        "sha256": [checksum(path) for path in dict.fromkeys(images.paths)],
        "frames": len(images),
        "signal_range": [float(edges[0]), float(edges[-1])],
        "digital": asdict(quantization),
        "gain_adu_per_e": line.slope if line.slope > 0 else None,
        "noise_std_adu": max(noise, 0.0) ** 0.5,
        "residual_std_adu": residual**0.5,
        "warnings": warnings,
    }
