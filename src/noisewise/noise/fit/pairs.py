"""Pairs of a noisy value and its signal, counted on a grid: what a law is fitted to, however many pairs there are."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.quantization import CONTINUOUS, Quantization

WIDTH = 0.1  # of a column, standard deviations
INSIDE = (-8.0, 16.0)  # standard deviations; noise behind an amplifier leans to the right
FARTHEST = 1e4
ROWS = 96  # signals, at most
ROW_WIDTH = 0.25  # standard deviations, at least
TAIL = 1e-4  # of the pairs at either end of the signals: so many hot pixels do not stretch the range
LINE_PAIRS, FEWEST = 1_000_000, 1000
BLOCK = 4_000_000
LEAST = 0.3  # of the standard deviation of the darkest signal: the law of darker ones is not narrower


def standard_deviation(signal: Tensor, slope: Tensor, intercept: Tensor, least_std: Tensor) -> Tensor:
    """σ(s) = √(slope · s + intercept), at least `least_std`; ADU."""
    return (slope * signal + intercept).clamp(min=least_std**2).sqrt()


def column_edges() -> Tensor:
    """Bounds of the columns: even inside, then in a geometric series to the farthest."""
    low, high = INSIDE
    even = torch.linspace(low, high, round((high - low) / WIDTH) + 1, dtype=torch.float64)
    left = -torch.logspace(math.log10(FARTHEST), math.log10(-low), 17, dtype=torch.float64)
    right = torch.logspace(math.log10(high), math.log10(FARTHEST), 17, dtype=torch.float64)
    return torch.cat([left[:-1], even, right[1:]])


class Pairs:
    """Counts of pairs over rows of signal s and columns of z = (x − s) / σ(s), with σ² the line of the variance.

    Rows are equally wide in √variance, so each holds signals of about one noise; signals beyond the range count to
    the first and the last row. Clipped values are counted apart, as nothing is known of them but their side.
    """

    def __init__(
        self,
        line: VarianceLine,
        low: float,
        high: float,
        quantization: Quantization = CONTINUOUS,
        least_std: float | None = None,
    ) -> None:
        self.quantization, self.low, self.high = quantization, low, high
        darkest = max(line(low), line(high) * 1e-6, 1e-30) ** 0.5
        least = max(LEAST * darkest if least_std is None else least_std, 0.1 * quantization.step)
        self.slope, self.intercept, self.least_std = (
            torch.tensor(value, dtype=torch.float64) for value in (line.slope, line.intercept, least)
        )
        self.rows = self.spaced(self._row_count() + 1)
        self.columns = column_edges()
        shape = (len(self.rows) - 1, len(self.columns) - 1)
        self.counts, self.signal_sums = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape[0]).double()
        self.clipped = torch.zeros(shape[0], 2, dtype=torch.float64)

    @classmethod
    def of(cls, noisy: Tensor, signal: Tensor, quantization: Quantization = CONTINUOUS) -> Self:
        """The pairs of two tensors of equal shape. Errors: `UserError` if there is nothing to fit."""
        noisy, signal = noisy.flatten().double(), signal.flatten().double()
        if noisy.numel() < 100 or not bool(torch.isfinite(noisy).all() & torch.isfinite(signal).all()):
            raise UserError("a noise model needs at least 100 pairs of finite numbers; give more pixels")
        few = slice(None, None, max(1, noisy.numel() // LINE_PAIRS))
        low, high = robust_range(signal[few])
        pairs = cls(line_of(noisy[few], signal[few], quantization), low, high, quantization)
        pairs.add(noisy, signal)
        return pairs

    def std(self, signal: Tensor) -> Tensor:
        """σ(s) of the line, ADU."""
        return standard_deviation(signal, self.slope, self.intercept, self.least_std)

    def spaced(self, count: int, power: float = 1.0) -> Tensor:
        """So many signals over the range, evenly spaced in √variance, or closer at the dark end with power > 1."""
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        steps: Tensor = torch.linspace(0, 1, count, dtype=torch.float64) ** power
        first, last = self.std(low), self.std(high)
        if self.slope <= 0 or last < 1.05 * first:
            return torch.lerp(low, high, steps)
        root = first + steps * (last - first)
        # The square of the root is the line, where the line is not below its floor.
        reached = low + (root**2 - first**2) / (last**2 - first**2) * (high - low)
        return torch.cat([reached[:-1], high[None]])

    def _row_count(self) -> int:
        middle = torch.linspace(self.low, self.high, 257, dtype=torch.float64)
        noises = float((self.high - self.low) / 257 * (1 / self.std(middle)).sum())
        return int(min(max(noises / ROW_WIDTH, 2), ROWS))

    def add(self, noisy: Tensor, signal: Tensor, count: Tensor | None = None) -> None:
        """Count more pairs (flat, equally long), each as often as `count` says, or once."""
        count = torch.ones_like(noisy, dtype=torch.float64) if count is None else count
        for start in range(0, noisy.numel(), BLOCK):
            part = slice(start, start + BLOCK)
            self._add(noisy[part].double(), signal[part].double(), count[part])

    def _add(self, noisy: Tensor, signal: Tensor, count: Tensor) -> None:
        row = torch.bucketize(signal, self.rows[1:-1])
        self.signal_sums += torch.bincount(row, signal * count, len(self.signal_sums))
        free = torch.ones_like(row, dtype=torch.bool)
        for side, reached in enumerate(self._at_limits(noisy)):
            if reached is not None:
                self.clipped[:, side] += torch.bincount(row[reached], count[reached], len(self.clipped))
                free &= ~reached
        row, z = row[free], ((noisy - signal) / self.std(signal))[free]
        cell = row * self.counts.shape[1] + torch.bucketize(z, self.columns[1:-1])
        self.counts += torch.bincount(cell, count[free], self.counts.numel()).view_as(self.counts)

    def _at_limits(self, noisy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        low, high = self.quantization.low, self.quantization.high
        return None if low is None else noisy <= low, None if high is None else noisy >= high

    @property
    def total(self) -> float:
        """How many pairs there are."""
        return float(self.counts.sum() + self.clipped.sum())

    @property
    def signals(self) -> Tensor:
        """Mean signal of each row, ADU; its middle where it has none."""
        number = self.counts.sum(1) + self.clipped.sum(1)
        return torch.where(number > 0, self.signal_sums / number.clamp(min=1), (self.rows[1:] + self.rows[:-1]) / 2)

    @property
    def line(self) -> VarianceLine:
        """The line that the columns are measured by."""
        return VarianceLine(float(self.slope), float(self.intercept), ((0.0, 0.0), (0.0, 0.0)))

    def cells(self) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy value, signal and count of every cell that is not empty; flat, float64."""
        middle = (self.columns[1:] + self.columns[:-1]) / 2
        signal = self.signals[:, None].expand_as(self.counts)
        noisy = signal + middle * self.std(signal)
        parts = [(self._off_limits(noisy), signal, self.counts)]
        for side, limit in enumerate((self.quantization.low, self.quantization.high)):
            if limit is not None:
                parts.append((torch.full_like(self.signals, limit), self.signals, self.clipped[:, side]))
        noisy, signal, count = (torch.cat([part.flatten() for part in group]) for group in zip(*parts, strict=True))
        return noisy[count > 0], signal[count > 0], count[count > 0]

    def _off_limits(self, noisy: Tensor) -> Tensor:
        """Middles of cells are moved off the limits: what lies there was counted apart."""
        margin = self.quantization.step or 1e-9
        low, high = self.quantization.low, self.quantization.high
        if low is not None:
            noisy = noisy.clamp(min=low + margin)
        return noisy if high is None else noisy.clamp(max=high - margin)


