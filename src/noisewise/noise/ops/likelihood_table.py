"""Likelihood table: log p(x|s) interpolated from a table, equally fast for every noise model."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from noisewise.noise.ops.lookup import index_below
from noisewise.noise.quantization import Quantization

ROWS = 8192  # noisy values, at most
GRID = 8192  # signals at which standard deviations are computed
COLUMN_SPAN, PER_STD = 9.0, 4  # standard deviations to each side of x; columns per standard deviation
ROW_SPAN = 20.0  # standard deviations of the image to each side of its mean
GRID_SPAN = 1e4  # the same for the grid: of N pixels, none deviates by more than √N standard deviations
LEAST_SLOPE = 0.1  # nats per standard deviation, outside the columns
CHUNK = 1 << 14  # entries computed at a time, each with all components of a mixture


class LikelihoodTable:
    """Table of log p(x|s) for images of this mean and standard deviation (ADU); other values are extrapolated.

    Rows are noisy values: all of them if they are integer steps and not too many, so that noise with a peak per photon
    stays exact; otherwise spaced more densely near the mean, so that hot pixels do not coarsen the rest. The first and
    last row are the limits of the camera, where x stands for all values on the other side. Columns are signals around x
    at equal distances of u(s) = ∫ ds / σ(s), in which any likelihood is about N(u(x) − u(s); 0, 1). Interpolation is
    linear between columns and, for continuous x, between rows. Outside the columns it decreases linearly, so that the
    gradient does not vanish, except for x at a limit and s on its other side; outside the rows it is the last row,
    shifted.
    """

    def __init__(
        self, log_prob: Callable[[Tensor, Tensor], Tensor], mean_var: Callable[[Tensor], tuple[Tensor, Tensor]],
        quantization: Quantization, mean: float, std: float, device: torch.device | None = None,
    ) -> None:  # fmt: skip
        low, high, step = quantization.low, quantization.high, quantization.step
        self.low, self.high = -math.inf if low is None else low, math.inf if high is None else high
        grid = torch.linspace(-math.asinh(GRID_SPAN), math.asinh(GRID_SPAN), GRID, dtype=torch.float64, device=device)
        # An image with a smaller standard deviation than its noise is not the one that the model was measured in.
        self.mean, self.std, self.step = mean, max(std, float(mean_var(grid.new_tensor(mean))[1].sqrt())), step
        self.u = self._distances(mean_var, grid)
        noisy = self._rows().to(grid)
        columns = torch.linspace(-COLUMN_SPAN, COLUMN_SPAN, round(2 * COLUMN_SPAN * PER_STD) + 1).to(grid)
        signal = self.unstretched(interp(self.u_at(noisy)[:, None] + columns, self.u, grid))
        chunks = 1 + signal.numel() // CHUNK
        self.table = torch.cat([
            log_prob(x[:, None].expand_as(s), s)
            for x, s in zip(noisy.chunk(chunks), signal.chunk(chunks), strict=True)
        ])  # fmt: skip
        self._enforce_decrease(noisy)
        self.u, self.table = self.u.float(), self.table.float()

    def _distances(self, mean_var: Callable[[Tensor], tuple[Tensor, Tensor]], grid: Tensor) -> Tensor:
        """u of the signals on the grid, zero at the mean."""
        signal = self.unstretched(grid)
        density = mean_var(signal)[1].rsqrt()
        intervals = (density[1:] + density[:-1]) / 2 * signal.diff()
        u = torch.cat([intervals.new_zeros(1), intervals.cumsum(0)])
        return u - u[GRID // 2]

    def _rows(self) -> Tensor:
        """Noisy values of the rows: even between the limits, in ADU or on the stretched scale, and the limits."""
        # Without steps, any value inside the limits is not clipped, however close to them.
        gap = self.step or 1e-6 * self.std
        first = max(self.mean - ROW_SPAN * self.std, self.low + gap)
        last = max(min(self.mean + ROW_SPAN * self.std, self.high - gap), first)
        self.exact = bool(self.step) and (last - first) / self.step < ROWS
        if self.exact:
            self.first, self.spacing = round(first / self.step) * self.step, self.step
            between = self.first + self.step * torch.arange(1 + round((last - self.first) / self.step)).double()
        else:
            self.first, end = self.stretched(torch.tensor([first, last], dtype=torch.float64)).tolist()
            self.spacing = (end - self.first) / (ROWS - 1) or 1.0
            between = self.unstretched(torch.linspace(self.first, end, ROWS, dtype=torch.float64))
        # Without limits, the outer rows are not used.
        limits = (end if math.isinf(limit) else limit for limit, end in ((self.low, first), (self.high, last)))
        lowest, highest = (between.new_tensor([limit]) for limit in limits)
        return torch.cat([lowest, between, highest])

    def _enforce_decrease(self, noisy: Tensor) -> None:
        """Make the outer columns decrease, so that their linear extrapolation does."""
        for outer, inner, at_limit in ((0, 1, noisy <= self.low), (-1, -2, noisy >= self.high)):
            decrease = torch.where(at_limit, 0.0, LEAST_SLOPE / PER_STD)
            self.table[:, outer] = torch.minimum(self.table[:, outer], self.table[:, inner] - decrease)

    def __call__(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """log p(x|s) per ADU, float32; tensors that broadcast, ADU."""
        self.u, self.table = self.u.to(signal.device), self.table.to(signal.device)
        noisy, signal = noisy.float().clamp(self.low, self.high), signal.float()
        column = (self.u_at(signal) - self.u_at(noisy) + COLUMN_SPAN) * PER_STD
        row = self.row_at(noisy)
        if self.exact:
            return self._in_row(index_below(row.round(), len(self.table) - 1), column)
        first = index_below(row, len(self.table) - 2)
        return torch.lerp(self._in_row(first, column), self._in_row(first + 1, column), (row - first).expand_as(column))

    def stretched(self, value: Tensor) -> Tensor:
        """Position of a value on a scale that is linear near the mean and logarithmic far from it."""
        return torch.asinh((value - self.mean) / self.std)

    def unstretched(self, position: Tensor) -> Tensor:
        """The inverse of `stretched`."""
        return self.mean + self.std * position.sinh()

    def u_at(self, value: Tensor) -> Tensor:
        """u of values, linear on the stretched scale between grid points and outside."""
        at = (self.stretched(value) / math.asinh(GRID_SPAN) + 1) * ((GRID - 1) / 2)
        left = index_below(at, GRID - 2)
        return self.u[left] + (at - left) * (self.u[left + 1] - self.u[left])

    def row_at(self, noisy: Tensor) -> Tensor:
        """Fractional row index of a noisy value."""
        position = noisy if self.exact else self.stretched(noisy)
        row = 1 + ((position - self.first) / self.spacing).clamp(0, len(self.table) - 3)
        row = torch.where(noisy <= self.low, 0.0, row)
        return torch.where(noisy >= self.high, len(self.table) - 1.0, row)

    def _in_row(self, row: Tensor, column: Tensor) -> Tensor:
        columns = self.table.shape[1]
        left = index_below(column, columns - 2)
        start = row * columns + left
        flat = self.table.reshape(-1)
        first, second = flat[start], flat[start + 1]
        return first + (column - left) * (second - first)


def interp(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """y(at), linear between increasing x and constant outside."""
    right = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    part = ((at - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], part)
