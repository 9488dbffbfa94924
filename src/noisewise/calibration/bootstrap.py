"""A noise model from the user's own noisy images and their denoised images, where there is no recording.

Source: the bootstrapped noise models of Prakash et al. 2020, arXiv:1911.12291, with a correction of the residual's
variance.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.calibration.frames import Frames, open_frames, provenance_of
from noisewise.errors import UserError
from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import Pairs
from noisewise.noise.fit.pixel_values import PixelValueCounter
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization

KINDS = ("gaussian", "poisson_gaussian", "histogram", "mixture")
PERCENTILES = (0.5, 99.5)  # range of the denoised image: outside of it, its errors exceed the noise
BINS = 64
MIN_PIXELS = 1000
OUTLIER = 8.0  # robust standard deviations: larger deviations are not used for the variance
KERNEL = np.array([1.0, -2.0, 1.0]) / 6**0.5  # the highest frequencies; keeps the variance of white noise
MIN_HIGH_FREQUENCY = 0.6  # of the residual's variance: with less at the highest frequencies, the noise is not white


@dataclass
class ResidualStatistics:
    """Bins of the denoised image by signal: number of pixels, and means of signal, residual e, e², h(x) h(e), h(e)².

    h: the highest frequencies, see `highest_frequencies`. edges: of the bins, ADU. quantization: of the noisy images.
    """

    edges: Array
    quantization: Quantization
    number: Array
    signal: Array
    mean: Array
    square: Array
    cross: Array
    power: Array

    @property
    def mean_signal(self) -> float:
        """Mean over all pixels, ADU."""
        return float(self.number @ self.signal / self.number.sum())

    @property
    def variance(self) -> Array:
        """Variance of the residual in each bin, ADU²."""
        return np.asarray(self.square - self.mean**2)


def bootstrap(noisy: Any, denoised: Any, *, kind: str = "mixture", axes: str | None = None) -> Noise:
    """Fit p(x|s) to noisy images, with their denoised images (paths or arrays of equal shape) in place of the signal s.

    The residual e = x − ŝ is not the noise: a denoiser that smooths too much leaves signal in it, one that smooths too
    little removes noise from it; its variance is wrong by tens of percent, in either direction. At the highest
    frequencies h(·) the image contains hardly any signal. If the denoiser keeps a fraction ρ of the noise there, then
    h(e) = (1 − ρ) h(n) and h(x) = h(n), and the variance of white noise is

        v(ŝ) = E[h(x) h(e)]² / E[h(e)²]

    for any ρ. A line is fitted to v, residuals are scaled to it, and the noise model is fitted to them.

    Errors: `UserError` for images that do not fit each other, or without a range of signals.
    """
    if kind not in KINDS:
        raise UserError(f"a noise model of kind '{kind}' cannot be made from denoised images; give {', '.join(KINDS)}")
    images, clean = open_frames(noisy, axes), open_frames(denoised, axes)
    if images.shape != clean.shape or len(images) != len(clean):
        raise UserError(
            f"{clean.name}: does not have the shape of {images.name}; give the denoised image of each image"
        )
    edges, quantization = signal_bins(images, clean)
    statistics = residual_statistics(images, clean, edges, quantization)
    line = fit_variance_line(statistics)
    noise_model = fit_noise_model(kind, images, clean, statistics, line)
    noise = line(statistics.mean_signal)
    residual = float(statistics.number @ statistics.variance / statistics.number.sum())
    noise_model.provenance = provenance_of(images, kind, (float(edges[0]), float(edges[-1])), quantization) | {
        "bootstrapped_from": images.name,
        "gain_adu_per_e": line.slope if line.slope > 0 else None,
        "noise_std_adu": max(noise, 0.0) ** 0.5,
        "residual_std_adu": residual**0.5,
        "warnings": check_whiteness(noise, residual),
    }
    return noise_model


def check_whiteness(noise: float, residual: float) -> list[str]:
    """Compare the variances of the noise, from the highest frequencies, and of the residual, ADU²; returns warnings."""
    if not noise < MIN_HIGH_FREQUENCY * residual:
        return []
    return [
        f"at the highest frequencies there is only {100 * noise / residual:.0f} % of the residual's variance: the "
        "denoised image is too smooth and the noise may be underestimated, or the noise is correlated; then use: "
        "noisewise calibrate IMAGES --denoised DENOISED --kind correlated -o NOISE"
    ]


def signal_bins(images: Frames, denoised: Frames) -> tuple[Array, Quantization]:
    """Edges of the bins, by signal, and the quantization of the noisy images. Errors: `UserError`."""
    values, kept = PixelValueCounter(images.dtype), []
    for frame, clean in zip(images, denoised, strict=True):
        values.add(frame)
        kept.append(clean.ravel()[:: max(1, len(denoised) * clean.size // 1_000_000)])
    edges = np.unique(np.percentile(np.concatenate(kept), np.linspace(*PERCENTILES, BINS + 1)))
    if len(edges) < 3 or len(images) * images.shape[0] * images.shape[1] < MIN_PIXELS:
        raise UserError(f"{denoised.name}: holds too few pixels or signals for a noise model; give a larger image")
    return edges, values.quantization


def frame_pairs(images: Frames, denoised: Frames) -> Iterator[tuple[Array, Array, float]]:
    """Frames, their denoised frames, and the variance that rounding adds to the difference, ADU².

    A denoised frame of whole numbers gets uniform noise of one step: otherwise all residuals would be whole numbers,
    and the noise model would be fitted to their comb.
    """
    rng = np.random.default_rng(0)
    for frame, clean in zip(images, denoised, strict=True):
        if (clean == np.rint(clean)).all():
            yield frame, clean + rng.uniform(-0.5, 0.5, clean.shape), 2 / 12
        else:
            yield frame, clean, 0.0


def residual_statistics(
    images: Frames, denoised: Frames, edges: Array, quantization: Quantization
) -> ResidualStatistics:
    """Statistics of the residuals in each bin."""
    sums = np.zeros((6, len(edges) - 1))
    for frame, clean, rounding in frame_pairs(images, denoised):
        residual = frame - clean
        high_x, high_e = highest_frequencies(frame), highest_frequencies(residual)
        index = np.searchsorted(edges, clean) - 1
        use = (index >= 0) & (index < len(edges) - 1) & has_unsaturated_neighbourhood(frame, quantization)
        use &= np.abs(high_e) < OUTLIER / 0.6745 * np.median(np.abs(high_e))
        parts = (np.ones_like(residual), clean, residual, residual**2, high_x * high_e, high_e**2 - rounding)
        sums += [np.bincount(index[use], part[use], sums.shape[1]) for part in parts]
    number = np.maximum(sums[0], 1)
    return ResidualStatistics(edges, quantization, sums[0], *(part / number for part in sums[1:]))


def highest_frequencies(image: Array) -> Array:
    """Second differences along Y and X, scaled to keep the variance of white noise; the border is mirrored."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if i == axis else (0, 0) for i in range(2)], mode="symmetric")
        parts = [padded.take(range(k, k + image.shape[axis]), axis) for k in range(3)]
        image = sum(weight * part for weight, part in zip(KERNEL, parts, strict=True))
    return image


