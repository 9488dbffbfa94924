"""Counts of (noisy value, signal) pairs on a grid, so that fits take the same time for any number of pairs."""

from __future__ import annotations

import math
import sys
from typing import Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.fit.variance_line import VarianceLine, fit_line
from noisewise.noise.quantization import CONTINUOUS, Quantization

WIDTH = 0.1  # of a column, standard deviations
INSIDE = (-8.0, 16.0)  # even columns, standard deviations; amplified noise is skewed to the right
FARTHEST = 1e4  # end of the geometric columns, standard deviations
ROWS = 96  # at most
ROW_WIDTH = 0.25  # standard deviations, at least
TAIL = 1e-4  # fraction of pairs at either end of the signals (hot pixels) that does not extend the range
LINE_PAIRS = 1_000_000  # pairs that the variance line is fitted to, about
FEWEST = 1000  # pairs away from the limits that are enough for the variance line
BLOCK = 4_000_000  # pairs counted at a time
LEAST_STD = 0.3  # of the standard deviation at the darkest signal: darker signals have at least this


def standard_deviation(signal: Tensor, slope: Tensor, intercept: Tensor, least_std: Tensor) -> Tensor:
    """σ(s) = √(slope · s + intercept), at least `least_std`; ADU."""
    return (slope * signal + intercept).clamp(min=least_std**2).sqrt()


