"""log p(x|s) from a table: as exact as needed, and as fast for a law of many terms as for a simple one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from noisewise.noise.base import Noise

ROWS = 8192  # noisy values; at most
FINE = 8192  # signals at which standard deviations are looked up
REACH, PER_STD = 9.0, 4  # standard deviations to each side of x, and columns for each
SPREAD = 20.0  # standard deviations of an image to each side of its mean that the rows cover
CHUNK = 1 << 20  # entries computed at a time


class LikelihoodTable:
    """log p(x|s) for images of this mean and standard deviation (ADU), and for what lies beyond.

    Rows are noisy values: every one of them where they are whole steps and not too many, so that laws with a peak for
    each photon stay exact; else finer in the dark than above, so that a hot pixel does not make all others coarse.
    Columns are signals around x at equal distances of u(s) = ∫ ds / σ(s), in which the likelihood is about
    N(u(x) − u(s); 0, 1) whatever the law. Between columns, and where x is continuous between rows, it is interpolated
    linearly. Beyond the last columns it falls on in a straight line, so that its gradient never vanishes; beyond the
    last rows it is that of the last row, moved.
    """

    def __init__(self, law: Noise, mean: float, std: float) -> None:
        digital = law.digital
        step = digital.step
        low, high = mean - SPREAD * std, mean + SPREAD * std
        if step:
            low, high = (round(value / step) * step for value in (low, high))
        low = low if digital.low is None else min(max(low, digital.low), mean)
        high = high if digital.high is None else max(min(high, digital.high), mean)
        self.limits, self.low, self.high = (digital.low, digital.high), low, high
        ends = torch.tensor([low, high], dtype=torch.float64)
        below, above = law.mean_var(ends)[1].sqrt().tolist()
        self.scale = max(4 * below, (high - low) * 1e-6, 1e-12)
        self.exact = bool(step) and (high - low) / step < ROWS
        if self.exact:
            rows = round((high - low) / step) + 1
            noisy = torch.linspace(low, high, rows, dtype=torch.float64)
            self.row_spacing = step
        else:
            steps = torch.linspace(0, float(self.stretched(ends)[1]), ROWS, dtype=torch.float64)
            noisy, self.row_spacing = low + self.scale * steps.sinh(), float(steps[1])
        first, last = low - 4 * REACH * below - 2 * step, high + 4 * REACH * above + 2 * step
        ends = self.stretched(torch.tensor([first, last], dtype=torch.float64))
        self.at_first, self.spacing = float(ends[0]), float(ends[1] - ends[0]) / (FINE - 1)
        signal = low + self.scale * (self.at_first + self.spacing * torch.arange(FINE, dtype=torch.float64)).sinh()
        density = law.mean_var(signal)[1].rsqrt()
        slices = (density[1:] + density[:-1]) / 2 * signal.diff()
        self.u = torch.cat([torch.zeros(1, dtype=torch.float64), slices.cumsum(0)])
        self.u_noisy = interp(noisy, signal, self.u)
        columns = torch.linspace(-REACH, REACH, round(2 * REACH * PER_STD) + 1, dtype=torch.float64)
        where = interp(self.u_noisy[:, None] + columns, self.u, signal)
        chunks = 1 + where.numel() // CHUNK
        self.table = torch.cat([
            law.log_prob(x[:, None].expand_as(s), s)
            for x, s in zip(noisy.chunk(chunks), where.chunk(chunks), strict=True)
        ])  # fmt: skip
        # What is continued to the far side falls.
        self.table[:, 0] = torch.minimum(self.table[:, 0], self.table[:, 1] - REACH / PER_STD)
        self.table[:, -1] = torch.minimum(self.table[:, -1], self.table[:, -2] - REACH / PER_STD)
        self.u, self.u_noisy, self.table = (part.float() for part in (self.u, self.u_noisy, self.table))

    def __call__(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """log p(x|s) per ADU, float32; shapes that broadcast."""
        self.u, self.u_noisy, self.table = (part.to(signal.device) for part in (self.u, self.u_noisy, self.table))
        noisy, signal = noisy.float(), signal.float()
        if self.limits != (None, None):
            noisy = noisy.clamp(*self.limits)
        inside = noisy.clamp(self.low, self.high)
        u = self.u_at(signal) - (self.u_at(noisy) - self.u_at(inside))
        place = inside - self.low if self.exact else self.stretched(inside)
        row = (place / self.row_spacing).clamp(0, len(self.table) - 1)
        if self.exact:
            return self._in_row(row.round().long(), u)
        above = row.floor().clamp(max=len(self.table) - 2).long()
        lower, upper = self._in_row(above, u), self._in_row(above + 1, u)
        return lower + (row - above) * (upper - lower)

    def stretched(self, value: Tensor) -> Tensor:
        """Where a value lies on a scale that is even near the lowest, and logarithmic far above."""
        return torch.asinh((value - self.low) / self.scale)

    def u_at(self, value: Tensor) -> Tensor:
        """u of values; beyond the grid continued."""
        at = (self.stretched(value) - self.at_first) / self.spacing
        left = at.detach().floor().clamp(0, FINE - 2).long()
        return self.u[left] + (at - left) * (self.u[left + 1] - self.u[left])

    def _in_row(self, row: Tensor, u: Tensor) -> Tensor:
        columns = self.table.shape[1]
        column = (u - self.u_noisy[row] + REACH) * PER_STD
        left = column.detach().floor().clamp(0, columns - 2).long()
        start = row * columns + left
        flat = self.table.reshape(-1)
        first, second = flat[start], flat[start + 1]
        return first + (column - left) * (second - first)


def interp(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """y(at), linear between increasing x, constant beyond."""
    right = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    part = ((at - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], part)
