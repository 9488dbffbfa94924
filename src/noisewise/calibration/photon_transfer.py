"""The photon-transfer curve: variance and third cumulant against the mean, with errors that hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.frame_statistics import FrameStatistics
from noisewise.noise.fit.variance_line import VarianceLine

BINS, LEAST_BINS = 128, 8
BIN_SAMPLES = 100
HOT = 6.0  # robust standard deviations of the cube root of the variance, which is nearly Gaussian (Wilson, Hilferty)
BAND = 4  # rows (columns) that are taken together when errors are estimated
BANDS, LEAST_BANDS = 64, 8
CUT = 0.05  # share of the pixels of a bin that touch a limit, from which on the bin is left out
OFF, OFF_SHARE = 0.1, 0.9  # of the variance; of the bins: so near they are on a line
ROUNDS = 10
CUBED_FRAMES = 4  # of a fold, from which on third cumulants are used


@dataclass(frozen=True)
class Samples:
    """One entry a pixel and fold, flat.

    key: sorts by signal, with a noise of its own, so that sorting takes no side. mean, variance, third: of the fold
    (third NaN where frames are too few). freedom: differences behind the variance. low, high: the pixel was at a
    limit. row_band, column_band: what may share noise. pixel: flat index.
    """

    key: Array
    mean: Array
    variance: Array
    third: Array
    freedom: Array
    low: Array
    high: Array
    row_band: Array
    column_band: Array
    pixel: Array


def samples_of(survey: FrameStatistics, pattern: Array | float = 0.0) -> Samples:
    """Both folds of a recording, each sorted by the mean of the other, or if there is none, by its neighbours.

    pattern: what each pixel differs by without light, ADU; it is taken off.
    """
    rows, columns = survey.mean.shape
    folds = [fold for fold in range(2) if survey.fold_pairs[fold] > 0]
    means = survey.fold_mean - pattern
    keys = [means[1 - fold] if survey.fold_frames[1 - fold] else around(survey.mean - pattern) for fold in folds]
    low, high = survey.clipped

    def twice(part: Array) -> Array:
        return np.tile(np.broadcast_to(part, (rows, columns)).ravel(), len(folds))

    # Single precision is enough for single pixels, and a whole sensor has millions.
    return Samples(
        key=np.concatenate([key.ravel() for key in keys]).astype(np.float32),
        mean=means[folds].ravel().astype(np.float32),
        variance=survey.variance[folds].ravel().astype(np.float32),
        third=np.where(survey.fold_frames.min() >= CUBED_FRAMES, survey.third[folds].ravel(), np.nan).astype(
            np.float32
        ),
        freedom=np.repeat(survey.fold_pairs[folds].astype(np.float32), rows * columns),
        low=twice(low),
        high=twice(high),
        row_band=twice(bands(rows)[:, None].astype(np.int32)),
        column_band=twice(bands(columns).astype(np.int32)),
        pixel=twice(np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)),
    )


def fixed_pattern(dark: FrameStatistics) -> Array:
    """What pixels differ by in dark frames, ADU, drawn to none as far as chance explains it."""
    off = dark.mean - np.median(dark.mean)
    low, high = np.percentile(off, [1, 99])
    chance = float(np.median(dark.whole)) / len(dark.brightness)
    true = max(float(np.clip(off, low, high).var()) - chance, 0.0)
    return np.asarray(off * true / (true + chance))


def around(image: Array) -> Array:
    """Mean of the four neighbours of each pixel."""
    padded = np.pad(image, 1, mode="reflect" if min(image.shape) > 1 else "edge")
    return np.asarray((padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4)


def bands(size: int) -> Array:
    """The band that each row (column) lies in."""
    number = max(min(BANDS, size // BAND), min(LEAST_BANDS, size))
    return np.arange(size) * number // size


def joined(parts: Sequence[Samples]) -> Samples:
    """Several recordings as one; each has bands of its own."""
    found = {field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Samples)}
    for name in ("row_band", "column_band"):
        starts = np.cumsum([0, *(getattr(part, name).max() + 1 for part in parts[:-1])])
        found[name] = found[name] + np.repeat(starts, [len(part.key) for part in parts])
    return Samples(**found)


@dataclass(frozen=True)
class Curve:
    """Bins of about equal count: signal, variance (ADU²), its standard error and third cumulant (ADU³) of each.

    line: variance against signal. numbers: slope and intercept of the variance, then, if there are third cumulants,
    of those. errors: their covariance matrix, once for independent pixels, once for independent bands of rows, once
    for those of columns. hot: flat indices of pixels left out because they vary far more than others as bright.
    cut_low, cut_high: bins left out because they touch a limit.
    """

    signal: Array
    variance: Array
    variance_error: Array
    third: Array
    line: VarianceLine
    numbers: Array
    errors: list[Array]
    freedom: float
    hot: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    cut_low: int = 0
    cut_high: int = 0

    def error(self, gradient: Sequence[float]) -> float:
        """Standard error of what changes so with the numbers: the largest of the three."""
        direction = np.zeros(len(self.numbers))
        direction[: len(gradient)] = gradient
        squares = [float(direction @ matrix @ direction) for matrix in self.errors]
        return float(max(*squares, 0.0) ** 0.5)


def photon_transfer(samples: Samples) -> Curve:
    """Bins of the samples, less those at a limit and less hot pixels, and the lines through them.

    Bins at the lower limit stay if they lie on the line of the others, as where photons are counted from 0, and if
    hardly any others are left.
    """
    number = min(max(len(samples.key) // BIN_SAMPLES, LEAST_BINS), BINS, len(samples.key))
    bright = without_saturated(samples, np.array_split(np.argsort(samples.key), number))
    parts, hot = without_hot(samples, bright)
    clear = [part for part in parts if samples.low[part].mean() <= CUT]
    curve = lines_through(samples, clear if len(clear) >= LEAST_BINS else parts)
    if len(curve.signal) < len(parts):
        whole = lines_through(samples, parts)
        off = np.abs(whole.variance - curve.line.slope * whole.signal - curve.line.intercept)
        error = np.array([curve.error([signal, 1.0]) for signal in whole.signal])
        if (off < OFF * whole.variance + 3 * error).mean() > OFF_SHARE:
            curve = whole
    return replace(curve, hot=hot, cut_low=len(parts) - len(curve.signal), cut_high=number - len(parts))


def lines_through(samples: Samples, parts: list[Array]) -> Curve:
    """Means over each bin, and the lines through them."""
    index, which = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    freedom = samples.freedom[index]
    total = np.bincount(which, freedom)

    def per_bin(values: Array) -> Array:
        return np.asarray(np.bincount(which, values * freedom) / total)

    mean, variance, third = samples.mean[index], samples.variance[index], samples.third[index]
    signal, level, cubed = per_bin(mean), per_bin(variance), per_bin(third)
    spread = np.bincount(which, (freedom * (variance - level[which])) ** 2) ** 0.5 / total
    (slope, intercept), weight = reweighted_line(signal, level, total)
    # Entries of one bin have one weight; what each adds to the numbers is its score times the inverse matrix.
    scores = [influence(signal, weight, which, freedom / total[which] * (variance - slope * mean - intercept))]
    numbers = [slope, intercept]
    if np.isfinite(cubed).all():
        weight = total / np.maximum(slope * signal + intercept, 1e-12 * level.mean()) ** 3
        a, b = solve_line(signal, cubed, weight)
        scores.append(influence(signal, weight, which, freedom / total[which] * (third - a * mean - b)))
        numbers += [a, b]
    errors, clusters = covariances(np.concatenate(scores, 1), samples.row_band[index], samples.column_band[index])
    corner = errors[0][:2, :2].tolist()
    line = VarianceLine(float(slope), float(intercept), ((corner[0][0], corner[0][1]), (corner[1][0], corner[1][1])))
    return Curve(signal, level, spread, cubed, line, np.array(numbers), errors, clusters - 2.0)


def without_saturated(samples: Samples, parts: list[Array]) -> list[Array]:
    """Bins without those whose pixels saturate; single such pixels are left out of the others."""
    return [part[~samples.high[part]] for part in parts if samples.high[part].mean() <= CUT] or parts


def without_hot(samples: Samples, parts: list[Array]) -> tuple[list[Array], Array]:
    """Bins without entries whose variance is far above that of the others; and the pixels that these are."""
    cool, hot = [], []
    for part in parts:
        root = np.cbrt(samples.variance[part])
        middle, upper = np.percentile(root, [50, 75])
        beyond = root > middle + HOT * (upper - middle) / 0.6745
        cool.append(part[~beyond])
        hot.append(samples.pixel[part[beyond]])
    return cool, np.unique(np.concatenate(hot))


def solve_line(x: Array, y: Array, weight: Array) -> tuple[float, float]:
    """Slope and intercept by weighted least squares."""
    centre = (weight @ x) / weight.sum()
    slope = (weight * (x - centre)) @ y / ((weight * (x - centre)) @ (x - centre))
    return float(slope), float((weight @ y) / weight.sum() - slope * centre)


def reweighted_line(signal: Array, variance: Array, freedom: Array) -> tuple[tuple[float, float], Array]:
    """The line of the variance and its weights, freedom / variance², with the variance that the line itself gives."""
    fitted, floor = variance, 1e-3 * variance.min() + 1e-300
    for _ in range(ROUNDS):
        weight = freedom / np.maximum(fitted, floor) ** 2
        slope, intercept = solve_line(signal, variance, weight)
        fitted = slope * signal + intercept
    return (slope, intercept), weight


def influence(signal: Array, weight: Array, which: Array, deviation: Array) -> Array:
    """What each entry adds to slope and intercept, (N, 2)."""
    design = np.stack([signal, np.ones_like(signal)], 1)
    inverse = np.linalg.inv(design.T @ (design * weight[:, None]))
    return np.asarray((design * weight[:, None] @ inverse)[which] * deviation[:, None], np.float32)


def covariances(scores: Array, *labels: Array) -> tuple[list[Array], int]:
    """Covariance of sums of scores (N, K): all independent; or only groups of equal label. And the fewest groups."""
    found, fewest = [scores.T @ scores], len(scores)
    for label in labels:
        sums = np.stack([np.bincount(label, column) for column in scores.T], 1)
        number = len(np.unique(label))
        if number >= LEAST_BANDS:
            found.append(sums.T @ sums * number / (number - 1))
            fewest = min(fewest, number)
    return found, fewest
