"""Noise whose neighbouring pixels go together: any law of one pixel, plus a spectrum, row and column offsets."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.base import Noise, Value, buffer
from noisewise.noise.digital import CONTINUOUS, Digital
from noisewise.noise.poisson_gaussian import PoissonGaussian

LEVELS, NORMALS, VALUES = 96, 161, 1601  # of the quantile table: signals, normal scores, noisy values
FARTHEST = 6.0  # normal score at the table's ends
HERMITE = 9  # nodes of the average over row and column offsets
LAGS = 7


class Correlated(Noise):
    """x = F⁻¹(Φ(z); s) + row + column, rounded and clipped; z: a stationary Gaussian field with unit variance.

    F(·; s) is the distribution function of `law`, so each pixel is distributed as the law says; the field's spectrum
    makes neighbours go together (a Gaussian copula). Row and column offsets do not depend on the signal.

    law: of one pixel, neither rounded nor clipped. kernel: what white noise is convolved with to become the field,
    (Y, X), odd sides. row_kernel, column_kernel: the same for the offsets along Y and along X, ADU; a single number
    for independent ones, zero for none.

    log_prob and cdf are those of each pixel for itself (the marginal law).
    """

    kernel: Tensor
    row_kernel: Tensor
    column_kernel: Tensor

    def __init__(
        self, law: Noise, kernel: Tensor | None = None, row_kernel: Value = 0.0, column_kernel: Value = 0.0,
        digital: Digital = CONTINUOUS,
    ) -> None:  # fmt: skip
        super().__init__(digital)
        kernel = torch.ones(1, 1) if kernel is None else kernel
        self.law = law
        self.register_buffer("kernel", buffer(kernel / (kernel**2).sum().sqrt()))
        self.register_buffer("row_kernel", buffer(row_kernel).reshape(-1))
        self.register_buffer("column_kernel", buffer(column_kernel).reshape(-1))
        self._table: tuple[float, float, Tensor] | None = None

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise of each image (Y, X) of a signal (..., Y, X) by itself."""
        field = filtered(signal, self.kernel, generator)
        rows = filtered(signal[..., :1], self.row_kernel[:, None], generator)
        columns = filtered(signal[..., :1, :], self.column_kernel[None], generator)
        return self.digital((self.quantile(field, signal) + rows + columns).to(signal.dtype))

    def quantile(self, normal: Tensor, signal: Tensor) -> Tensor:
        """F⁻¹(Φ(z); s), bilinear in a table over z and s."""
        low, high, table = self.table(signal)
        level = ((signal - low) / (high - low) * (LEVELS - 1)).clamp(0, LEVELS - 1)
        score = ((normal / FARTHEST + 1) / 2 * (NORMALS - 1)).clamp(0, NORMALS - 1)
        i, j = level.floor().clamp(max=LEVELS - 2).long(), score.floor().clamp(max=NORMALS - 2).long()
        a, b = level - i, score - j
        flat = table.reshape(-1)
        corners = [flat[(i + di) * NORMALS + j + dj] for di in (0, 1) for dj in (0, 1)]
        deviation = (1 - a) * ((1 - b) * corners[0] + b * corners[1]) + a * ((1 - b) * corners[2] + b * corners[3])
        result: Tensor = signal + deviation
        return result

    def table(self, signal: Tensor) -> tuple[float, float, Tensor]:
        """Lowest and highest level and F⁻¹(Φ(z); s) − s (LEVELS, NORMALS); made anew when a signal lies outside."""
        low, high = float(signal.min()), float(signal.max())
        if self._table is None or low < self._table[0] or high > self._table[1]:
            if self._table is not None:
                low, high = min(low, self._table[0]), max(high, self._table[1])
            margin = 0.05 * (high - low) + 1e-6 * abs(high) + 1e-9
            self._table = (low - margin, high + margin, self.quantiles(low - margin, high + margin))
        low, high, table = self._table
        self._table = low, high, table.to(signal)
        return self._table

    def quantiles(self, low: float, high: float) -> Tensor:
        """The table: the law's distribution function on a fine grid, turned round."""
        signal = torch.linspace(low, high, LEVELS, dtype=torch.float64)[:, None]
        std = self.law.mean_var(signal)[1].sqrt()
        # Finer about the centre, and far enough for skewed laws.
        grid = torch.linspace(-1, 1, VALUES, dtype=torch.float64)
        grid = 12 * (0.25 * grid + 0.75 * grid**3)
        noisy = signal + std * grid
        # Level by level: laws that are sums need much memory.
        cdf = torch.stack([self.law.cdf(x, s.expand_as(x)) for x, s in zip(noisy, signal, strict=True)])
        cdf = torch.cummax(cdf.clamp(1e-300, 1 - 1e-16), 1).values
        score = torch.linspace(-FARTHEST, FARTHEST, NORMALS, dtype=torch.float64)
        wanted = torch.special.ndtr(score).expand(LEVELS, -1).contiguous()
        right = torch.searchsorted(cdf.contiguous(), wanted).clamp(1, VALUES - 1)
        before, after = cdf.gather(1, right - 1), cdf.gather(1, right)
        part = ((wanted - before) / (after - before).clamp(min=1e-300)).clamp(0, 1)
        left, step = noisy.gather(1, right - 1), noisy.gather(1, right) - noisy.gather(1, right - 1)
        deviation: Tensor = left + part * step - signal
        return deviation

    def offset_nodes(self) -> tuple[Tensor, Tensor]:
        """Offsets of row plus column (ADU) and their log weights: Gauss-Hermite nodes of their distribution."""
        std = float(self.offset_variance().sqrt())
        if not std:
            return torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        nodes, weights = gauss_hermite(HERMITE)
        return nodes * std, weights.log()

    def offset_variance(self) -> Tensor:
        """Variance of row plus column offset, ADU²."""
        return (self.row_kernel**2).sum() + (self.column_kernel**2).sum()

    def single(self) -> Noise:
        """The law of one pixel with this rounding and clipping."""
        from noisewise.noise.base import pack, unpack

        if self.law.digital == self.digital:
            return self.law
        law = unpack(*pack(self.law))
        law.digital = self.digital
        return law.to(self.kernel.device)

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        law, (offsets, log_weights) = self.single(), self.offset_nodes()
        return torch.logsumexp(torch.stack([
            law.log_prob(noisy, signal + offset.to(signal)) + log_weight.to(signal)
            for offset, log_weight in zip(offsets, log_weights, strict=True)
        ]), 0)  # fmt: skip

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        law, (offsets, log_weights) = self.single(), self.offset_nodes()
        parts = zip(offsets, log_weights.exp(), strict=True)
        return sum((weight.to(signal) * law.cdf(noisy, signal + o.to(signal)) for o, weight in parts), signal * 0)

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self.law.mean_var(signal)
        return mean, variance + self.offset_variance().to(signal) + self.digital.step**2 / 12

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, digital: Digital = CONTINUOUS) -> Self:
        """From images (..., Y, X) and their signals: the variance line, then the spectrum of what is left.

        Errors: `UserError` for anything but images.
        """
        if noisy.ndim < 2 or min(noisy.shape[-2:]) < 2:
            raise UserError("correlated noise is fitted to images (..., Y, X), not to single pixels")
        residual = (noisy - signal).double()
        rows, columns = residual.mean(-1, keepdim=True), residual.mean(-2, keepdim=True)
        row_variance, column_variance = shared_variance(residual), shared_variance(residual.mT)
        law = PoissonGaussian.fit(
            (noisy - (rows if row_variance else 0) - (columns if column_variance else 0)).double(), signal
        )
        unit = residual / law.mean_var(signal.double())[1].sqrt()
        kernel = kernel_of(autocorrelation(unit, row_variance > 0, column_variance > 0))
        return cls(law, kernel, row_variance**0.5, column_variance**0.5, digital)


