"""A smoothed histogram of the noise at each signal: a recorded noise model without a formula for its shape."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import Noise, Value, normal_like
from noisewise.noise.fit.pairs import INSIDE, WIDTH, Pairs, standard_deviation
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization, log_mass

BROAD = 5.0  # standard deviation of the outliers, in those of the line
LEAST_OUTLIERS, MOST_OUTLIERS = 1e-4, 0.05
PRIOR_PAIRS = 30.0  # so many pairs' worth of the Poisson-Gaussian law are in each row
ROW_PAIRS = 20_000.0  # rows with fewer pairs look to their neighbours
SMOOTH = 0.9  # kernel over z: so many standard deviations / pairs^(1/5); Silverman 1986


class Histogram(Noise):
    """p(x|s) = (1 − w₀) f(z; s) / σ(s) + w₀ N(x; s, (5 σ(s))²), z = (x − s) / σ(s).

    σ(s)² = slope · s + intercept (less the rounding), at least least_std², is the line of the variance. f is read
    from a table of densities, linear in z and in s, that vanishes at its first and last column; signals beyond the
    first and last row have their shape. The second part, for outliers, keeps the gradient alive.
    Quantised x: the mass of the step, as differences of the exact integral of f.

    rows: (J,), signals, ADU. table: (J, M), f at evenly spaced z. first, width: z of the first column, and between
    columns. outliers: w₀. slope: ADU. intercept: ADU². least_std: ADU.
    """

    rows: Tensor
    table: Tensor
    first: Tensor
    width: Tensor
    outliers: Tensor
    slope: Tensor
    intercept: Tensor
    least_std: Tensor
    below: Tensor
    moments: Tensor

    def __init__(
        self,
        rows: Tensor,
        table: Tensor,
        first: Value,
        width: Value,
        outliers: Value,
        slope: Value,
        intercept: Value,
        least_std: Value,
        quantization: Quantization = CONTINUOUS,
    ) -> None:
        super().__init__(quantization)
        self.keep(rows=rows, table=table, first=first, width=width, outliers=outliers)
        self.keep(slope=slope, intercept=intercept, least_std=least_std)
        steps = (self.table[:, 1:] + self.table[:, :-1]) / 2 * self.width
        below = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(1)], 1)
        self.register_buffer("below", below, persistent=False)  # P(Z <= z) at the columns
        self.register_buffer("moments", row_moments(self.table, self.first, self.width), persistent=False)

    def std(self, signal: Tensor) -> Tensor:
        """σ(s) before rounding, ADU."""
        line = standard_deviation(signal, self.slope, self.intercept, self.least_std)
        floor = self.least_std.to(signal) ** 2
        return (line**2 - self.quantization.step**2 / 12).clamp(min=floor).sqrt()

    def row(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """The row below a signal, and the part of the next one."""
        rows = self.rows.to(signal)
        index = torch.bucketize(signal.detach().contiguous(), rows[1:-1])
        first, second = rows[index], rows[index + 1]
        return index, ((signal - first) / (second - first)).clamp(0, 1)

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        # In float64: tails are small differences of an integral.
        x, s = noisy.double(), signal.double()
        std = self.std(s)
        broad = log_mass(x, s, BROAD * std, self.quantization) + self.outliers.log()
        inside = (1 - self.outliers) * self._mass(x, s, std)
        return (broad + torch.log1p(inside * torch.exp(-broad.clamp(min=-600)))).to(signal.dtype)

    def _mass(self, x: Tensor, s: Tensor, std: Tensor) -> Tensor:
        """Density of the table at x; the mass of its step over the step, or of the tail at a limit."""
        row, part = self.row(s)
        half, low, high = self.quantization.step / 2, self.quantization.low, self.quantization.high
        if half:
            upper, lower = (self._below((x + side * half - s) / std, row, part) for side in (1, -1))
            inside = (upper - lower).clamp(min=0) / (2 * half)
        else:
            inside = self._density((x - s) / std, row, part) / std
        unit = 2 * half or 1.0
        if low is not None:
            inside = torch.where(x <= low, self._below((low + half - s) / std, row, part) / unit, inside)
        if high is not None:
            above = 1 - self._below((high - half - s) / std, row, part)
            inside = torch.where(x >= high, above.clamp(min=0) / unit, inside)
        return inside

    def _column(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The column below z, and the part of the next one."""
        place = ((z - self.first) / self.width).clamp(0, self.table.shape[1] - 1)
        index = place.detach().floor().long().clamp(max=self.table.shape[1] - 2)
        return index, place - index

    def _density(self, z: Tensor, row: Tensor, part: Tensor) -> Tensor:
        column, along = self._column(z)
        rows = [self.table[at, column] * (1 - along) + self.table[at, column + 1] * along for at in (row, row + 1)]
        return rows[0] * (1 - part) + rows[1] * part

    def _below(self, z: Tensor, row: Tensor, part: Tensor) -> Tensor:
        """P(Z <= z): the density is linear in a column, its integral a parabola."""
        column, along = self._column(z)
        found = []
        for at in (row, row + 1):
            left, right = self.table[at, column], self.table[at, column + 1]
            found.append(self.below[at, column] + self.width * along * (left + along * (right - left) / 2))
        return found[0] * (1 - part) + found[1] * part

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        x, s = noisy.double(), signal.double()
        std, (row, part) = self.std(s), self.row(s)
        z = (x + self.quantization.step / 2 - s) / std
        total = (1 - self.outliers) * self._below(z, row, part) + self.outliers * torch.special.ndtr(z / BROAD)
        return self.quantization.clip_cdf(total, x).to(signal.dtype)

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        s = signal.double()
        row, part = self.row(s)
        lots = torch.rand((3, *s.shape), generator=generator, dtype=s.dtype, device=s.device)
        z = self._inverse(lots[0], row + (lots[1] < part))
        z = torch.where(lots[2] < self.outliers, BROAD * normal_like(s, generator), z)
        return self.quantization(s + self.std(s) * z).to(signal.dtype)

    def _inverse(self, level: Tensor, row: Tensor) -> Tensor:
        """z below which there is so much of a row: the column by bisection, then the root of the parabola."""
        low, high = torch.zeros_like(row), torch.full_like(row, self.table.shape[1] - 1)
        for _ in range(math.ceil(math.log2(self.table.shape[1]))):
            middle = (low + high) // 2
            beyond = self.below[row, middle] > level
            low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
        left, right = self.table[row, low], self.table[row, low + 1]
        wanted = ((level - self.below[row, low]) / self.width).clamp(min=0)
        root = (left**2 + 2 * (right - left) * wanted).clamp(min=0).sqrt()
        along = (2 * wanted / (left + root).clamp(min=1e-300)).clamp(0, 1)
        return self.first + self.width * (low + along)

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        s = signal.double()
        row, part = self.row(s)
        mean, square = (self.moments[row] * (1 - part)[..., None] + self.moments[row + 1] * part[..., None]).unbind(-1)
        mean = (1 - self.outliers) * mean
        square = (1 - self.outliers) * square + self.outliers * BROAD**2
        std = self.std(s)
        variance = std**2 * (square - mean**2) + self.quantization.step**2 / 12
        return (s + std * mean).to(signal.dtype), variance.to(signal.dtype)

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Counts, smoothed over z with a kernel that narrows as pairs get more, and over s where pairs are few."""
        return cls.from_pairs(Pairs.of(noisy, signal, quantization))

    @classmethod
    def from_pairs(cls, pairs: Pairs) -> Self:
        """The same of pairs that are counted already."""
        columns = even_columns(pairs)
        guess = guessed_masses(pairs, columns)
        counts = with_clipped(pairs, guess)
        share_outside = 1 - float(counts.sum()) / pairs.total
        counts = borrow(counts)
        masses = counts + PRIOR_PAIRS * guess
        mean, variance = moments_of(masses, columns)
        smooth = smoothed(masses, columns, counts.sum(1))
        table = rescaled(smooth, columns, mean, variance) / WIDTH
        return cls(
            pairs.signals, torch.nn.functional.pad(table, (1, 1)), columns[0] - WIDTH, WIDTH,
            min(max(share_outside, LEAST_OUTLIERS), MOST_OUTLIERS), pairs.slope, pairs.intercept, pairs.least_std,
            pairs.quantization,
        )  # fmt: skip


def row_moments(table: Tensor, first: Tensor, width: Tensor) -> Tensor:
    """Mean and mean square of z of each row, (J, 2), of the density that is linear between columns."""
    z = first + width * torch.arange(table.shape[1], dtype=table.dtype, device=table.device)
    # A column's triangle has its mean at z, and the variance width²/6.
    return width * torch.stack([table @ z, table @ (z**2 + width**2 / 6)], 1)


def even_columns(pairs: Pairs) -> Tensor:
    """Middles of the evenly spaced columns of the counts."""
    middle = (pairs.columns[1:] + pairs.columns[:-1]) / 2
    return middle[is_even(pairs)]


def is_even(pairs: Pairs) -> Tensor:
    """Which columns are evenly spaced."""
    return (pairs.columns[:-1] >= INSIDE[0] - WIDTH / 2) & (pairs.columns[1:] <= INSIDE[1] + WIDTH / 2)


def guessed_masses(pairs: Pairs, columns: Tensor) -> Tensor:
    """What the Poisson-Gaussian law with this line gives to each column, (J, M)."""
    noise_model = PoissonGaussian.from_line(pairs.line, pairs.low)
    signal = pairs.signals[:, None]
    edges = torch.cat([columns - WIDTH / 2, columns[-1:] + WIDTH / 2])
    below = noise_model.cdf(signal + edges * pairs.std(signal), signal.expand(-1, len(edges)))
    masses = below.diff(dim=1).clamp(min=0)
    return masses / masses.sum(1, keepdim=True)


def with_clipped(pairs: Pairs, guess: Tensor) -> Tensor:
    """Counts of the even columns; what was clipped is spread beyond its limit as the guess has it.

    Where the guess has next to nothing there, as for hot pixels, it is left to the outliers.
    """
    counts = pairs.counts[:, is_even(pairs)].clone()
    noisy = pairs.signals[:, None] + even_columns(pairs) * pairs.std(pairs.signals)[:, None]
    for side, limit in enumerate((pairs.quantization.low, pairs.quantization.high)):
        if limit is not None:
            beyond = noisy <= limit if side == 0 else noisy >= limit
            share = guess * beyond
            counts += pairs.clipped[:, side, None] * share / share.sum(1, keepdim=True).clamp(min=1e-9)
    return counts


def borrow(counts: Tensor) -> Tensor:
    """Rows with few pairs become means over as many neighbours as it takes, weighted by a Gaussian of distance."""
    place = torch.arange(len(counts), dtype=counts.dtype)
    enough, found = counts.sum(1) >= ROW_PAIRS, counts
    for reach in (0.5, 1.0, 2.0, 4.0):
        kernel = torch.exp(-0.5 * ((place[:, None] - place) / reach) ** 2)
        wider = kernel @ counts
        found = torch.where(enough[:, None], found, wider)
        enough |= wider.sum(1) >= ROW_PAIRS
    return found


def moments_of(masses: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each row, (J,)."""
    share = masses / masses.sum(1, keepdim=True)
    mean = share @ columns
    return mean, share @ columns**2 - mean**2


