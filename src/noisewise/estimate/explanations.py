"""What may explain the noise that is seen in an image: of which kind and how strong it is, and how probable that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from noisewise.estimate.autocorrelation import Autocorrelation, estimate_autocorrelation
from noisewise.estimate.block_statistics import BlockStatistics, block_statistics
from noisewise.estimate.dct_blocks import Blocks, BlockSource, extract_blocks
from noisewise.estimate.learned import LearnedNoise, is_trained, read_noise
from noisewise.estimate.measurement import STRONG
from noisewise.estimate.photon_counts import count_correlation, count_levels
from noisewise.estimate.variance import HARDLY_CLIPPED, NoiseLevels, estimate_noise_levels, variance_line
from noisewise.noise.fit.pixel_values import PixelValues

SPECTRUM_SIDE, VARIANCE_SIDE = 16, 8  # pixels: side of the blocks for the correlation, and for the variance
STATISTICS_BLOCKS = 10_000
# Errors of classical estimates, in standard deviations of the network's: where both agree, and for each such standard
# deviation between them. Where the kind of noise is not sure, fine texture may be taken for noise.
WHITE_ERRORS, CORRELATED_ERRORS, UNSURE_ERRORS = (0.3, 1.0), (0.3, 0.3), (1.4, 1.0)
SURE = 0.998  # probability of correlated noise: below it, what looks like such noise may be texture
LIKELY = 2.0  # standard deviations: of what the network reads, within which classical estimates are taken
NOT_TEXTURE, NOT_TEXTURE_ERRORS = 100.0, (0.3, 0.1)  # odds that what hardly rises with the light is noise; its errors
POSSIBLE = 0.05  # an explanation that is less probable is left out
MOST_CLIPPED = 0.8  # of the pixels of a block: more leave too little to measure
MIN_VALID = 0.25  # of the blocks must be free of saturated and missing pixels


@dataclass(frozen=True)
class Measured:
    """One explanation of what is seen: its noise, and the probability that it is right."""

    blocks: Blocks
    correlation: Autocorrelation
    levels: NoiseLevels
    probability: float = 1.0


def few_photon_levels(sources: list[BlockSource], _: PixelValues) -> list[Measured]:
    """The noise of photon counts."""
    blocks = extract_blocks(sources, VARIANCE_SIDE)
    return [Measured(blocks, count_correlation(SPECTRUM_SIDE), count_levels(blocks))]


def noise_levels(sources: list[BlockSource], pixel_values: PixelValues) -> list[Measured]:
    """Explanations, the most probable one first; before clipping, where dark noise was cut off at the lower limit.

    With a trained network, it judges those of single planes; differences of frames show nothing but noise.
    """
    low = pixel_values.low
    if low is not None and low.fraction > HARDLY_CLIPPED:
        with_clipped = [replace(source, most_clipped=MOST_CLIPPED) for source in sources]
        if block_fraction(with_clipped) >= MIN_VALID:
            found = estimated_levels(with_clipped)
            if found.levels.are_clipped(low.value):
                before = estimate_noise_levels(found.blocks, found.correlation, pixel_values.quantization)
                return [replace(found, levels=before)]
    if is_trained() and all(source.noisy is source.brightness for source in sources):
        return learned_levels(sources, pixel_values)
    found = estimated_levels(sources)
    return [replace(found, levels=replace(found.levels, clipped=np.zeros_like(found.levels.clipped)))]


def learned_levels(sources: list[BlockSource], pixel_values: PixelValues) -> list[Measured]:
    """The noise of single planes: with correlation, without it, or both where that is uncertain.

    The classical estimates, where they are likely by what the network reads; otherwise what it reads.
    """
    classical, white, statistics = plane_statistics(sources, pixel_values)
    correlated = read_noise(statistics).correlated
    errors = WHITE_ERRORS if correlated < POSSIBLE else CORRELATED_ERRORS if correlated > SURE else UNSURE_ERRORS
    darkest = float(min(source.brightness[source.valid].min() for source in sources))
    if min(map(classical.correlation.along, "YX")) > STRONG and classical.levels.hardly_rises(darkest):
        correlated = NOT_TEXTURE * correlated / (NOT_TEXTURE * correlated + 1 - correlated)
        errors = NOT_TEXTURE_ERRORS
    found = []
    for given, probability in ((True, correlated), (False, 1 - correlated)):
        if probability > POSSIBLE:
            options = (classical,) if given else (white, classical)
            found.append(combined(read_noise(statistics, given), options, probability, errors))
    return sorted(found, key=lambda one: -one.probability)


def combined(
    noise: LearnedNoise, options: Sequence[Measured], probability: float, errors: tuple[float, float]
) -> Measured:
    """The most likely of the classical estimates by what the network reads; if none is likely, what it reads itself.

    errors: of the classical estimates, see `WHITE_ERRORS`.
    """
    distances = [noise.distance(one.correlation, one.levels) for one in options]
    distance = min(distances)
    one = options[distances.index(distance)]
    if distance > LIKELY:
        return Measured(one.blocks, noise.autocorrelation(options[-1].correlation), noise.levels, probability)
    relative = float(np.hypot(errors[0], errors[1] * distance) * np.median(noise.total_std))
    levels = replace(one.levels, clipped=np.zeros_like(one.levels.clipped), relative_error=relative)
    return replace(one, levels=levels, probability=probability)


def plane_statistics(
    sources: list[BlockSource], pixel_values: PixelValues
) -> tuple[Measured, Measured, BlockStatistics]:
    """The classical estimates from single planes, those for white noise, and what the network reads."""
    coarse, fine = (extract_blocks(sources, side, STATISTICS_BLOCKS) for side in (SPECTRUM_SIDE, VARIANCE_SIDE))
    correlation, none = estimate_autocorrelation(coarse), count_correlation(SPECTRUM_SIDE)
    classical, white = (Measured(fine, one, estimate_noise_levels(fine, one)) for one in (correlation, none))
    lines = [variance_line(one.levels) for one in (white, classical)]
    return classical, white, block_statistics(fine, coarse, correlation, lines, pixel_values.step)


def estimated_levels(sources: list[BlockSource]) -> Measured:
    """The classical estimates."""
    correlation = estimate_autocorrelation(extract_blocks(sources, SPECTRUM_SIDE))
    blocks = extract_blocks(sources, VARIANCE_SIDE)
    return Measured(blocks, correlation, estimate_noise_levels(blocks, correlation))


def block_fraction(sources: list[BlockSource], side: int = VARIANCE_SIDE) -> float:
    """Fraction of the blocks of this side that are used."""
    return float(np.mean([source.blocks(side, side // 2)[0].mean() for source in sources]))