def has_unsaturated_neighbourhood(frame: Array, quantization: Quantization) -> Array:
    """Mask of pixels whose 3 x 3 neighbourhood is not saturated, and which are not on the border."""
    good = np.pad(frame < np.inf if quantization.high is None else frame < quantization.high, 1)
    rows, columns = frame.shape
    neighbourhood = [good[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.asarray(np.logical_and.reduce(neighbourhood))


def fit_variance_line(statistics: ResidualStatistics) -> VarianceLine:
    """The variance of the noise against the signal; a constant where it does not rise."""
    some = (statistics.number > 10) & (statistics.power > 0)
    variance = statistics.cross[some] ** 2 / statistics.power[some]
    signal, number = statistics.signal[some], statistics.number[some]
    line = fit_line(torch.from_numpy(signal), torch.from_numpy(variance), torch.from_numpy(number))
    return line if line.slope > 0 else VarianceLine(0.0, float(number @ variance / number.sum()), line.covariance)


def fit_noise_model(
    kind: str, images: Frames, denoised: Frames, statistics: ResidualStatistics, line: VarianceLine
) -> Noise:
    """Fit the noise model of this kind."""
    low, high, quantization = float(statistics.edges[0]), float(statistics.edges[-1]), statistics.quantization
    if kind == "poisson_gaussian" and line.slope > 0:
        return PoissonGaussian.from_line(line, low, quantization)
    if kind in ("gaussian", "poisson_gaussian"):
        variance = line(statistics.mean_signal) - quantization.step**2 / 12
        return Gaussian(max(variance, sys.float_info.min) ** 0.5, quantization)
    pairs = Pairs(line, low, high, quantization)
    for frame, clean, _ in frame_pairs(images, denoised):
        pairs.add(*scaled_pairs(frame.ravel(), clean.ravel(), statistics, line))
    return Mixture.from_pairs(pairs) if kind == "mixture" else Histogram.from_pairs(pairs)


def scaled_pairs(
    frame: Array, denoised: Array, statistics: ResidualStatistics, line: VarianceLine
) -> tuple[Tensor, Tensor]:
    """Noisy values and signals whose residuals have mean zero and the variance of the line; values at a limit stay."""
    quantization, use = statistics.quantization, (denoised >= statistics.edges[0]) & (denoised <= statistics.edges[-1])
    x, s = frame[use], denoised[use]
    variance = np.interp(s, statistics.signal, statistics.variance)
    scale = np.sqrt(np.maximum(line(s), 0) / np.maximum(variance, sys.float_info.min))
    noisy = s + scale * (x - s - np.interp(s, statistics.signal, statistics.mean))
    if quantization.high is not None:
        noisy = np.where(x >= quantization.high, quantization.high, noisy)
    if quantization.low is not None:
        noisy = np.where(x <= quantization.low, quantization.low, noisy)
    return torch.from_numpy(noisy), torch.from_numpy(s)