def interval_of(signal: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the knot below each signal, and the weight (0 to 1) of the next knot in linear interpolation."""
    index = torch.bucketize(signal.detach().contiguous(), knots[1:-1])
    first, second = knots[index], knots[index + 1]
    between = (second - first).clamp(min=torch.finfo(knots.dtype).tiny)  # knots may be repeated
    return index, ((signal - first) / between).clamp(0, 1)


def interpolate(signal: Tensor, knots: Tensor, table: Tensor) -> Tensor:
    """Rows of a table (J, P) at the knots (J,), linear between them and constant outside: (...) -> (..., P)."""
    index, weight = interval_of(signal, knots)
    weight = weight[..., None]
    return table[index] * (1 - weight) + table[index + 1] * weight


def column_edges() -> Tensor:
    """Edges of the columns: even near zero, geometric outside."""
    low, high = INSIDE
    even = torch.linspace(low, high, round((high - low) / WIDTH) + 1, dtype=torch.float64)
    left = -torch.logspace(math.log10(FARTHEST), math.log10(-low), 17, dtype=torch.float64)
    right = torch.logspace(math.log10(high), math.log10(FARTHEST), 17, dtype=torch.float64)
    return torch.cat([left[:-1], even, right[1:]])


class Pairs:
    """Histogram of pairs over rows of signal s and columns of z = (x − s) / σ(s), σ² the variance line.

    Rows are equally wide in √variance, so that the noise is nearly constant in each; signals outside the range count in
    the first and last row. Clipped values are counted separately: of them, only the limit is known.

    line: variance line, ADU. low, high: range of signals, ADU. least_std: lower bound of σ(s), ADU.
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
        ends = sorted((line(low), line(high)))
        quietest = max(ends[0], ends[1] * 1e-6, sys.float_info.min) ** 0.5
        least = max(LEAST_STD * quietest if least_std is None else least_std, 0.1 * quantization.step)
        self.slope, self.intercept, self.least_std = (
            torch.tensor(value, dtype=torch.float64) for value in (line.slope, line.intercept, least)
        )
        self.rows = self.spaced_signals(self._row_count() + 1)
        self.columns = column_edges()
        shape = (len(self.rows) - 1, len(self.columns) - 1)
        self.counts, self.signal_sums = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape[0]).double()
        self.clipped = torch.zeros(shape[0], 2, dtype=torch.float64)

    @classmethod
    def of(cls, noisy: Tensor, signal: Tensor, quantization: Quantization = CONTINUOUS) -> Self:
        """Count the pairs of two tensors of equal shape, ADU.

        Errors: `UserError` for fewer than 100 pairs, for values that are not finite, and for constant signals.
        """
        noisy, signal = noisy.flatten().double(), signal.flatten().double()
        if noisy.numel() < 100 or not bool(torch.isfinite(noisy).all() & torch.isfinite(signal).all()):
            raise UserError("a noise model needs at least 100 pairs of finite numbers; give more pixels")
        few = slice(None, None, max(1, noisy.numel() // LINE_PAIRS))
        low, high = robust_range(signal[few])
        pairs = cls(variance_line_of(noisy[few], signal[few], quantization), low, high, quantization)
        pairs.add(noisy, signal)
        return pairs

    def std(self, signal: Tensor) -> Tensor:
        """σ(s) of the variance line, ADU."""
        return standard_deviation(signal, self.slope, self.intercept, self.least_std)

    def spaced_signals(self, count: int, power: float = 1.0) -> Tensor:
        """Signals over the range (ADU), evenly spaced in √variance; denser at the dark end for power > 1."""
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        steps: Tensor = torch.linspace(0, 1, count, dtype=torch.float64) ** power
        first, last = self.std(low), self.std(high)
        if self.slope <= 0 or last < 1.05 * first:
            return torch.lerp(low, high, steps)
        root = first + steps * (last - first)
        # Above its floor, the variance line is linear in the signal.
        signals = low + (root**2 - first**2) / (last**2 - first**2) * (high - low)
        return torch.cat([signals[:-1], high[None]])

    def _row_count(self) -> int:
        signal = torch.linspace(self.low, self.high, 257, dtype=torch.float64)
        range_in_std = float((self.high - self.low) / 257 * (1 / self.std(signal)).sum())
        return int(min(max(range_in_std / ROW_WIDTH, 2), ROWS))

    def add(self, noisy: Tensor, signal: Tensor, count: Tensor | None = None) -> None:
        """Add pairs (flat tensors of equal length), each counted `count` times, or once."""
        count = torch.ones_like(noisy, dtype=torch.float64) if count is None else count
        for start in range(0, noisy.numel(), BLOCK):
            part = slice(start, start + BLOCK)
            self._add(noisy[part].double(), signal[part].double(), count[part])

    def _add(self, noisy: Tensor, signal: Tensor, count: Tensor) -> None:
        row = torch.bucketize(signal, self.rows[1:-1])
        self.signal_sums += torch.bincount(row, signal * count, len(self.signal_sums))
        free = torch.ones_like(row, dtype=torch.bool)
        for side, at_limit in enumerate(self._at_limits(noisy)):
            if at_limit is not None:
                self.clipped[:, side] += torch.bincount(row[at_limit], count[at_limit], len(self.clipped))
                free &= ~at_limit
        row, z = row[free], ((noisy - signal) / self.std(signal))[free]
        cell = row * self.counts.shape[1] + torch.bucketize(z, self.columns[1:-1])
        self.counts += torch.bincount(cell, count[free], self.counts.numel()).view_as(self.counts)

    def _at_limits(self, noisy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        low, high = self.quantization.low, self.quantization.high
        return None if low is None else noisy <= low, None if high is None else noisy >= high

    @property
    def total(self) -> float:
        """Number of pairs."""
        return float(self.counts.sum() + self.clipped.sum())

    @property
    def signals(self) -> Tensor:
        """Mean signal of each row, ADU; the centre of empty rows."""
        number = self.counts.sum(1) + self.clipped.sum(1)
        return torch.where(number > 0, self.signal_sums / number.clamp(min=1), (self.rows[1:] + self.rows[:-1]) / 2)

    @property
    def line(self) -> VarianceLine:
        """The variance line that defines the columns."""
        return VarianceLine(float(self.slope), float(self.intercept), ((0.0, 0.0), (0.0, 0.0)))

    def cells(self) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy value (ADU), signal (ADU) and count of every cell that is not empty; flat, float64."""
        centre = (self.columns[1:] + self.columns[:-1]) / 2
        signal = self.signals[:, None].expand_as(self.counts)
        noisy = signal + centre * self.std(signal)
        parts = [(self._off_limits(noisy), signal, self.counts)]
        for side, limit in enumerate((self.quantization.low, self.quantization.high)):
            if limit is not None:
                parts.append((torch.full_like(self.signals, limit), self.signals, self.clipped[:, side]))
        noisy, signal, count = (torch.cat([part.flatten() for part in group]) for group in zip(*parts, strict=True))
        return noisy[count > 0], signal[count > 0], count[count > 0]

    def _off_limits(self, noisy: Tensor) -> Tensor:
        """Move centres of cells off the limits, where values are counted separately."""
        gap = self.quantization.step or 1e-6 * float(self.std(self.signals).mean())
        low, high = self.quantization.low, self.quantization.high
        if low is not None:
            noisy = noisy.clamp(min=low + gap)
        return noisy if high is None else noisy.clamp(max=high - gap)


def robust_range(signal: Tensor) -> tuple[float, float]:
    """Range of the signals without a few at either end. Errors: `UserError` for constant signals."""
    ordered = signal.sort().values
    skip = int(TAIL * len(ordered))
    low, high = float(ordered[skip]), float(ordered[-1 - skip])
    if not high > low:
        raise UserError("all signals are equal; a noise model needs a range of signals, so give images with contrast")
    return low, high


def variance_line_of(noisy: Tensor, signal: Tensor, quantization: Quantization = CONTINUOUS) -> VarianceLine:
    """Variance line of flat float64 tensors; a constant where the variance does not rise."""
    free = far_from_limits(noisy, signal, quantization)
    if free.sum() > FEWEST:
        noisy, signal = noisy[free], signal[free]
    squares = (noisy - signal) ** 2
    line = fit_line(signal, squares)
    if line.slope > 0:
        return line
    return VarianceLine(0.0, float(squares[squares < 16 * squares.mean()].mean()), line.covariance)


def far_from_limits(noisy: Tensor, signal: Tensor, quantization: Quantization) -> Tensor:
    """Mask of the pairs whose signal is so far from the limits that its noise is hardly ever clipped."""
    low = -math.inf if quantization.low is None else quantization.low
    high = math.inf if quantization.high is None else quantization.high
    distance = 6.0 * (noisy - signal)[(noisy > low) & (noisy < high)].abs().median()
    return (signal > low + distance) & (signal < high - distance)
