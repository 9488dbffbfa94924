"""Statistics of each pixel over the frames of a recording, and the correlation of neighbouring pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.frames import Frames
from noisewise.errors import UserError
from noisewise.noise.fit.pixel_values import PixelValueCounter
from noisewise.noise.quantization import Quantization

FOLDS = 2
MAX_KEPT = 20_000_000  # pixel values that stay in memory for the fit of a noise model
SIGNIFICANT = 6.0  # standard errors by which a change of brightness must exceed the noise


@dataclass(frozen=True)
class FrameMeans:
    """Results of the first pass over the frames: see `FrameStatistics`."""

    frames: Frames
    quantization: Quantization
    fold_frames: Array
    fold_mean: Array
    mean: Array
    drift: Array
    lowest: Array
    highest: Array
    pixels: Array
    values: Array


@dataclass(frozen=True)
class FrameStatistics(FrameMeans):
    """Maps (Y, X), float64, ADU; those of the two folds (2, Y, X).

    Frames 2j and 2j + 1 are a pair, and pairs alternate between two folds, so that the mean of one fold is independent
    of the noise in the other. Changes of brightness, α + β · mean in a frame, are removed from all deviations.

    fold_frames, fold_pairs: (2,), how many. mean: over all frames. drift: change from frame to frame. lowest, highest:
    over all frames. pixels, values: flat indices of some pixels, and their values (frames, pixels). variance: by fold,
    half the mean squared difference within pairs, where slow changes cancel. third_cumulant: by fold, NaN for too few
    frames. total_variance: over all frames. brightness: (frames, 2), α and β.
    """

    fold_pairs: Array
    variance: Array
    third_cumulant: Array
    total_variance: Array
    brightness: Array
    neighbours: NeighbourStatistics

    @property
    def clipped(self) -> tuple[Array, Array]:
        """Masks of the pixels that were at the lower, and at the upper limit in any frame."""
        low, high = self.quantization.low, self.quantization.high
        none = np.zeros(self.mean.shape, bool)
        return none if low is None else self.lowest <= low, none if high is None else self.highest >= high


def measure_frames(frames: Frames, seed: int = 0) -> FrameStatistics:
    """Measure the statistics of a recording in two passes: the means, then the deviations from them.

    seed: selects the pixels whose values are kept, where there are too many.

    Errors: `UserError` for a single frame, and for frames that do not differ.
    """
    if len(frames) < 2:
        raise UserError(f"{frames.name}: one frame shows no noise; give two or more of the same scene, 100 are good")
    means = measure_means(frames, seed)
    if not (means.highest > means.lowest).any():
        raise UserError(
            f"{frames.name}: the frames are all alike, pixel by pixel, so there is no noise; "
            "give the recording as the camera made it"
        )
    return measure_deviations(means)


def fold_of(frame: int) -> int:
    """The fold of a frame: pairs alternate."""
    return frame // 2 % FOLDS


def measure_means(frames: Frames, seed: int) -> FrameMeans:
    """The first pass."""
    shape, times = frames.shape, np.arange(len(frames)) - (len(frames) - 1) / 2
    count, sums, drift = np.zeros(FOLDS), np.zeros((FOLDS, *shape)), np.zeros(shape)
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)
    pixels, recorded = random_pixels(sums[0].size, len(frames), seed), PixelValueCounter(frames.dtype)
    values = np.empty((len(frames), len(pixels)), np.float32)
    for k, frame in enumerate(frames):
        values[k] = frame.ravel()[pixels]
        count[fold_of(k)] += 1
        sums[fold_of(k)] += frame
        drift += times[k] / (times**2).sum() * frame
        np.minimum(lowest, frame, out=lowest)
        np.maximum(highest, frame, out=highest)
        recorded.add(frame)
    mean = sums.sum(0) / len(frames)
    sums /= np.maximum(count, 1)[:, None, None]
    return FrameMeans(frames, recorded.quantization, count, sums, mean, drift, lowest, highest, pixels, values)


def fit_brightness(values: Array) -> Array:
    """Fit α and β of frame ≈ α + β · mean for each frame, (frames, 2), on average 0 and 1.

    They are shrunk towards 0 and 1 by the part of their scatter that noise explains: otherwise few bright pixels, which
    determine β, would lose a part of their noise. values: (frames, pixels).
    """
    mean = values.mean(0, dtype=np.float64)
    centred = mean - mean.mean()
    power = float(centred @ centred)
    levels = values.mean(1, dtype=np.float64)
    beta = np.array([float(centred @ frame) / power for frame in values]) if power else np.ones(len(values))
    noise2 = sum((after.astype(np.float64) - before) ** 2 for before, after in pairwise(values)) / (2 * len(values) - 2)
    expected = np.array([noise2.mean() / len(mean), float(centred**2 @ noise2) / power**2 if power else np.inf])
    scatter = np.array([levels.var(ddof=1), ((beta - 1) ** 2).sum() / (len(beta) - 1)])
    expected *= 1 + SIGNIFICANT * (2 / (len(values) - 1)) ** 0.5
    factor = np.where(scatter > expected, 1 - expected / np.maximum(scatter, 1e-300), 0.0)
    beta = 1 + factor[1] * (beta - 1)
    return np.stack([factor[0] * (levels - levels.mean()) + (1 - beta) * mean.mean(), beta], 1)


def measure_deviations(means: FrameMeans) -> FrameStatistics:
    """The second pass."""
    frames, brightness = means.frames, fit_brightness(means.values)
    shape, folds = frames.shape, [fold_of(k) for k in range(len(frames))]
    centres = []
    for fold, mean in enumerate(means.fold_mean):
        alpha, beta = brightness[np.equal(folds, fold)].mean(0) if fold in folds else (0.0, 0.0)
        centres.append(mean - alpha - beta * means.mean)
    pairs, squares, cubes = np.zeros(FOLDS), np.zeros((FOLDS, *shape)), np.zeros((FOLDS, *shape))
    total, neighbours, previous = np.zeros(shape), NeighbourSums(), np.zeros(shape)
    for k, frame in enumerate(frames):
        deviation = frame - brightness[k, 0] - brightness[k, 1] * means.mean
        total += deviation**2
        cubes[folds[k]] += (deviation - centres[folds[k]]) ** 3
        if k % 2:
            change = deviation - previous
            refuse_identical(frames.name, k, change)
            pairs[folds[k]] += 1
            squares[folds[k]] += change**2
            neighbours.add(change)
        previous = deviation
    n = means.fold_frames[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares /= 2 * pairs[:, None, None]
        cubes *= np.where(n > 2, n / ((n - 1) * (n - 2)), np.nan)
    return FrameStatistics(
        **vars(means), fold_pairs=pairs, variance=squares, third_cumulant=cubes,
        total_variance=total / (len(frames) - 1), brightness=brightness, neighbours=neighbours.statistics,
    )  # fmt: skip


def refuse_identical(name: str, frame: int, change: Array) -> None:
    """Errors: `UserError` for a frame that is identical to the previous one."""
    if np.ptp(change) <= 1e-12 * np.abs(change).max(initial=1.0):
        raise UserError(
            f"{name}: frame {frame} is identical to frame {frame - 1}, pixel by pixel; leave one of them out"
        )


def random_pixels(size: int, frames: int, seed: int) -> Array:
    """Indices of random pixels, as many as fit into memory with their values in all frames."""
    count = min(size, max(MAX_KEPT // frames, 1))
    return np.sort(np.random.default_rng(seed).choice(size, count, replace=False))


@dataclass(frozen=True)
class NeighbourStatistics:
    """The correlation between the noise of neighbouring pixels.

    along_y, along_x: correlation at distance 1. rows, columns: variance that all pixels of a row (column) share, and
    its standard error; ADU² of one frame.
    """

    along_y: float
    along_x: float
    rows: tuple[float, float]
    columns: tuple[float, float]

    @property
    def correlation(self) -> float:
        """The larger of both correlations, absolute."""
        return max(abs(self.along_y), abs(self.along_x))


class NeighbourSums:
    """Accumulates differences of two frames (Y, X) into `NeighbourStatistics`."""

    def __init__(self) -> None:
        self.count, self.square = 0, 0.0
        self.products, self.line_squares = np.zeros(2), np.zeros(2)
        self.shape = (0, 0)

    def add(self, change: Array) -> None:
        """Add a difference."""
        self.count, self.shape = self.count + 1, (change.shape[0], change.shape[1])
        self.square += float((change**2).mean())
        for axis, lines in enumerate((change, change.T)):
            self.products[axis] += (lines[1:] * lines[:-1]).mean() if len(lines) > 1 else 0.0
        self.line_squares += [float((change.mean(1 - axis) ** 2).mean()) for axis in range(2)]

    @property
    def statistics(self) -> NeighbourStatistics:
        """The statistics of a frame; a difference contains the noise of two."""
        square = self.square or 1.0
        shared = []
        for axis in range(2):
            independent = self.square / self.shape[1 - axis]
            error = (2 / (self.count * self.shape[axis])) ** 0.5 * self.line_squares[axis]
            shared.append(((self.line_squares[axis] - independent) / (2 * self.count), error / (2 * self.count)))
        along_y, along_x = (float(product) / square for product in self.products)
        return NeighbourStatistics(along_y, along_x, shared[0], shared[1])
