"""The stability of a recording: slow changes, pixels that vary too much, shift and vibration of the scene."""

from __future__ import annotations

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.frame_statistics import FrameStatistics
from noisewise.calibration.photon_transfer import PhotonTransferCurve, four_neighbour_mean


def slow_variance_ratio(statistics: FrameStatistics) -> float:
    """Variance over all frames, over that between neighbouring frames."""
    total, neighbouring = block_means(statistics.total_variance), block_means(mean_variance(statistics))
    return float(np.median(total) / max(np.median(neighbouring), 1e-30))


def mean_variance(statistics: FrameStatistics) -> Array:
    """Variance between neighbouring frames (Y, X), mean of the folds, ADU²."""
    return np.asarray(statistics.variance[[fold for fold in range(2) if statistics.fold_pairs[fold]]].mean(0))


def block_means(image: Array, side: int = 4) -> Array:
    """Means of blocks, whose median is close to the variance; the image itself if it is small."""
    rows, columns = (size // side for size in image.shape)
    if rows * columns < 16:
        return image
    return np.asarray(image[: rows * side, : columns * side].reshape(rows, side, columns, side).mean((1, 3)))


def unstable_pixels(statistics: FrameStatistics, curve: PhotonTransferCurve) -> tuple[float, float]:
    """Fraction of pixels that vary far more than others of the same brightness, and that among their neighbours."""
    unstable = np.zeros(statistics.mean.size)
    unstable[curve.hot] = 1.0
    unstable = unstable.reshape(statistics.mean.shape)
    if not len(curve.hot):
        return 0.0, 0.0
    return float(unstable.mean()), float(four_neighbour_mean(np.pad(unstable, 1))[unstable > 0].mean())


def least_squares(design: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """Solution of weighted least squares, and its standard errors from the residuals."""
    inverse = np.linalg.pinv(design.T @ (design * weight[:, None]))
    solution = inverse @ (design.T @ (weight * target))
    residual = target - design @ solution
    variance = float(weight @ residual**2) / max(len(target) - design.shape[1], 1)
    return solution, np.sqrt(np.maximum(inverse.diagonal() * variance, 0.0))


def gradients(statistics: FrameStatistics, curve: PhotonTransferCurve) -> tuple[Array, Array, Array]:
    """Gradient of the mean along Y and X, and the variance of the line there; flat."""
    mean = statistics.mean
    if min(mean.shape) < 2:
        zero = np.zeros(mean.size)
        return zero, zero, zero + 1.0
    along_y, along_x = np.gradient(mean)
    floor = 0.1 * float(np.median(curve.variance)) + 1e-12
    variance = np.maximum(curve.line(mean), floor)
    return along_y.ravel(), along_x.ravel(), variance.ravel()


def shift_px(statistics: FrameStatistics, curve: PhotonTransferCurve) -> tuple[float, float]:
    """Shift of the scene over the recording, and its standard error, pixels."""
    along_y, along_x, variance = gradients(statistics, curve)
    mean = statistics.mean.ravel()
    design = np.stack([along_y, along_x, mean - mean.mean(), np.ones_like(mean)], 1)
    speed, error = least_squares(design, statistics.drift.ravel(), 1 / variance)
    intervals = len(statistics.brightness) - 1
    return float(np.hypot(*speed[:2])) * intervals, float(np.hypot(*error[:2])) * intervals


def vibration_px2(
    statistics: FrameStatistics, curve: PhotonTransferCurve, scene: PhotonTransferCurve
) -> tuple[float, float, float]:
    """Variance of the scene's position from frame to frame, its standard error (pixels²), and its weight.

    Pixels at edges are compared with others of the same brightness. Weight: mean of the squared gradient over the
    variance.
    """
    along_y, along_x, variance = gradients(statistics, curve)
    steepness = (along_y**2 + along_x**2) / variance
    kept = np.setdiff1d(np.arange(variance.size), scene.hot)
    order = kept[np.argsort(statistics.mean.ravel()[kept])]
    excess = mean_variance(statistics).ravel() / variance
    bins = np.array_split(order, len(scene.signal))
    design, target = (np.concatenate([part[b] - part[b].mean() for b in bins]) for part in (steepness, excess))
    solution, error = least_squares(design[:, None], target, np.ones_like(target))
    return float(solution[0]), float(error[0]), float(steepness[kept].mean())
