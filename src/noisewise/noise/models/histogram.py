"""Smoothed histogram of the noise at each signal: a recorded noise model of any shape."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import Noise, Value, normal_like
from noisewise.noise.fit.pairs import INSIDE, WIDTH, Pairs, interval_of, standard_deviation
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.lookup import index_below
from noisewise.noise.quantization import CONTINUOUS, Quantization, log_mass

BROAD = 5.0  # standard deviation of the outliers relative to the variance line
LEAST_OUTLIERS, MOST_OUTLIERS = 1e-4, 0.05
PRIOR_PAIRS = 30.0  # weight of the Poisson-Gaussian prior in each row, pairs
ROW_PAIRS = 20_000.0  # rows with fewer pairs are averaged with their neighbours
# Of the kernel over z: standard deviations / pairs^(1/5); Silverman 1986, doi:10.1201/9781315140919.
BANDWIDTH = 0.9


class Histogram(Noise):
    """p(x|s) = (1 − w₀) f(z; s) / σ(s) + w₀ N(x; s, (5 σ(s))²), z = (x − s) / σ(s).

    σ(s)² = slope · s + intercept (minus the variance of rounding), at least least_std², is the variance line. f is
    interpolated linearly in z and s from a table of densities, zero in its first and last column; signals outside the
    rows have the shape of the nearest row. The second term, for outliers, keeps the gradient from vanishing. For
    quantised x, the mass of the step is a difference of the exact integral of f.

    rows: (J,), signals, ADU. table: (J, M), f at evenly spaced z. first, width: z of the first column, and distance of
    the columns. outliers: w₀. slope: ADU. intercept: ADU². least_std: ADU.
    """

    rows: Tensor
    table: Tensor
    first: Tensor
    width: Tensor
    outliers: Tensor
    slope: Tensor
    intercept: Tensor
    least_std: Tensor
    cumulative: Tensor
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
        self.store(rows=rows, table=table, first=first, width=width, outliers=outliers)
        self.store(slope=slope, intercept=intercept, least_std=least_std)
        steps = (self.table[:, 1:] + self.table[:, :-1]) / 2 * self.width
        cumulative = torch.cat([torch.zeros_like(steps[:, :1]), steps.cumsum(1)], 1)
        self.register_buffer("cumulative", cumulative, persistent=False)  # P(Z <= z) at the columns
        self.register_buffer("moments", row_moments(self.table, self.first, self.width), persistent=False)

    def std(self, signal: Tensor) -> Tensor:
        """σ(s) before rounding, ADU."""
        line = standard_deviation(signal, self.slope, self.intercept, self.least_std)
        floor = self.least_std.to(signal) ** 2
        return (line**2 - self.quantization.rounding_variance).clamp(min=floor).sqrt()

    def row(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the row below a signal, and the weight of the next row."""
        return interval_of(signal, self.rows.to(signal))

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        # float64, because tails are small differences of an integral.
        x, s = noisy.double(), signal.double()
        std = self.std(s)
        broad = log_mass(x, s, BROAD * std, self.quantization) + self.outliers.log()
        inside = (1 - self.outliers) * self._mass(x, s, std)
        return (broad + torch.log1p(inside * torch.exp(-broad.clamp(min=-600)))).to(signal.dtype)

    def _mass(self, x: Tensor, s: Tensor, std: Tensor) -> Tensor:
        """Density of the table at x; for quantised x, the mass of its step (at a limit, of the tail) over the step."""
        row, part = self.row(s)
        half, low, high = self.quantization.step / 2, self.quantization.low, self.quantization.high
        if half:
            upper, lower = (self._cumulative((x + side * half - s) / std, row, part) for side in (1, -1))
            inside = (upper - lower).clamp(min=0) / (2 * half)
        else:
            inside = self._density((x - s) / std, row, part) / std
        unit = 2 * half or 1.0
        if low is not None:
            inside = torch.where(x <= low, self._cumulative((low + half - s) / std, row, part) / unit, inside)
        if high is not None:
            above = 1 - self._cumulative((high - half - s) / std, row, part)
            inside = torch.where(x >= high, above.clamp(min=0) / unit, inside)
        return inside

    def _column(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the column below z, and the weight of the next column."""
        position = ((z - self.first) / self.width).clamp(0, self.table.shape[1] - 1)
        index = index_below(position, self.table.shape[1] - 2)
        return index, position - index

    def _density(self, z: Tensor, row: Tensor, part: Tensor) -> Tensor:
        column, along = self._column(z)
        rows = [self.table[at, column] * (1 - along) + self.table[at, column + 1] * along for at in (row, row + 1)]
        return rows[0] * (1 - part) + rows[1] * part

    def _cumulative(self, z: Tensor, row: Tensor, part: Tensor) -> Tensor:
        """P(Z <= z): the density is linear between columns, so its integral is a parabola."""
        column, along = self._column(z)
        found = []
        for at in (row, row + 1):
            left, right = self.table[at, column], self.table[at, column + 1]
            found.append(self.cumulative[at, column] + self.width * along * (left + along * (right - left) / 2))
        return found[0] * (1 - part) + found[1] * part

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        x, s = noisy.double(), signal.double()
        std, (row, part) = self.std(s), self.row(s)
        z = (x + self.quantization.step / 2 - s) / std
        total = (1 - self.outliers) * self._cumulative(z, row, part) + self.outliers * torch.special.ndtr(z / BROAD)
        return self.quantization.clip_cdf(total, x).to(signal.dtype)

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        s = signal.double()
        row, part = self.row(s)
        uniform = torch.rand((3, *s.shape), generator=generator, dtype=s.dtype, device=s.device)
        z = self._inverse(uniform[0], row + (uniform[1] < part))
        z = torch.where(uniform[2] < self.outliers, BROAD * normal_like(s, generator), z)
        return self.quantization(s + self.std(s) * z).to(signal.dtype)

    def _inverse(self, probability: Tensor, row: Tensor) -> Tensor:
        """Quantile z of a row: the column by bisection, then the root of the parabola."""
        low, high = torch.zeros_like(row), torch.full_like(row, self.table.shape[1] - 1)
        for _ in range(math.ceil(math.log2(self.table.shape[1]))):
            middle = (low + high) // 2
            above = self.cumulative[row, middle] > probability
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        left, right = self.table[row, low], self.table[row, low + 1]
        area = ((probability - self.cumulative[row, low]) / self.width).clamp(min=0)
        root = (left**2 + 2 * (right - left) * area).clamp(min=0).sqrt()
        along = (2 * area / (left + root).clamp(min=1e-300)).clamp(0, 1)
        return self.first + self.width * (low + along)

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        s = signal.double()
        row, part = self.row(s)
        mean, square = (self.moments[row] * (1 - part)[..., None] + self.moments[row + 1] * part[..., None]).unbind(-1)
        mean = (1 - self.outliers) * mean
        square = (1 - self.outliers) * square + self.outliers * BROAD**2
        std = self.std(s)
        variance = std**2 * (square - mean**2) + self.quantization.rounding_variance
        return (s + std * mean).to(signal.dtype), variance.to(signal.dtype)

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Fit by counting, with smoothing over z (narrower for more pairs), and over s where pairs are few."""
        return cls.from_pairs(Pairs.of(noisy, signal, quantization))

    @classmethod
    def from_pairs(cls, pairs: Pairs) -> Self:
        """Fit the model to counted pairs."""
        columns = even_columns(pairs)
        prior = prior_probabilities(pairs, columns)
        counts = with_clipped(pairs, prior)
        outside = 1 - float(counts.sum()) / pairs.total
        counts = pool_neighbours(counts)
        masses = counts + PRIOR_PAIRS * prior
        mean, variance = moments_of(masses, columns)
        smooth = smoothed(masses, columns, counts.sum(1))
        table = rescaled(smooth, columns, mean, variance) / WIDTH
        return cls(
            pairs.signals, torch.nn.functional.pad(table, (1, 1)), columns[0] - WIDTH, WIDTH,
            min(max(outside, LEAST_OUTLIERS), MOST_OUTLIERS), pairs.slope, pairs.intercept, pairs.least_std,
            pairs.quantization,
        )  # fmt: skip


def row_moments(table: Tensor, first: Tensor, width: Tensor) -> Tensor:
    """Mean and mean square of z in each row, (J, 2), for a density that is linear between columns."""
    z = first + width * torch.arange(table.shape[1], dtype=table.dtype, device=table.device)
    # The triangle of a column has mean z and variance width²/6.
    return width * torch.stack([table @ z, table @ (z**2 + width**2 / 6)], 1)


def even_columns(pairs: Pairs) -> Tensor:
    """Centres of the evenly spaced columns of the counts."""
    centre = (pairs.columns[1:] + pairs.columns[:-1]) / 2
    return centre[is_even(pairs)]


def is_even(pairs: Pairs) -> Tensor:
    """Mask of the evenly spaced columns."""
    return (pairs.columns[:-1] >= INSIDE[0] - WIDTH / 2) & (pairs.columns[1:] <= INSIDE[1] + WIDTH / 2)


def column_edges(columns: Tensor) -> Tensor:
    """Edges of the evenly spaced columns."""
    return torch.cat([columns - WIDTH / 2, columns[-1:] + WIDTH / 2])


def normalised(masses: Tensor) -> Tensor:
    """Rows scaled to sum one."""
    return masses / masses.sum(1, keepdim=True)


def prior_probabilities(pairs: Pairs, columns: Tensor) -> Tensor:
    """Probability of each column under the Poisson-Gaussian model with this variance line, (J, M)."""
    noise_model = PoissonGaussian.from_line(pairs.line, pairs.low)
    signal, edges = pairs.signals[:, None], column_edges(columns)
    cumulative = noise_model.cdf(signal + edges * pairs.std(signal), signal.expand(-1, len(edges)))
    return normalised(cumulative.diff(dim=1).clamp(min=0))


def with_clipped(pairs: Pairs, prior: Tensor) -> Tensor:
    """Counts of the even columns, with clipped values distributed over their side of the limit by the prior.

    Where the prior has almost no mass there, as for hot pixels, they count as outliers.
    """
    counts = pairs.counts[:, is_even(pairs)].clone()
    noisy = pairs.signals[:, None] + even_columns(pairs) * pairs.std(pairs.signals)[:, None]
    for side, limit in enumerate((pairs.quantization.low, pairs.quantization.high)):
        if limit is not None:
            clipped = noisy <= limit if side == 0 else noisy >= limit
            mass = prior * clipped
            counts += pairs.clipped[:, side, None] * mass / mass.sum(1, keepdim=True).clamp(min=1e-9)
    return counts


def pool_neighbours(counts: Tensor) -> Tensor:
    """Add to rows with few pairs their neighbours, weighted by a Gaussian that widens until the pairs suffice."""
    row = torch.arange(len(counts), dtype=counts.dtype)
    enough, found = counts.sum(1) >= ROW_PAIRS, counts
    for std in (0.5, 1.0, 2.0, 4.0):
        kernel = torch.exp(-0.5 * ((row[:, None] - row) / std) ** 2)
        pooled = kernel @ counts
        found = torch.where(enough[:, None], found, pooled)
        enough |= pooled.sum(1) >= ROW_PAIRS
    return found


def moments_of(masses: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of z in each row, (J,)."""
    probability = normalised(masses)
    mean = probability @ columns
    return mean, probability @ columns**2 - mean**2


def smoothed(masses: Tensor, columns: Tensor, pairs: Tensor) -> Tensor:
    """Convolve each row with a Gaussian whose width depends on its number of pairs (see `BANDWIDTH`); sums are one."""
    probability = normalised(masses)
    cumulative = probability.cumsum(1)
    quartiles = [columns[(cumulative < level).sum(1).clamp(max=len(columns) - 1)] for level in (0.25, 0.75)]
    _, variance = moments_of(masses, columns)
    robust_std = torch.minimum(variance.sqrt(), (quartiles[1] - quartiles[0]).clamp(min=WIDTH) / 1.34)
    width = BANDWIDTH * robust_std * (pairs + PRIOR_PAIRS) ** -0.2
    distance = (columns[:, None] - columns) / width[:, None, None]
    kernel = torch.exp(-0.5 * distance**2)
    return normalised(torch.einsum("jm,jmn->jn", probability, kernel / kernel.sum(2, keepdim=True)))


def rescaled(probability: Tensor, columns: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Rescale z so that rows regain this mean and variance, which smoothing and interpolation had increased."""
    smooth_mean, smooth_variance = moments_of(probability, columns)
    factor = (smooth_variance + WIDTH**2 / 6).sqrt() / (variance - WIDTH**2 / 12).clamp(min=WIDTH**2).sqrt()
    edges = column_edges(columns)
    cumulative = torch.nn.functional.pad(probability.cumsum(1), (1, 0))
    z = smooth_mean[:, None] + (edges - mean[:, None]) * factor[:, None]
    position = ((z - edges[0]) / WIDTH).clamp(0, len(columns) - 1e-9)
    index = position.floor().long()
    part = position - index
    next_index = (index + 1).clamp(max=len(columns))
    found = cumulative.gather(1, index) * (1 - part) + cumulative.gather(1, next_index) * part
    return normalised(found.diff(dim=1).clamp(min=0))
