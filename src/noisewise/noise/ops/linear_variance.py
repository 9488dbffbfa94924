"""The variance line that approximates a noise model over the signals of an image."""

from __future__ import annotations

from functools import lru_cache

import torch

from noisewise.noise.base import Noise

SPAN = 3.0  # standard deviations of the image to each side of its mean, the range of signals
POINTS = 65
LEAST_AT_MEAN = 0.1  # of the variance at the mean of the image, which the line must have there
MIN_SLOPE = 0.05  # of the steepest slope: flatter parts are the floor of the variance


def signals_of(mean: float, std: float) -> torch.Tensor:
    """Signals of an image of this mean and standard deviation."""
    return torch.linspace(mean - SPAN * std, mean + SPAN * std, POINTS, dtype=torch.float64)


def least_variance(noise_model: Noise, mean: float, std: float) -> float:
    """The smallest Var[x|s] over these signals (ADU²): models are constant below the darkest signal they know."""
    return float(noise_model.mean_var(signals_of(mean, std))[1].min())


@lru_cache(maxsize=64)
def linear_variance(noise_model: Noise, mean: float, std: float) -> tuple[float, float]:
    """Slope (ADU) and intercept (ADU²) of Var[x|s] over the signals of an image of this mean and standard deviation."""
    signal = signals_of(mean, std)
    variance = noise_model.typical().mean_var(signal)[1]
    slopes = variance.diff() / signal.diff()
    sign = 1 if variance[-1] >= variance[0] else -1  # it falls in inverted images
    steep = (
        sign * slopes > MIN_SLOPE * (sign * slopes).max()
    )  # the variance has a floor beyond the signals of the image
    if (sign * slopes).max() <= 0 or not steep.any():
        return 0.0, float(variance.mean())
    slope = float(slopes[steep].median())
    intercept = float((variance - slope * signal)[1:][steep].median())
    at_mean = float(variance[POINTS // 2])
    if slope * mean + intercept < LEAST_AT_MEAN * at_mean:  # only a part far from the mean is steep
        return 0.0, at_mean
    return slope, intercept
