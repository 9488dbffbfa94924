"""Gain, offset and read noise with their 95 % intervals, from the photon-transfer curve and what else is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.photon_transfer import Curve, Samples, covariances, without_hot
from noisewise.noise.fit.interval import Estimate

FIRM = 5.0  # standard errors that the slope of the third cumulant must be from zero
KNOWN_E = 0.5  # electrons: an offset with a smaller standard error is worth having
KNOWN = 0.25  # or: one that tells the variance of the read noise to this part
USUAL = (0.8, 1.75)  # ratios of third cumulants that photons and amplifiers have
EXCESS = 1.15  # ratio from which on an amplifier is seen


@dataclass(frozen=True)
class Unknown:
    """What cannot be told, and why."""

    reason: str

    def __str__(self) -> str:
        return f"unknown: {self.reason}"


Figure = Estimate | Unknown


@dataclass(frozen=True)
class Dark:
    """Dark frames: level (ADU) and variance (ADU²) of a pixel, with half the 95 % interval; hot pixels left out."""

    level: float
    level_reach: float
    variance: float
    variance_reach: float
    hot: Array


@dataclass(frozen=True)
class Detector:
    """What was found. gain_adu_per_e: the slope of the variance, ADU per electron unless an amplifier adds noise.

    excess_factor: F², by which an amplifier raises the variance. third_ratio: slope of the third cumulant over the
    square of that of the variance, 1 for photons, 1.5 behind an EM register. offset_from: in words.
    """

    gain_adu_per_e: Estimate
    offset_adu: Figure
    offset_from: str
    read_noise_adu: Figure
    read_noise_e: Figure
    excess_factor: Figure
    third_ratio: Figure


def detect(curve: Curve, rounding: float, dark: Dark | None, offset: float | None, darkest: float) -> Detector:
    """All figures. rounding: variance of rounding, ADU². offset, darkest: if known, and the darkest mean; ADU."""
    reach = student(curve.freedom)
    gain, ratio = around(curve.line.slope, reach * curve.error([1.0])), third_ratio(curve)
    level: Figure
    noise_adu: Figure
    if dark is not None:
        level, source = around(dark.level, dark.level_reach), "dark frames"
        noise_adu = root(dark.variance - rounding, dark.variance_reach)
    elif offset is not None:
        level, source = around(offset, 0.0), "as given"
        noise_adu = root(curve.line(offset) - rounding, reach * curve.error([offset, 1.0]))
    else:
        level, source = offset_from_third(curve, ratio, darkest, rounding), "third cumulant"
        nothing = Unknown("it takes the offset, or dark frames")
        noise_adu = nothing if isinstance(level, Unknown) else noise_from_third(curve, level.value, rounding)
    return Detector(gain, level, source, noise_adu, per_electron(noise_adu, gain), excess_of(ratio), ratio)


def dark_of(samples: Samples) -> Dark:
    """What dark frames tell."""
    (cool,), hot = without_hot(samples, [np.arange(len(samples.key))])
    weight = samples.freedom[cool] / samples.freedom[cool].sum()
    level, variance = (float(weight @ part[cool]) for part in (samples.mean, samples.variance))
    scores = weight[:, None] * np.stack([samples.mean[cool] - level, samples.variance[cool] - variance], 1)
    errors, groups = covariances(scores, samples.row_band[cool], samples.column_band[cool])
    reach = student(groups - 1.0) * np.sqrt(np.max([matrix.diagonal() for matrix in errors], 0))
    return Dark(level, float(reach[0]), variance, float(reach[1]), hot)


def around(value: float, reach: float) -> Estimate:
    """An interval with its value in the middle."""
    return Estimate(float(value), float(value - reach), float(value + reach))


def root(square: float, reach: float) -> Estimate:
    """A number from its square and half the interval of that."""
    low, value, high = (math.sqrt(max(part, 0.0)) for part in (square - reach, square, square + reach))
    return Estimate(value, low, high)


def per_electron(noise: Figure, gain: Estimate) -> Figure:
    """ADU over ADU per electron; both are taken as independent."""
    if isinstance(noise, Unknown):
        return noise
    if gain.value <= 0:
        return Unknown("the gain is not known")
    value, of_gain = noise.value / gain.value, noise.value / gain.value * (gain.high / gain.value - 1)
    below, above = ((end - noise.value) / gain.value for end in (noise.low, noise.high))
    return Estimate(value, max(value - math.hypot(below, of_gain), 0.0), value + math.hypot(above, of_gain))


def third_ratio(curve: Curve) -> Figure:
    """c = slope of the third cumulant / (slope of the variance)²."""
    if len(curve.numbers) < 4:
        return Unknown("too few frames for a third cumulant")
    if curve.line.slope <= 0:
        return Unknown("the gain is not known")
    slope, cubed = curve.line.slope, curve.numbers[2]
    error = curve.error([-2 * cubed / slope**3, 0.0, 1 / slope**2])
    return around(cubed / slope**2, student(curve.freedom) * error)


def offset_from_third(curve: Curve, ratio: Figure, darkest: float, rounding: float) -> Figure:
    """Where the third cumulant vanishes: the noise of readout is symmetric, so all of it comes from light."""
    slope, intercept = curve.line.slope, curve.line.intercept
    lowest = -intercept / slope
    where = f"lies between {lowest:.4g} and" if lowest < darkest else "is at most"
    bounds = f"the offset {where} {darkest:.4g} ADU; give dark frames, or the offset"
    if isinstance(ratio, Unknown):
        return Unknown(f"{ratio.reason}; {bounds}")
    error = (ratio.high - ratio.value) / student(curve.freedom)
    if ratio.value < FIRM * error:
        return Unknown(f"the frames alone do not tell; {bounds}")
    if ratio.high < USUAL[0] or ratio.low > USUAL[1]:
        return Unknown(f"the noise is not as photons make it; {bounds}")
    cubed, level = curve.numbers[2], -curve.numbers[3] / curve.numbers[2]
    error = curve.error([0.0, 0.0, -level / cubed, -1 / cubed])
    if level > darkest + 3 * error or level < lowest - 3 * error:
        return Unknown(f"the noise is not as photons make it; {bounds}")
    noise = noise_from_third(curve, level, rounding)
    if error > KNOWN_E * slope and noise.high**2 - noise.value**2 > 2 * KNOWN * noise.value**2:
        return Unknown(f"the frames alone do not tell; {bounds}")
    return around(level, student(curve.freedom) * error)


def noise_from_third(curve: Curve, level: float, rounding: float) -> Estimate:
    """Read noise in ADU, where the line of the variance meets this offset, itself from the third cumulant."""
    cubed, slope = curve.numbers[2], curve.line.slope
    gradient = [level, 1.0, -slope * level / cubed, -slope / cubed]
    return root(curve.line(level) - rounding, student(curve.freedom) * curve.error(gradient))


def excess_of(ratio: Figure) -> Figure:
    """F² = 1 / (2 − c), as gamma-distributed amplification has it, c the ratio of third cumulants.

    With 1/a the relative variance of the gain of one electron: F² = 1 + 1/a, c = (a + 2) / (a + 1).
    """
    if isinstance(ratio, Unknown):
        return ratio
    if not (ratio.value > EXCESS and ratio.low > 1 + (ratio.high - ratio.low) / 2 and ratio.value < USUAL[1]):
        return Unknown("no amplifier is seen")
    value, low, high = (1 / max(2 - c, 0.05) for c in (ratio.value, ratio.low, ratio.high))
    return Estimate(value, low, high)


def student(freedom: float) -> float:
    """97.5 % quantile of Student's distribution (Cornish and Fisher's series; within 1 % from 3 degrees on)."""
    z = 1.959964
    terms = (1.0, (z**2 + 1) / 4, (5 * z**4 + 16 * z**2 + 3) / 96, (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / 384)
    return float(z * sum(term / max(freedom, 1.0) ** i for i, term in enumerate(terms)))


def worded(figure: Figure) -> str:
    """`2.201 (2.197 to 2.205)`, as many digits as the interval allows; `unknown: the reason`."""
    if isinstance(figure, Unknown):
        return str(figure)
    width = figure.high - figure.low
    digits = 4 if width <= 0 else min(max(1 - math.floor(math.log10(width)), 0), 9)
    value, low, high = (f"{number:.{digits}f}" for number in (figure.value, figure.low, figure.high))
    return f"{value} ({low} to {high})" if width > 0 else f"{figure.value:g}"
