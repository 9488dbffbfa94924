"""Intervals with a guarantee: how often held-out measurements lie in the intervals that a result predicts for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor

COVERAGE, CONFIDENCE = 0.9, 0.95
EXPECTED_QUANTILE = NormalDist().inv_cdf(0.5 + COVERAGE / 2)  # where all errors are normal and known
CLASSES, ENOUGH = 8, 1000  # of brightness; held-out pixels of a class
SQUARE = 8  # pixels: sides of squares that are used in turn to set the intervals, and to test them


@dataclass(frozen=True)
class Coverage:
    """Held-out measurements of similar signals, and intervals D ± q √(σ² + v) for them.

    signal: mean, ADU. pixels: held-out ones. quantile: q that covers 90 % of half of them; 1.645 if σ and the noise
    variance v are right. covered: of the other half, the part in these intervals; low, high: its 95 % interval.
    """

    signal: float
    pixels: int
    quantile: float
    covered: float
    low: float
    high: float


def coverages(mean: Tensor, std: Tensor, target: Tensor, variance: Tensor, valid: Tensor) -> list[Coverage]:
    """Intervals for held-out measurements (N, C, Y, X), by brightness.

    mean, std: predicted without the target. target: measurements whose noise is independent of the prediction's, of
    this variance. valid: pixels that count.

    Split conformal prediction: q is the ⌈(n + 1) 0.9⌉-th of n scores |target − mean| / √(std² + variance). For
    exchangeable pixels, an interval then holds a new measurement with 90 % probability or more, whatever the
    distribution and however wrong the model is.

    Source: Lei et al. 2018, doi:10.1080/01621459.2017.1307116; Wilson 1927 (interval of a proportion),
    doi:10.1080/01621459.1927.10502953.
    """
    scores = (target - mean).abs() / (std**2 + variance).sqrt()
    rows, columns = (torch.arange(size, device=mean.device) // SQUARE for size in mean.shape[-2:])
    sets = (rows[:, None] + columns[None]).expand(mean.shape) % 2 == 0
    return list(by_brightness(mean[valid].double(), scores[valid].double(), sets[valid]))


def by_brightness(signal: Tensor, scores: Tensor, sets: Tensor) -> Iterator[Coverage]:
    """Coverage in classes of equally many pixels. sets: scores that set the intervals; the others test them."""
    count = max(1, min(CLASSES, len(signal) // (2 * ENOUGH)))
    for part in signal.argsort(stable=True).tensor_split(count):
        setting, testing = scores[part][sets[part]], scores[part][~sets[part]]
        if min(len(setting), len(testing)) < ENOUGH // 2:
            continue
        rank = min(int(-(-(len(setting) + 1) * COVERAGE // 1)), len(setting))
        quantile = float(setting.kthvalue(rank).values)
        covered = float((testing <= quantile).double().mean())
        yield Coverage(float(signal[part].mean()), len(part), quantile, covered, *wilson(covered, len(testing)))


def wilson(part: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion that was found in a number of trials."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    centre = (part + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * sqrt(part * (1 - part) / count + z**2 / (4 * count**2))
    return centre - half, centre + half
