"""Images of photon counts with few photons: their noise is known, and quantization is part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import MAX_LAG, Autocorrelation
from noisewise.estimate.dct_blocks import Blocks, brightness_classes, radial_frequency
from noisewise.estimate.variance import CLASSES, HIGH_FREQUENCY, NoiseLevels, homogeneous_pixels
from noisewise.noise.fit.pixel_values import PixelValues
from noisewise.noise.fit.variance_line import VarianceLine

FEW_PHOTONS = 2.0  # a pixel on average, above which counts are measured like other images
TOLERANCE = 0.1  # of the variance over the mean, relative, and 4 standard errors


def has_few_photons(planes: Sequence[Array], pixel_values: PixelValues) -> bool:
    """Whether planes (Y, X) hold photon counts, and few: multiples n of one step, down to zero, with Poisson noise.

    The noise variance ⟨n²⟩ − ⟨n n'⟩, with n' the neighbours, is then the mean ⟨n⟩: signals differ little between
    neighbours, and at few photons these differences are small compared with the mean.
    """
    step = pixel_values.step
    if not step or pixel_values.high is not None:
        return False
    mean = squares = products = pixels = 0.0
    for plane in planes:
        counts = plane / step
        if counts.min() != 0:  # or NaN
            return False
        mean, squares, pixels = mean + counts.sum(), squares + (counts**2).sum(), pixels + counts.size
        along = [(counts[1:] * counts[:-1]).mean(), (counts[:, 1:] * counts[:, :-1]).mean()]
        products += counts.size * float(np.mean(along))
    if not 0 < mean <= FEW_PHOTONS * pixels:
        return False
    error = (3 / pixels + 1 / mean) ** 0.5
    return bool(abs((squares - products) / mean - 1) < TOLERANCE + 4 * error)


def count_values(pixel_values: PixelValues) -> PixelValues:
    """How counts are stored: zero is no limit at which they are clipped."""
    return replace(pixel_values, low=None, stretched=False)


def count_line(step: float, levels: NoiseLevels) -> VarianceLine:
    """The variance of photon counts: step · s."""
    error = step * float(np.sqrt(2 / levels.freedom.sum()))
    return VarianceLine(step, 0.0, ((error**2, 0.0), (0.0, 0.0)))


def count_levels(blocks: Blocks) -> NoiseLevels:
    """Noise variance by brightness: of all blocks, since the most homogeneous ones of few photons hold none."""
    high = radial_frequency(blocks.side) >= HIGH_FREQUENCY
    classes = brightness_classes(blocks.surround, CLASSES, split_brightest=True)
    signal = np.array([blocks.mean[members].mean() for members in classes])
    variance = np.array([blocks.power[members][:, high].mean() for members in classes])
    freedom = np.array([high.sum() * max(len(members) / 4, 1) for members in classes])  # blocks overlap
    pixels = [homogeneous_pixels(blocks, members) for members in classes]
    none = np.zeros(len(classes))
    return NoiseLevels(signal, np.maximum(variance, np.finfo(float).tiny), freedom, none, none, pixels)


def count_correlation(side: int) -> Autocorrelation:
    """Photons arrive independently: no correlation. side: of the blocks, pixels."""
    rho = np.zeros((1 + MAX_LAG, 1 + MAX_LAG))
    rho[0, 0] = 1.0
    return Autocorrelation(rho, np.zeros(side - 1), np.zeros(side - 1), 0.0)
