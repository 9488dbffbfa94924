"""MicroSSIM: SSIM for images with arbitrary offset and range, such as those of 16-bit cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.evaluate.metrics import Moments, check_size, checked, checked_range, contrast_of, similarity, strips

BACKGROUND_PERCENT = 3.0
UNIFORM = np.full(7, 1 / 7)
PIXELS, WINDOWS = 2**22, 2**18  # largest numbers used for backgrounds and scaling; of more, a random subset
DECADES, STEPS = 2.0, 33  # grid of scalings on each side of the first guess
GOLDEN = (np.sqrt(5) - 1) / 2
PRECISION = 1e-7  # of the scaling, relative


@dataclass(frozen=True)
class MicroSsim:
    """Result of `micro_ssim`: the score of each image, and the scaling of all images above their background."""

    scores: list[float]
    scaling: float

    @property
    def mean(self) -> float:
        """Mean score of the images."""
        return float(np.mean(self.scores))


def micro_ssim(
    images: Sequence[Array], truths: Sequence[Array], data_ranges: Sequence[float] | None = None
) -> MicroSsim:
    """SSIM of truth − bₜ and α (image − bᵢ), with bₜ, bᵢ and α estimated once for the whole set.

    The backgrounds bₜ and bᵢ are the 3rd percentiles of the pixels of all truths and all images; α > 0 maximises the
    mean SSIM over all windows of the set. Without this, offset and background make c₁ and c₂ negligible or dominant,
    and SSIM mainly compares offsets. A scaling or offset common to all images does not change the result. (The
    authors also divide both by the largest truth − bₜ, which cancels.)

    As in the paper, the window is uniform, 7 pixels along each axis, and (co)variances are unbiased. Large sets are
    never in memory as a whole: each image is read twice, and α and the backgrounds are estimated from at most 2¹⁸
    random windows and 2²² random pixels.

    images, truths: equal numbers, (Y, X) or (Z, Y, X), each pair of one shape. data_ranges: of each truth (default: its
    max − min).

    Source: Ashesh, Deschamps, Jug 2024, arXiv:2408.08747. Errors: `UserError` for sets of unequal length, unequal
    shapes, NaN or infinite pixels, a constant truth without a range, or images smaller than 7 pixels along an axis.
    """
    if len(images) != len(truths) or not len(images):
        raise UserError(f"there are {len(images)} images for {len(truths)} references; give one for each")
    rng = np.random.default_rng(0)
    pixels, windows = Sample(PIXELS, rng), Sample(WINDOWS, rng)
    ranges = []
    for i in range(len(images)):
        x, y = checked(images[i], truths[i])
        check_size(x.shape, len(UNIFORM), "MicroSSIM")
        ranges.append(checked_range(contrast_of(y) if data_ranges is None else data_ranges[i]))
        pixels.add(np.stack([x.ravel(), y.ravel()]))
        for moments in strips(x, y, UNIFORM):
            columns = np.stack([part.ravel() for part in moments])
            windows.add(np.vstack([columns, np.full_like(columns[:1], ranges[-1])]))
    backgrounds = np.percentile(pixels.columns(), BACKGROUND_PERCENT, axis=1)
    *parts, range_of_each = windows.columns()
    corrected = above(Moments(*parts), backgrounds, len(UNIFORM) ** x.ndim)
    scaling = best_scaling(corrected, range_of_each)
    return MicroSsim([
        score(*checked(images[i], truths[i]), backgrounds, scaling, ranges[i]) for i in range(len(images))
    ], scaling)  # fmt: skip


class Sample:
    """A random subset of all added columns, with at most `most` of them; all of them if there are no more."""

    def __init__(self, most: int, rng: np.random.Generator) -> None:
        self.most, self.rng, self.fraction = most, rng, 1.0
        self.parts: list[Array] = []

    def add(self, columns: Array) -> None:
        """Add columns (K, N); each is kept with the same probability as the earlier ones."""
        self.parts.append(self._subset(columns, self.fraction))
        while sum(part.shape[1] for part in self.parts) > self.most:
            self.fraction /= 2
            self.parts = [self._subset(self.columns(), 0.5)]

    def columns(self) -> Array:
        """The sample (K, M)."""
        return np.concatenate(self.parts, 1)

    def _subset(self, columns: Array, fraction: float) -> Array:
        return columns if fraction == 1 else columns[:, self.rng.random(columns.shape[1]) < fraction]


def above(moments: Moments, backgrounds: Array, window: int) -> Moments:
    """Moments of images and truths above their backgrounds, with unbiased (co)variances of `window` pixels."""
    bessel = window / (window - 1)
    return Moments(
        moments.mean_x - backgrounds[0], moments.mean_y - backgrounds[1],
        bessel * moments.var_x, bessel * moments.var_y, bessel * moments.covariance,
    )  # fmt: skip


def scaled(moments: Moments, scaling: float) -> Moments:
    """Moments of scaling · x and y."""
    return Moments(
        scaling * moments.mean_x, moments.mean_y,
        scaling**2 * moments.var_x, moments.var_y, scaling * moments.covariance,
    )  # fmt: skip


def score(x: Array, y: Array, backgrounds: Array, scaling: float, data_range: float) -> float:
    """Mean SSIM of one image."""
    total = count = 0.0
    for moments in strips(x, y, UNIFORM):
        luminance, contrast = similarity(
            scaled(above(moments, backgrounds, len(UNIFORM) ** x.ndim), scaling), data_range
        )  # fmt: skip
        total += float((luminance * contrast).sum())
        count += contrast.size
    return total / count


def best_scaling(moments: Moments, data_range: Array) -> float:
    """α > 0 with the largest mean SSIM: the best of a grid, refined by golden-section search on log α."""

    def quality(logarithm: float) -> float:
        luminance, contrast = similarity(scaled(moments, float(np.exp(logarithm))), data_range)
        return float(np.mean(luminance * contrast))

    var_x, var_y = float(moments.var_x.mean()), float(moments.var_y.mean())
    if var_x <= 0 or var_y <= 0:
        return 1.0  # an image without contrast has no scale
    step = DECADES * np.log(10) / (STEPS // 2)
    grid = 0.5 * np.log(var_y / var_x) + step * (np.arange(STEPS) - STEPS // 2)
    best = grid[np.argmax([quality(logarithm) for logarithm in grid])]
    low, high = best - step, best + step
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = quality(left), quality(right)
    while high - low > PRECISION:
        if at_left > at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = quality(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = quality(right)
    return float(np.exp((low + high) / 2))
