"""What a recording adds up to in each pixel: mean, variance, third cumulant, and how neighbours go together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.frames import Frames
from noisewise.errors import UserError
from noisewise.noise.fit.recorded_values import Values
from noisewise.noise.quantization import Quantization

FOLDS = 2
KEPT = 20_000_000  # values, at most, that stay in memory for fitting a law
SURE = 6.0  # standard errors by which a change of brightness must be more than noise


@dataclass(frozen=True)
class FrameStatistics:
    """Maps (Y, X), float64, ADU; those of the folds (2, Y, X).

    Frames 2j and 2j + 1 are a pair, and pairs go to two folds in turn, so that the mean of one fold says nothing of
    the noise in the other. Changes of brightness, α + β · mean in a frame, are taken off all deviations.

    fold_frames, fold_pairs: (2,), how many. variance: half the mean squared difference within pairs, where slow
    changes cancel; third: third cumulant; both by fold, NaN where frames are too few. whole: variance over all
    frames. drift: change from frame to frame. brightness: (frames, 2), α and β. lowest, highest: of all frames.
    where, kept: flat indices of some pixels, and their values (frames, pixels). neighbours: see there.
    """

    frames: Frames
    quantization: Quantization
    fold_frames: Array
    fold_pairs: Array
    fold_mean: Array
    mean: Array
    variance: Array
    third: Array
    whole: Array
    drift: Array
    brightness: Array
    lowest: Array
    highest: Array
    where: Array
    kept: Array
    neighbours: Neighbours

    @property
    def clipped(self) -> tuple[Array, Array]:
        """Pixels that ever were at the lower, and at the upper limit."""
        low, high = self.quantization.low, self.quantization.high
        none = np.zeros(self.mean.shape, bool)
        return none if low is None else self.lowest <= low, none if high is None else self.highest >= high


@dataclass(frozen=True)
class Means:
    """What the first pass over the frames gives."""

    fold_frames: Array
    fold_mean: Array
    mean: Array
    drift: Array
    lowest: Array
    highest: Array
    quantization: Quantization
    where: Array
    kept: Array


def survey(frames: Frames, seed: int = 0) -> FrameStatistics:
    """Read a recording twice: for the means, then for the deviations from them.

    Errors: `UserError` for a single frame, and for frames that do not differ.
    """
    if len(frames) < 2:
        raise UserError(f"{frames.name}: one frame shows no noise; give two or more of the same scene, 100 are good")
    means = take_means(frames, seed)
    if not (means.highest > means.lowest).any():
        raise UserError(f"{frames.name}: the frames are all alike, pixel by pixel; give a recording as the camera made")
    return take_deviations(frames, means)


def fold_of(frame: int) -> int:
    """The fold of a frame: pairs take turns."""
    return frame // 2 % FOLDS


def take_means(frames: Frames, seed: int) -> Means:
    """The first pass."""
    shape, times = frames.shape, np.arange(len(frames)) - (len(frames) - 1) / 2
    number, sums, drift = np.zeros(FOLDS), np.zeros((FOLDS, *shape)), np.zeros(shape)
    lowest, highest = np.full(shape, np.inf), np.full(shape, -np.inf)
    where, values = some_pixels(sums[0].size, len(frames), seed), Values(frames.dtype)
    kept = np.empty((len(frames), len(where)), np.float32)
    for k, frame in enumerate(frames):
        kept[k] = frame.ravel()[where]
        number[fold_of(k)] += 1
        sums[fold_of(k)] += frame
        drift += times[k] / (times**2).sum() * frame
        np.minimum(lowest, frame, out=lowest)
        np.maximum(highest, frame, out=highest)
        values.add(frame)
    mean = sums.sum(0) / len(frames)
    sums /= np.maximum(number, 1)[:, None, None]
    return Means(number, sums, mean, drift, lowest, highest, values.quantization, where, kept)


def brightness_of(kept: Array) -> Array:
    """α and β of frame ≈ α + β · mean for each frame, (frames, 2), on average 0 and 1.

    They are drawn to 0 and 1 as far as chance explains their scatter: otherwise few bright pixels, which tell β,
    would lose a part of their noise. kept: values (frames, pixels).
    """
    mean = kept.mean(0, dtype=np.float64)
    centred = mean - mean.mean()
    power = float(centred @ centred)
    levels = kept.mean(1, dtype=np.float64)
    beta = np.array([float(centred @ frame) / power for frame in kept]) if power else np.ones(len(kept))
    noise2 = sum((after.astype(np.float64) - before) ** 2 for before, after in pairwise(kept)) / (2 * len(kept) - 2)
    chance = np.array([noise2.mean() / len(mean), float(centred**2 @ noise2) / power**2 if power else np.inf])
    scatter = np.array([levels.var(ddof=1), ((beta - 1) ** 2).sum() / (len(beta) - 1)])
    chance *= 1 + SURE * (2 / (len(kept) - 1)) ** 0.5
    real = np.where(scatter > chance, 1 - chance / np.maximum(scatter, 1e-300), 0.0)
    beta = 1 + real[1] * (beta - 1)
    return np.stack([real[0] * (levels - levels.mean()) + (1 - beta) * mean.mean(), beta], 1)


def take_deviations(frames: Frames, means: Means) -> FrameStatistics:
    """The second pass."""
    brightness, shape, number = brightness_of(means.kept), frames.shape, len(frames)
    folds = [fold_of(k) for k in range(number)]
    centres = []
    for fold, mean in enumerate(means.fold_mean):
        alpha, beta = brightness[np.equal(folds, fold)].mean(0) if fold in folds else (0.0, 0.0)
        centres.append(mean - alpha - beta * means.mean)
    pairs, squares, cubes = np.zeros(FOLDS), np.zeros((FOLDS, *shape)), np.zeros((FOLDS, *shape))
    whole, together, before = np.zeros(shape), Together(), np.zeros(shape)
    for k, frame in enumerate(frames):
        rest = frame - brightness[k, 0] - brightness[k, 1] * means.mean
        whole += rest**2
        cubes[folds[k]] += (rest - centres[folds[k]]) ** 3
        if k % 2:
            change = rest - before
            refuse_copies(frames.name, k, change)
            pairs[folds[k]] += 1
            squares[folds[k]] += change**2
            together.add(change)
        before = rest
    n = means.fold_frames[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares /= 2 * pairs[:, None, None]
        cubes *= np.where(n > 2, n / ((n - 1) * (n - 2)), np.nan)
    return FrameStatistics(
        frames, means.quantization, means.fold_frames, pairs, means.fold_mean, means.mean, squares, cubes,
        whole / (number - 1), means.drift, brightness, means.lowest, means.highest, means.where, means.kept,
        together.found,
    )  # fmt: skip


def refuse_copies(name: str, frame: int, change: Array) -> None:
    """Errors: `UserError` for a frame that is the one before again."""
    if np.ptp(change) <= 1e-12 * np.abs(change).max(initial=1.0):
        raise UserError(f"{name}: frame {frame} is frame {frame - 1} again, pixel by pixel; leave one of them out")


def some_pixels(size: int, frames: int, seed: int) -> Array:
    """Indices of so many pixels that their values in all frames fit into memory."""
    number = min(size, max(KEPT // frames, 1))
    return np.sort(np.random.default_rng(seed).choice(size, number, replace=False))


@dataclass(frozen=True)
class Neighbours:
    """How the noise of neighbours goes together.

    along_y, along_x: correlation at distance 1. rows, columns: variance that all pixels of a row (column) share,
    and its standard error; ADU² of one frame.
    """

    along_y: float
    along_x: float
    rows: tuple[float, float]
    columns: tuple[float, float]


class Together:
    """Collects differences of two frames (Y, X), and says what their pixels share."""

    def __init__(self) -> None:
        self.number, self.square = 0, 0.0
        self.lags, self.lines = np.zeros(2), np.zeros(2)
        self.shape = (0, 0)

    def add(self, change: Array) -> None:
        """One more difference."""
        self.number, self.shape = self.number + 1, (change.shape[0], change.shape[1])
        self.square += float((change**2).mean())
        for axis, flat in enumerate((change, change.T)):
            self.lags[axis] += (flat[1:] * flat[:-1]).mean() if len(flat) > 1 else 0.0
        self.lines += [float((change.mean(1 - axis) ** 2).mean()) for axis in range(2)]

    @property
    def found(self) -> Neighbours:
        """What was found; a difference holds the noise of two frames."""
        square = self.square or 1.0
        shared = []
        for axis in range(2):
            alone = self.square / self.shape[1 - axis]
            error = (2 / (self.number * self.shape[axis])) ** 0.5 * self.lines[axis]
            shared.append(((self.lines[axis] - alone) / (2 * self.number), error / (2 * self.number)))
        return Neighbours(float(self.lags[0]) / square, float(self.lags[1]) / square, shared[0], shared[1])
