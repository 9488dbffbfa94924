"""Gain, offset and read noise with their 95 % intervals, from the photon-transfer curve, dark frames or the offset."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.photon_transfer import PhotonTransferCurve, Samples, covariances, without_hot
from noisewise.noise.fit.interval import Estimate

SIGNIFICANT = 5.0  # standard errors that the slope of the third cumulant must differ from zero
MAX_OFFSET_ERROR_E = 0.5  # electrons: standard error, above which an offset is not reported
MAX_NOISE_ERROR = 0.25  # unless the variance of the read noise has a smaller relative error than this
USUAL_RATIOS = (0.8, 1.75)  # ratios of third cumulants of photons, without and with an electron multiplier
EXCESS_RATIO = 1.15  # ratio above which an electron multiplier is reported


@dataclass(frozen=True)
class Unknown:
    """A quantity that cannot be determined, and the reason."""

    reason: str

    def __str__(self) -> str:
        return f"unknown: {self.reason}"


Quantity = Estimate | Unknown


@dataclass(frozen=True)
class DarkLevel:
    """Dark frames: offset (ADU) and variance (ADU²) of a pixel with half their 95 % intervals; hot pixels excluded."""

    offset: float
    offset_half_width: float
    variance: float
    variance_half_width: float
    hot: Array


@dataclass(frozen=True)
class Detector:
    """The parameters of a detector. gain_adu_per_e: slope of the variance, F² times the ADU per electron.

    excess_factor: F², by which an electron multiplier increases the variance. third_ratio: slope of the third cumulant
    over the square of that of the variance, 1 for photons, 1.5 after an EM register. offset_from: source of the offset.
    """

    gain_adu_per_e: Estimate
    offset_adu: Quantity
    offset_from: str
    read_noise_adu: Quantity
    read_noise_e: Quantity
    excess_factor: Quantity
    third_ratio: Quantity


def estimate_detector(
    curve: PhotonTransferCurve, rounding: float, dark: DarkLevel | None, offset: float | None, darkest: float
) -> Detector:
    """Estimate all parameters.

    rounding: variance of rounding, ADU². offset: ADU, if it is known. darkest: lowest mean of a pixel, ADU.
    """
    quantile = student_quantile(curve.freedom)
    gain, ratio = symmetric(curve.line.slope, quantile * curve.standard_error([1.0])), third_ratio(curve)
    level: Quantity
    read_noise: Quantity
    if dark is not None:
        level, source = symmetric(dark.offset, dark.offset_half_width), "dark frames"
        read_noise = square_root(dark.variance - rounding, dark.variance_half_width)
    elif offset is not None:
        level, source = symmetric(offset, 0.0), "as given"
        read_noise = square_root(curve.line(offset) - rounding, quantile * curve.standard_error([offset, 1.0]))
    else:
        level, source = offset_from_third_cumulant(curve, ratio, darkest, rounding), "third cumulant"
        if isinstance(level, Unknown):
            read_noise = Unknown("requires the offset or dark frames")
        else:
            read_noise = read_noise_from_third_cumulant(curve, level.value, rounding)
    return Detector(gain, level, source, read_noise, in_electrons(read_noise, gain), excess_factor(ratio), ratio)


def dark_level(samples: Samples) -> DarkLevel:
    """Offset and variance from dark frames."""
    (kept,), hot = without_hot(samples, [np.arange(len(samples.sort_key))])
    weight = samples.freedom[kept] / samples.freedom[kept].sum()
    offset, variance = (float(weight @ part[kept]) for part in (samples.mean, samples.variance))
    scores = weight[:, None] * np.stack([samples.mean[kept] - offset, samples.variance[kept] - variance], 1)
    matrices, groups = covariances(scores, samples.row_band[kept], samples.column_band[kept])
    half_width = student_quantile(groups - 1.0) * np.sqrt(np.max([matrix.diagonal() for matrix in matrices], 0))
    return DarkLevel(offset, float(half_width[0]), variance, float(half_width[1]), hot)


def symmetric(value: float, half_width: float) -> Estimate:
    """An estimate in the middle of its interval."""
    return Estimate(float(value), float(value - half_width), float(value + half_width))


def square_root(square: float, half_width: float) -> Estimate:
    """The square root of an estimate in the middle of its interval."""
    low, value, high = (math.sqrt(max(part, 0.0)) for part in (square - half_width, square, square + half_width))
    return Estimate(value, low, high)


def in_electrons(noise: Quantity, gain: Estimate) -> Quantity:
    """Noise in ADU over the gain in ADU per electron; their errors are treated as independent."""
    if isinstance(noise, Unknown):
        return noise
    if gain.value <= 0:
        return Unknown("the gain is not known")
    value, gain_error = noise.value / gain.value, noise.value / gain.value * (gain.high / gain.value - 1)
    below, above = ((end - noise.value) / gain.value for end in (noise.low, noise.high))
    return Estimate(value, max(value - math.hypot(below, gain_error), 0.0), value + math.hypot(above, gain_error))


def third_ratio(curve: PhotonTransferCurve) -> Quantity:
    """c = slope of the third cumulant / (slope of the variance)²."""
    if len(curve.coefficients) < 4:
        return Unknown("too few frames for a third cumulant")
    if curve.line.slope <= 0:
        return Unknown("the gain is not known")
    slope, third_slope = curve.line.slope, curve.coefficients[2]
    error = curve.standard_error([-2 * third_slope / slope**3, 0.0, 1 / slope**2])
    return symmetric(third_slope / slope**2, student_quantile(curve.freedom) * error)


def offset_from_third_cumulant(
    curve: PhotonTransferCurve, ratio: Quantity, darkest: float, rounding: float
) -> Quantity:
    """The signal at which the third cumulant vanishes: read noise is symmetric, so only light contributes to it."""
    slope, intercept = curve.line.slope, curve.line.intercept
    lowest = -intercept / slope
    where = f"lies between {lowest:.4g} and" if lowest < darkest else "is at most"
    bounds = f"the offset {where} {darkest:.4g} ADU; give dark frames, or the offset"
    if isinstance(ratio, Unknown):
        return Unknown(f"{ratio.reason}; {bounds}")
    error = (ratio.high - ratio.value) / student_quantile(curve.freedom)
    if ratio.value < SIGNIFICANT * error:
        return Unknown(f"the frames alone do not determine it; {bounds}")
    unusual = Unknown(f"the noise is not that of photons; {bounds}")
    if ratio.high < USUAL_RATIOS[0] or ratio.low > USUAL_RATIOS[1]:
        return unusual
    third_slope, offset = curve.coefficients[2], -curve.coefficients[3] / curve.coefficients[2]
    error = curve.standard_error([0.0, 0.0, -offset / third_slope, -1 / third_slope])
    if offset > darkest + 3 * error or offset < lowest - 3 * error:
        return unusual
    noise = read_noise_from_third_cumulant(curve, offset, rounding)
    uncertain = noise.high**2 - noise.value**2 > 2 * MAX_NOISE_ERROR * noise.value**2
    if error > MAX_OFFSET_ERROR_E * slope and uncertain:
        return Unknown(f"the frames alone do not determine it; {bounds}")
    return symmetric(offset, student_quantile(curve.freedom) * error)


def read_noise_from_third_cumulant(curve: PhotonTransferCurve, offset: float, rounding: float) -> Estimate:
    """Read noise in ADU: the variance at an offset that itself comes from the third cumulant."""
    third_slope, slope = curve.coefficients[2], curve.line.slope
    gradient = [offset, 1.0, -slope * offset / third_slope, -slope / third_slope]
    half_width = student_quantile(curve.freedom) * curve.standard_error(gradient)
    return square_root(curve.line(offset) - rounding, half_width)


def excess_factor(ratio: Quantity) -> Quantity:
    """F² = 1 / (2 − c) of gamma-distributed amplification, with c the ratio of third cumulants.

    With 1/a the relative variance of the gain of one electron: F² = 1 + 1/a, c = (a + 2) / (a + 1).
    """
    if isinstance(ratio, Unknown):
        return ratio
    significant = ratio.low > 1 + (ratio.high - ratio.low) / 2
    if not (ratio.value > EXCESS_RATIO and significant and ratio.value < USUAL_RATIOS[1]):
        return Unknown("no excess noise was detected")
    value, low, high = (1 / max(2 - c, 0.05) for c in (ratio.value, ratio.low, ratio.high))
    return Estimate(value, low, high)


def student_quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t distribution (Cornish-Fisher series; within 1 % from 3 degrees on)."""
    z = 1.959964
    terms = (1.0, (z**2 + 1) / 4, (5 * z**4 + 16 * z**2 + 3) / 96, (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / 384)
    return float(z * sum(term / max(freedom, 1.0) ** i for i, term in enumerate(terms)))


def format_quantity(quantity: Quantity) -> str:
    """`2.201 (2.197 to 2.205)`, with as many digits as the interval justifies; `unknown: the reason`."""
    if isinstance(quantity, Unknown):
        return str(quantity)
    width = quantity.high - quantity.low
    if width <= 0:
        return f"{quantity.value:g}"
    digits = min(max(1 - math.floor(math.log10(width)), 0), 9)
    value, low, high = (f"{number:.{digits}f}" for number in (quantity.value, quantity.low, quantity.high))
    return f"{value} ({low} to {high})"