def filtered(like: Tensor, kernel: Tensor, generator: torch.Generator | None) -> Tensor:
    """White noise in the shape of an image (..., Y, X), convolved with a kernel; no border: it goes round, unseen."""
    height, width = kernel.shape
    shape = (*like.shape[:-2], like.shape[-2] + height - 1, like.shape[-1] + width - 1)
    white = torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)
    if kernel.numel() == 1:
        return white * kernel.to(like).reshape(())
    size = shape[-2:]
    spectrum = torch.fft.rfft2(white) * torch.fft.rfft2(kernel.to(like), s=size)
    field: Tensor = torch.fft.irfft2(spectrum, s=size)[..., height - 1 :, width - 1 :]
    return field


def kernel_of(rho: Tensor) -> Tensor:
    """The symmetric kernel (2 L + 1, 2 L + 1) of noise with this autocorrelation (1 + L, 1 + L) in each quadrant.

    Its spectrum is the root of that of the autocorrelation, zero where errors have made that negative.
    """
    lags = [min(n - 1, LAGS) for n in rho.shape]
    if not any(lags):
        return torch.ones(1, 1, dtype=torch.float64)
    size = 64
    y, x = (torch.arange(-lag, lag + 1) for lag in lags)
    full = torch.zeros(size, size, dtype=torch.float64)
    full[y[:, None] % size, x % size] = rho.double()[y.abs()[:, None], x.abs()]
    power = torch.fft.rfft2(full).real.clamp(min=0)
    kernel = torch.fft.irfft2(power.sqrt(), s=(size, size))
    reach_y, reach_x = (torch.arange(-2 * lag, 2 * lag + 1) for lag in lags)
    kernel = kernel[reach_y[:, None] % size, reach_x % size]
    unit: Tensor = kernel / (kernel**2).sum().sqrt()
    return unit


def autocorrelation(noise: Tensor, drop_rows: bool, drop_columns: bool) -> Tensor:
    """Autocorrelation (1 + LAGS, 1 + LAGS) of noise images (..., Y, X), row and column means taken off if asked."""
    noise = noise - (noise.mean(-1, keepdim=True) if drop_rows else 0)
    noise = noise - (noise.mean(-2, keepdim=True) if drop_columns else 0)
    noise = noise - noise.mean()
    height, width = noise.shape[-2:]
    found = torch.empty(min(LAGS, height - 1) + 1, min(LAGS, width - 1) + 1, dtype=torch.float64)
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            found[y, x] = (noise[..., y:, x:] * noise[..., : height - y, : width - x]).mean()
    return found / found[0, 0]


def shared_variance(noise: Tensor) -> float:
    """Variance of an offset that a row shares: the autocovariance along X beyond all other correlation (ADU²).

    Zero unless it is four standard errors.
    """
    width = noise.shape[-1]
    if width < 4 or noise.shape[-2] < 4:
        return 0.0
    lags = range(min(LAGS + 1, width // 2), min(5 * LAGS, width // 2) + 1)
    centred = noise - noise.mean()
    # Between neighbouring rows the same lags hold what is no row offset: differences on a large scale.
    found = torch.stack([
        ((centred[..., :-1, lag:] - centred[..., 1:, lag:]) * centred[..., :-1, :-lag]).mean(-1).flatten()
        for lag in lags
    ]).mean(0)  # fmt: skip
    mean, error = float(found.mean()), float(found.std()) / math.sqrt(len(found))
    return mean if mean > 4 * error else 0.0


def gauss_hermite(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the standard normal distribution; Golub and Welsch 1969."""
    side = torch.arange(1, count, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return nodes, vectors[0] ** 2
