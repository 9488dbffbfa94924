"""Spectra of blocks by brightness and homogeneity: what a network reads the noise of a single image from.

White noise has the same power at every frequency, and beyond the optical cut-off there is nothing else. The power of
image texture grows with the square of the signal, that of photon noise with the signal. Noise has the same spectrum in
the most and in the least homogeneous blocks of one brightness, texture has not. All of this is in the spectra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import SMALLEST, Autocorrelation
from noisewise.estimate.dct_blocks import Blocks, Spectrum, brightness_classes, homogeneous_spectra, radial_frequency
from noisewise.estimate.variance import HIGH_FREQUENCY, homogeneous_pixels, third_cumulant
from noisewise.noise.fit.variance_line import VarianceLine

FINE_CLASSES, FINE_RANGES, FINE_EDGES = 12, (0.0, 0.05, 0.15, 0.35, 0.7, 1.0), (0, 1, 2, 4, 6)
COARSE_CLASSES, COARSE_RANGES, COARSE_EDGES = 6, (0.0, 0.05, 0.15, 0.4, 1.0), (0, 1, 2, 3, 5, 8, 12)
LEAST, MOST = 1e-6, 20.0  # power relative to the unit, and the largest logarithm of it
RATIOS = 1e-3, 1e5  # of a variance over the floor: others are limited to this range
LEAST_STEPS, LEAST_SPAN = 1e-3, 1e-9  # of the floor, relative to the squares of quantization step and range of signals
FINE_SCALARS, COARSE_SCALARS, GLOBAL = 11, 3, 8
FINE = (len(FINE_RANGES) - 1) * (len(FINE_EDGES) ** 2 - 1 + 1) + FINE_SCALARS
COARSE = (len(COARSE_RANGES) - 1) * (len(COARSE_EDGES) ** 2 - 1) + COARSE_SCALARS
LAGS = 6  # of the autocorrelation, along each axis
WHOLE = GLOBAL + LAGS**2 - 1


@dataclass(frozen=True)
class BlockStatistics:
    """Logarithms of power by class of brightness, relative to their median, and what else tells of the noise.

    fine (K, FINE): blocks of 8 pixels, dark to bright; of the most homogeneous ones: signal (K,), ADU; floor (K,), the
    power at the highest frequencies, ADU²; pixels, half of them as in `NoiseLevels`. coarse (M, COARSE): blocks of 16
    pixels. whole (WHOLE,): of the whole image.
    """

    fine: Array
    coarse: Array
    whole: Array
    signal: Array
    floor: Array
    pixels: list[Array]


def block_statistics(
    fine: Blocks, coarse: Blocks, correlation: Autocorrelation, lines: Sequence[VarianceLine], quantization_step: float
) -> BlockStatistics:
    """The statistics of blocks of 8 and of 16 pixels.

    correlation: the classical estimate. lines: the classical variance lines, for white noise, and for this correlation.
    """
    classes = brightness_classes(fine.surround, FINE_CLASSES, split_brightest=True)
    spectra = [homogeneous_spectra(fine, members, ranges(FINE_RANGES)) for members in classes]
    high = radial_frequency(fine.side) >= HIGH_FREQUENCY
    order = np.argsort([part[0].signal for part in spectra], kind="stable")
    classes, spectra = [classes[i] for i in order], [spectra[i] for i in order]
    signal = np.array([part[0].signal for part in spectra])
    span = max(float(np.ptp(signal)), SMALLEST)
    least = max(LEAST_STEPS * quantization_step**2, LEAST_SPAN * span**2, SMALLEST)  # blocks may be constant
    floor = np.array([max(float(part[0].power[high].mean()), least) for part in spectra])
    unit = float(np.median(floor))
    rows, pixels = [], [homogeneous_pixels(fine, members) for members in classes]
    for members, part, level, centre, some in zip(classes, spectra, floor, signal, pixels, strict=True):
        skewness = third_cumulant(some)
        scalars = [
            (centre - signal.min()) / span, np.log(level / unit), np.log(len(members)),
            np.log(span**2 / unit), skewness / level**1.5, skewness / level**1.5 * some.size**0.5 / 10,
            np.arcsinh(skewness / level * span / unit), float(fine.clipped[members].mean()),
            len(classes) / FINE_CLASSES,
            *(np.log(np.clip(line(centre) / level, *RATIOS)) for line in lines),
        ]  # fmt: skip
        shift = [(one.signal - centre) / span for one in part]
        rows.append(
            np.concatenate([log_power(part, FINE_EDGES, unit), np.clip(shift, -3, 3), np.clip(scalars, -30, 30)])
        )
    return BlockStatistics(
        np.array(rows), coarse_rows(coarse, unit, signal.min(), span),
        whole_row(fine, correlation, quantization_step, unit, span), signal, floor, pixels,
    )  # fmt: skip


def coarse_rows(blocks: Blocks, unit: float, darkest: float, span: float) -> Array:
    """One row for each class of brightness of the blocks of 16 pixels."""
    rows = []
    for members in brightness_classes(blocks.surround, COARSE_CLASSES):
        part = homogeneous_spectra(blocks, members, ranges(COARSE_RANGES))
        scalars = [(part[0].signal - darkest) / span, np.log(len(members)), np.log(span**2 / unit)]
        rows.append(np.concatenate([log_power(part, COARSE_EDGES, unit), np.clip(scalars, -30, 30)]))
    return np.array(rows)


def whole_row(blocks: Blocks, correlation: Autocorrelation, step: float, unit: float, span: float) -> Array:
    """Classical estimates of the correlation, and how the image is stored."""
    lines = [
        np.log1p(max(ratio, -0.5)) for ratio in (correlation.row_variance_ratio, correlation.column_variance_ratio)
    ]
    scalars = [
        np.log(len(blocks.mean)), np.log(span**2 / unit), np.log(step**2 / unit + 1e-4), float(blocks.clipped.mean()),
        np.arcsinh(correlation.texture), correlation.high_frequency_ratio, *np.clip(lines, -1, 5),
    ]  # fmt: skip
    return np.concatenate([np.clip(scalars, -30, 30), correlation.rho[:LAGS, :LAGS].ravel()[1:]])


def ranges(edges: Sequence[float]) -> list[tuple[float, float]]:
    """Pairs of successive edges."""
    return list(pairwise(edges))


def log_power(spectra: Sequence[Spectrum], edges: Sequence[int], unit: float) -> Array:
    """Logarithm of the mean power in rectangles of frequencies, relative to a unit, for all spectra in a row."""
    found = []
    for spectrum in spectra:
        total = np.add.reduceat(np.add.reduceat(spectrum.power, edges, 0), edges, 1)
        sizes = np.diff([*edges, len(spectrum.power)])
        found.append(np.log(np.maximum((total / np.outer(sizes, sizes)).ravel()[1:] / unit, LEAST)).clip(max=MOST))
    return np.concatenate(found)
