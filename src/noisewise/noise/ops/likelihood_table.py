"""log p(x|s) from a table: as exact as needed, and as fast for a law of many terms as for a simple one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from noisewise.noise.quantization import Quantization

ROWS = 8192  # noisy values; at most
FINE = 8192  # signals at which standard deviations are looked up
REACH, PER_STD = 9.0, 4  # standard deviations to each side of x, and columns for each
SPREAD = 20.0  # standard deviations of an image to each side of its mean that the rows cover
FAR = 1e4  # standard deviations of an image that no pixel is off: of N pixels, none is further off than their root
LEAST_FALL = 0.1  # nats a standard deviation, beyond the columns
CHUNK = 1 << 20  # entries computed at a time


class LikelihoodTable:
    """log p(x|s) for images of this mean and standard deviation (ADU), and for what lies beyond.

    Rows are noisy values: every one of them where they are whole steps and not too many, so that laws with a peak for
    each photon stay exact; else finer about the mean, where most pixels are, than far off, so that a hot pixel does not
    make all others coarse. The first and the last row are the limits of the camera, where x stands for all beyond.
    Columns are signals around x at equal distances of u(s) = ∫ ds / σ(s), in which the likelihood is about
    N(u(x) − u(s); 0, 1) whatever the law. Between columns, and where x is continuous between rows, it is interpolated
    linearly. Beyond the last columns it falls on in a straight line, so that its gradient never vanishes, except
    where x is at a limit and s beyond; beyond the last rows it is that of the last row, moved.
    """

    def __init__(
        self, log_prob: Callable[[Tensor, Tensor], Tensor], mean_var: Callable[[Tensor], tuple[Tensor, Tensor]],
        quantization: Quantization, mean: float, std: float, device: torch.device | None = None,
    ) -> None:  # fmt: skip
        low, high, step = quantization.low, quantization.high, quantization.step
        self.low, self.high = -math.inf if low is None else low, math.inf if high is None else high
        at = torch.linspace(-math.asinh(FAR), math.asinh(FAR), FINE, dtype=torch.float64, device=device)
        # An image of less spread than its noise is one that the law was not measured in.
        self.mean, self.std, self.step = mean, max(std, float(mean_var(at.new_tensor(mean))[1].sqrt())), step
        self.u = self._distances(mean_var, at)
        noisy = self._rows().to(at)
        columns = torch.linspace(-REACH, REACH, round(2 * REACH * PER_STD) + 1).to(at)
        signal = self.unstretched(interp(self.u_at(noisy)[:, None] + columns, self.u, at))
        chunks = 1 + signal.numel() // CHUNK
        self.table = torch.cat([
            log_prob(x[:, None].expand_as(s), s)
            for x, s in zip(noisy.chunk(chunks), signal.chunk(chunks), strict=True)
        ])  # fmt: skip
        self._let_fall(noisy)
        self.u, self.table = self.u.float(), self.table.float()

    def _distances(self, mean_var: Callable[[Tensor], tuple[Tensor, Tensor]], at: Tensor) -> Tensor:
        """u of signals on the grid, from the mean on."""
        signal = self.unstretched(at)
        density = mean_var(signal)[1].rsqrt()
        slices = (density[1:] + density[:-1]) / 2 * signal.diff()
        u = torch.cat([slices.new_zeros(1), slices.cumsum(0)])
        return u - u[FINE // 2]

    def _rows(self) -> Tensor:
        """Noisy values of the rows: those between the limits evenly, in ADU or stretched, and the limits."""
        # Without steps, a value is at a limit or not, however near.
        beside = self.step or 1e-6 * self.std
        first = max(self.mean - SPREAD * self.std, self.low + beside)
        last = max(min(self.mean + SPREAD * self.std, self.high - beside), first)
        self.exact = bool(self.step) and (last - first) / self.step < ROWS
        if self.exact:
            self.first, self.spacing = round(first / self.step) * self.step, self.step
            between = self.first + self.step * torch.arange(1 + round((last - self.first) / self.step)).double()
        else:
            self.first, end = self.stretched(torch.tensor([first, last], dtype=torch.float64)).tolist()
            self.spacing = (end - self.first) / (ROWS - 1) or 1.0
            between = self.unstretched(torch.linspace(self.first, end, ROWS, dtype=torch.float64))
        # A camera without limits never comes to the outer rows.
        limits = (end if math.isinf(limit) else limit for limit, end in ((self.low, first), (self.high, last)))
        lowest, highest = (between.new_tensor([limit]) for limit in limits)
        return torch.cat([lowest, between, highest])

    def _let_fall(self, noisy: Tensor) -> None:
        """Make sure that what is continued to the far side falls."""
        for far, near, at_limit in ((0, 1, noisy <= self.low), (-1, -2, noisy >= self.high)):
            fall = torch.where(at_limit, 0.0, LEAST_FALL / PER_STD)
            self.table[:, far] = torch.minimum(self.table[:, far], self.table[:, near] - fall)

    def __call__(self, noisy: Tensor, signal: Tensor) -> Tensor:
        """log p(x|s) per ADU, float32; shapes that broadcast."""
        self.u, self.table = self.u.to(signal.device), self.table.to(signal.device)
        noisy, signal = noisy.float().clamp(self.low, self.high), signal.float()
        column = (self.u_at(signal) - self.u_at(noisy) + REACH) * PER_STD
        row = self.row_at(noisy)
        if self.exact:
            return self._in_row(row.round().long(), column)
        above = row.floor().clamp(max=len(self.table) - 2).long()
        return torch.lerp(self._in_row(above, column), self._in_row(above + 1, column), (row - above).expand_as(column))

    def stretched(self, value: Tensor) -> Tensor:
        """Where a value lies on a scale that is even near the mean, and logarithmic far off."""
        return torch.asinh((value - self.mean) / self.std)

    def unstretched(self, at: Tensor) -> Tensor:
        """The inverse of `stretched`."""
        return self.mean + self.std * at.sinh()

    def u_at(self, value: Tensor) -> Tensor:
        """u of values, linear in the stretched scale between those of the grid, and beyond."""
        at = (self.stretched(value) / math.asinh(FAR) + 1) * ((FINE - 1) / 2)
        left = at.detach().floor().clamp(0, FINE - 2).long()
        return self.u[left] + (at - left) * (self.u[left + 1] - self.u[left])

    def row_at(self, noisy: Tensor) -> Tensor:
        """The row of a noisy value, in parts."""
        place = noisy if self.exact else self.stretched(noisy)
        row = 1 + ((place - self.first) / self.spacing).clamp(0, len(self.table) - 3)
        row = torch.where(noisy <= self.low, 0.0, row)
        return torch.where(noisy >= self.high, len(self.table) - 1.0, row)

    def _in_row(self, row: Tensor, column: Tensor) -> Tensor:
        columns = self.table.shape[1]
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