def smoothed(masses: Tensor, columns: Tensor, pairs: Tensor) -> Tensor:
    """Each row convolved with a Gaussian as wide as its pairs demand, and of sum 1."""
    share = masses / masses.sum(1, keepdim=True)
    below = share.cumsum(1)
    quartiles = [columns[(below < level).sum(1).clamp(max=len(columns) - 1)] for level in (0.25, 0.75)]
    _, variance = moments_of(masses, columns)
    spread = torch.minimum(variance.sqrt(), (quartiles[1] - quartiles[0]).clamp(min=WIDTH) / 1.34)
    width = SMOOTH * spread * (pairs + PRIOR_PAIRS) ** -0.2
    distance = (columns[:, None] - columns) / width[:, None, None]
    kernel = torch.exp(-0.5 * distance**2)
    out = torch.einsum("jm,jmn->jn", share, kernel / kernel.sum(2, keepdim=True))
    return out / out.sum(1, keepdim=True)


def rescaled(shares: Tensor, columns: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Rows drawn together until mean and variance are these again, as smoothing and interpolation widened them."""
    now, wide = moments_of(shares, columns)
    factor = (wide + WIDTH**2 / 6).sqrt() / (variance - WIDTH**2 / 12).clamp(min=WIDTH**2).sqrt()
    edges = torch.cat([columns - WIDTH / 2, columns[-1:] + WIDTH / 2])
    below = torch.nn.functional.pad(shares.cumsum(1), (1, 0))
    place = now[:, None] + (edges - mean[:, None]) * factor[:, None]
    position = ((place - edges[0]) / WIDTH).clamp(0, len(columns) - 1e-9)
    index = position.floor().long()
    part = position - index
    found = below.gather(1, index) * (1 - part) + below.gather(1, (index + 1).clamp(max=len(columns))) * part
    masses = found.diff(dim=1).clamp(min=0)
    return masses / masses.sum(1, keepdim=True)