def robust_range(signal: Tensor) -> tuple[float, float]:
    """The signals without a few at either end. Errors: `UserError` if there is no range."""
    ordered = signal.sort().values
    skip = int(TAIL * len(ordered))
    low, high = float(ordered[skip]), float(ordered[-1 - skip])
    if not high > low:
        raise UserError("the signals are all alike: a noise model needs a range of them; give other pairs")
    return low, high


def line_of(noisy: Tensor, signal: Tensor, quantization: Quantization = CONTINUOUS) -> VarianceLine:
    """The variance against the signal; a constant where it does not rise (flat float64 tensors)."""
    free = far_from_limits(noisy, signal, quantization)
    if free.sum() > FEWEST:
        noisy, signal = noisy[free], signal[free]
    squares = (noisy - signal) ** 2
    line = fit_line(signal, squares)
    if line.slope > 0:
        return line
    return VarianceLine(0.0, float(squares[squares < 16 * squares.mean()].mean()), line.covariance)


def far_from_limits(noisy: Tensor, signal: Tensor, quantization: Quantization) -> Tensor:
    """Which pairs have a signal whose noise is hardly ever cut off."""
    low = -math.inf if quantization.low is None else quantization.low
    high = math.inf if quantization.high is None else quantization.high
    margin = 6.0 * (noisy - signal)[(noisy > low) & (noisy < high)].abs().median()
    return (signal > low + margin) & (signal < high - margin)
