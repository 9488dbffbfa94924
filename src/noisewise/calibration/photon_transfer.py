"""The photon-transfer curve: variance and third cumulant against the mean, with robust standard errors.

Source: Janesick, Photon Transfer, SPIE Press (2007), doi:10.1117/3.725073.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.frame_statistics import FrameStatistics
from noisewise.noise.fit.variance_line import VarianceLine

MAX_BINS, MIN_BINS = 128, 8
BIN_SAMPLES = 100
HOT = 6.0  # robust standard deviations of the cube root of the variance, which is nearly Gaussian (Wilson, Hilferty)
BAND_LINES = 4  # rows (columns) that form a band, the unit of independent noise in the standard errors
MAX_BANDS, MIN_BANDS = 64, 8
MAX_CLIPPED = 0.05  # fraction of the samples of a bin at a limit, above which the bin is excluded
NEAR_LINE, NEAR_LINE_BINS = 0.1, 0.9  # deviation relative to the variance; fraction of the bins that must be as near
ROUNDS = 10
MIN_CUMULANT_FRAMES = 4  # of a fold, from which on third cumulants are used


@dataclass(frozen=True)
class Samples:
    """One entry per pixel and fold, flat.

    sort_key: a measure of the signal whose noise is independent of the other values, so that sorting adds no bias.
    mean, variance, third_cumulant: of the fold (third_cumulant NaN for too few frames). freedom: degrees of freedom of
    the variance. at_low, at_high: whether the pixel was at a limit. row_band, column_band: pixels that may share noise.
    pixel: flat index.
    """

    sort_key: Array
    mean: Array
    variance: Array
    third_cumulant: Array
    freedom: Array
    at_low: Array
    at_high: Array
    row_band: Array
    column_band: Array
    pixel: Array


def samples_of(statistics: FrameStatistics, pattern: Array | float = 0.0) -> Samples:
    """Both folds of a recording, each sorted by the mean of the other one, or if there is none, of the neighbours.

    pattern: fixed pattern without light, ADU; it is subtracted.
    """
    rows, columns = statistics.mean.shape
    folds = [fold for fold in range(2) if statistics.fold_pairs[fold] > 0]
    means = statistics.fold_mean - pattern
    surround = np.pad(statistics.mean - pattern, 1, mode="reflect" if min(rows, columns) > 1 else "edge")
    keys = [means[1 - fold] if statistics.fold_frames[1 - fold] else four_neighbour_mean(surround) for fold in folds]
    third = statistics.third_cumulant[folds].ravel()
    at_low, at_high = statistics.clipped

    def per_fold(part: Array) -> Array:
        return np.tile(np.broadcast_to(part, (rows, columns)).ravel(), len(folds))

    # Single precision is enough for single pixels, and a whole sensor has millions.
    return Samples(
        sort_key=np.concatenate([key.ravel() for key in keys]).astype(np.float32),
        mean=means[folds].ravel().astype(np.float32),
        variance=statistics.variance[folds].ravel().astype(np.float32),
        third_cumulant=np.where(statistics.fold_frames.min() >= MIN_CUMULANT_FRAMES, third, np.nan).astype(np.float32),
        freedom=np.repeat(statistics.fold_pairs[folds].astype(np.float32), rows * columns),
        at_low=per_fold(at_low),
        at_high=per_fold(at_high),
        row_band=per_fold(bands(rows)[:, None].astype(np.int32)),
        column_band=per_fold(bands(columns).astype(np.int32)),
        pixel=per_fold(np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)),
    )


def fixed_pattern(dark: FrameStatistics) -> Array:
    """Deviation of each pixel in dark frames, ADU, shrunk towards zero by the part that noise explains."""
    deviation = dark.mean - np.median(dark.mean)
    low, high = np.percentile(deviation, [1, 99])
    noise = float(np.median(dark.total_variance)) / len(dark.brightness)
    pattern = max(float(np.clip(deviation, low, high).var()) - noise, 0.0)
    return np.asarray(deviation * pattern / (pattern + noise))


def four_neighbour_mean(padded: Array) -> Array:
    """Mean of the four neighbours of each pixel of an image that was padded by one pixel."""
    return np.asarray((padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4)


def bands(size: int) -> Array:
    """The band that each row (column) belongs to."""
    count = max(min(MAX_BANDS, size // BAND_LINES), min(MIN_BANDS, size))
    return np.arange(size) * count // size


def concatenate(parts: Sequence[Samples]) -> Samples:
    """The samples of several recordings; the bands of each are separate."""
    found = {field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Samples)}
    for name in ("row_band", "column_band"):
        starts = np.cumsum([0, *(getattr(part, name).max() + 1 for part in parts[:-1])])
        found[name] = found[name] + np.repeat(starts, [len(part.sort_key) for part in parts])
    return Samples(**found)


@dataclass(frozen=True)
class PhotonTransferCurve:
    """Bins of about equal count: signal (ADU), variance (ADU²), its standard error, third cumulant (ADU³) of each.

    line: variance against signal. coefficients: slope and intercept of the variance, then, if there are third
    cumulants, of those. covariances: of the coefficients, for independent pixels, for independent bands of rows, and
    for independent bands of columns. freedom: degrees of freedom. hot: flat indices of pixels that were excluded
    because they vary far more than others of the same brightness. clipped_low, clipped_high: bins that were excluded
    because they touch a limit.
    """

    signal: Array
    variance: Array
    variance_error: Array
    third_cumulant: Array
    line: VarianceLine
    coefficients: Array
    covariances: list[Array]
    freedom: float
    hot: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    clipped_low: int = 0
    clipped_high: int = 0

    def standard_error(self, gradient: Sequence[float]) -> float:
        """Standard error of a function of the coefficients with this gradient: the largest of the three."""
        direction = np.zeros(len(self.coefficients))
        direction[: len(gradient)] = gradient
        variances = [float(direction @ matrix @ direction) for matrix in self.covariances]
        return float(max(*variances, 0.0) ** 0.5)


def photon_transfer(samples: Samples) -> PhotonTransferCurve:
    """Bin the samples, except those at a limit and hot pixels, and fit the lines through the bins.

    Bins at the lower limit are kept if they lie on the line of the others, as where photons are counted from 0, and if
    hardly any others remain.
    """
    count = min(max(len(samples.sort_key) // BIN_SAMPLES, MIN_BINS), MAX_BINS, len(samples.sort_key))
    unsaturated = without_saturated(samples, np.array_split(np.argsort(samples.sort_key), count))
    bins, hot = without_hot(samples, unsaturated)
    unclipped = [part for part in bins if samples.at_low[part].mean() <= MAX_CLIPPED]
    curve = fit_curve(samples, unclipped if len(unclipped) >= MIN_BINS else bins)
    if len(curve.signal) < len(bins):
        whole = fit_curve(samples, bins)
        deviation = np.abs(whole.variance - curve.line.slope * whole.signal - curve.line.intercept)
        error = np.array([curve.standard_error([signal, 1.0]) for signal in whole.signal])
        if (deviation < NEAR_LINE * whole.variance + 3 * error).mean() > NEAR_LINE_BINS:
            curve = whole
    return replace(curve, hot=hot, clipped_low=len(bins) - len(curve.signal), clipped_high=count - len(bins))


def fit_curve(samples: Samples, bins: list[Array]) -> PhotonTransferCurve:
    """Means over each bin, and the lines through them."""
    index, which = np.concatenate(bins), np.repeat(np.arange(len(bins)), [len(part) for part in bins])
    freedom = samples.freedom[index]
    total = np.bincount(which, freedom)

    def bin_mean(values: Array) -> Array:
        return np.asarray(np.bincount(which, values * freedom) / total)

    mean, variance, third = samples.mean[index], samples.variance[index], samples.third_cumulant[index]
    signal, bin_variance, bin_third = bin_mean(mean), bin_mean(variance), bin_mean(third)
    error = np.bincount(which, (freedom * (variance - bin_variance[which])) ** 2) ** 0.5 / total
    (slope, intercept), weight = reweighted_line(signal, bin_variance, total)
    # Entries of one bin have one weight; each adds its score times the inverse matrix to the coefficients.
    scores = [influence(signal, weight, which, freedom / total[which] * (variance - slope * mean - intercept))]
    coefficients = [slope, intercept]
    if np.isfinite(bin_third).all():
        weight = total / np.maximum(slope * signal + intercept, 1e-12 * bin_variance.mean()) ** 3
        a, b = solve_line(signal, bin_third, weight)
        scores.append(influence(signal, weight, which, freedom / total[which] * (third - a * mean - b)))
        coefficients += [a, b]
    matrices, groups = covariances(np.concatenate(scores, 1), samples.row_band[index], samples.column_band[index])
    (aa, ab), (ba, bb) = matrices[0][:2, :2].tolist()
    line = VarianceLine(float(slope), float(intercept), ((aa, ab), (ba, bb)))
    return PhotonTransferCurve(
        signal, bin_variance, error, bin_third, line, np.array(coefficients), matrices, groups - 2.0
    )


def without_saturated(samples: Samples, bins: list[Array]) -> list[Array]:
    """Bins except those whose pixels saturate; single saturated pixels are excluded from the others."""
    return [part[~samples.at_high[part]] for part in bins if samples.at_high[part].mean() <= MAX_CLIPPED] or bins


def without_hot(samples: Samples, bins: list[Array]) -> tuple[list[Array], Array]:
    """Bins without samples whose variance is far above that of the others; and the pixels of these."""
    kept, hot = [], []
    for part in bins:
        root = np.cbrt(samples.variance[part])
        median, upper = np.percentile(root, [50, 75])
        outlying = root > median + HOT * (upper - median) / 0.6745
        kept.append(part[~outlying])
        hot.append(samples.pixel[part[outlying]])
    return kept, np.unique(np.concatenate(hot))


def solve_line(x: Array, y: Array, weight: Array) -> tuple[float, float]:
    """Slope and intercept by weighted least squares."""
    centre = (weight @ x) / weight.sum()
    slope = (weight * (x - centre)) @ y / ((weight * (x - centre)) @ (x - centre))
    return float(slope), float((weight @ y) / weight.sum() - slope * centre)


def reweighted_line(signal: Array, variance: Array, freedom: Array) -> tuple[tuple[float, float], Array]:
    """The line of the variance and its weights, freedom / variance², with the variance from the line itself."""
    fitted, floor = variance, 1e-3 * variance.min() + 1e-300
    for _ in range(ROUNDS):
        weight = freedom / np.maximum(fitted, floor) ** 2
        slope, intercept = solve_line(signal, variance, weight)
        fitted = slope * signal + intercept
    return (slope, intercept), weight


def influence(signal: Array, weight: Array, which: Array, deviation: Array) -> Array:
    """The contribution of each entry to slope and intercept, (N, 2)."""
    design = np.stack([signal, np.ones_like(signal)], 1)
    inverse = np.linalg.inv(design.T @ (design * weight[:, None]))
    return np.asarray((design * weight[:, None] @ inverse)[which] * deviation[:, None], np.float32)


def covariances(scores: Array, *labels: Array) -> tuple[list[Array], int]:
    """Covariances of the sum of scores (N, K), for independent entries and for independent groups of equal label.

    Returns the matrices and the smallest number of independent groups.
    """
    matrices, fewest = [scores.T @ scores], len(scores)
    for label in labels:
        sums = np.stack([np.bincount(label, column) for column in scores.T], 1)
        count = len(np.unique(label))
        if count >= MIN_BANDS:
            matrices.append(sums.T @ sums * count / (count - 1))
            fewest = min(fewest, count)
    return matrices, fewest
