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
MARGIN = 0.1  # of the range of values, so that the table is not made anew for each batch
CHUNK = 1 << 20  # entries computed at a time


class LikelihoodTable:
    """log p(x|s) for noisy values between `low` and `high` (ADU).

    Rows are noisy values: every one of them where they are whole steps and not too many, so that laws with a peak for
    each photon stay exact. Columns are signals around x at equal distances of u(s) = ∫ ds / σ(s), in which the
    likelihood is about N(u(x) − u(s); 0, 1) whatever the law. Between columns, and where x is continuous between rows,
    it is interpolated linearly, beyond the last columns continued linearly, so that its gradient never vanishes.
    """

    def __init__(self, law: Noise, low: float, high: float) -> None:
        self.low, self.high = low, high
        step = law.digital.step
        self.exact = bool(step) and (high - low) / step < ROWS
        rows = round((high - low) / step) + 1 if self.exact else ROWS
        noisy = torch.linspace(low, high, rows, dtype=torch.float64)
        self.row_spacing = (high - low) / (rows - 1)
        ends = torch.tensor([low, high], dtype=torch.float64)
        below, above = (2 * REACH * law.mean_var(ends)[1].sqrt() + self.row_spacing).tolist()
        self.first, self.last = low - below, high + 2 * above
        signal = torch.linspace(self.first, self.last, FINE, dtype=torch.float64)
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
        # What is continued to the far side may fall, and never rises.
        self.table[:, 0] = torch.minimum(self.table[:, 0], self.table[:, 1])
        self.table[:, -1] = torch.minimum(self.table[:, -1], self.table[:, -2])
        self.u, self.u_noisy, self.table = (part.float() for part in (self.u, self.u_noisy, self.table))

    def covers(self, low: float, high: float) -> bool:
        """Whether values between these are in the table."""
        return self.low <= low and high <= self.high

    def __call__(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """log p(x|s) per ADU, float32; shapes that broadcast."""
        self.u, self.u_noisy, self.table = (part.to(signal.device) for part in (self.u, self.u_noisy, self.table))
        row = ((noisy - self.low) / self.row_spacing).clamp(0, len(self.table) - 1)
        at = ((signal - self.first) / (self.last - self.first) * (FINE - 1)).clamp(0, FINE - 1)
        left = at.detach().floor().clamp(max=FINE - 2).long()
        u = torch.lerp(self.u[left], self.u[left + 1], at - left)
        if self.exact:
            return self._in_row(row.round().long(), u)
        above = row.floor().clamp(max=len(self.table) - 2).long()
        return torch.lerp(self._in_row(above, u), self._in_row(above + 1, u), (row - above).expand(u.shape))

    def _in_row(self, row: Tensor, u: Tensor) -> Tensor:
        columns = self.table.shape[1]
        column = (u - self.u_noisy[row] + REACH) * PER_STD
        left = column.detach().floor().clamp(0, columns - 2).long()
        start = row * columns + left
        flat = self.table.reshape(-1)
        first, second = flat[start], flat[start + 1]
        return first + (column - left) * (second - first)


def table_for(law: Noise, noisy: Tensor, before: LikelihoodTable | None) -> LikelihoodTable:
    """The table from before if it holds these noisy values, or a larger one."""
    low, high = within_limits(law, float(noisy.min()), float(noisy.max()))
    if before is not None:
        if before.covers(low, high):
            return before
        low, high = min(low, before.low), max(high, before.high)
    return LikelihoodTable(law, *rounded_range(law, low, high))


def rounded_range(law: Noise, low: float, high: float) -> tuple[float, float]:
    """A range a little wider than this one, on the law's steps and within its limits."""
    step = law.digital.step
    margin = MARGIN * (high - low) + (step or 1e-6 * max(abs(low), abs(high), 1e-6))
    low, high = low - margin, high + margin
    if step:
        low, high = (round(value / step) * step for value in (low, high))
    return within_limits(law, low, high)


def within_limits(law: Noise, low: float, high: float) -> tuple[float, float]:
    """A range cut to the values that a law can give; what lies beyond counts as the limit."""
    digital = law.digital
    low, high = (value if digital.low is None else max(value, digital.low) for value in (low, high))
    low, high = (value if digital.high is None else min(value, digital.high) for value in (low, high))
    return low, high


def interp(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """y(at), linear between increasing x, constant beyond."""
    right = torch.searchsorted(x, at.contiguous()).clamp(1, len(x) - 1)
    part = ((at - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], part)
