"""Noise whose neighbouring pixels go together: any law of one pixel, plus a spectrum, row and column offsets."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.base import Noise, Value, buffer
from noisewise.noise.fit.variance_line import fit_line
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization

LEVELS, NORMALS, VALUES = 96, 161, 1601  # of the quantile table: signals, normal scores, noisy values
FARTHEST = 6.0  # normal score at the table's ends
HERMITE = 9  # nodes of the average over row and column offsets
FARTHEST_LAG = 25  # pixels, up to which the autocorrelation is fitted; what goes on is that of whole lines
WHITE = 0.15  # largest correlation of neighbours that is taken for none: so much is measured where texture is
FAINTEST = 0.1  # of the mean power: less is not trusted, as a patch is no torus


class Correlated(Noise):
    """x = F⁻¹(Φ(z); s) + row + column, rounded and clipped; z: a stationary Gaussian field with unit variance.

    F(·; s) is the distribution function of `law`, so each pixel is distributed as the law says; the field's spectrum
    makes neighbours go together (a Gaussian copula). Row and column offsets do not depend on the signal.
    The fields of slices (..., Z, Y, X) have the correlation `between` from one to the next, and its powers beyond.

    law: of one pixel, neither rounded nor clipped. kernel: what white noise is convolved with to become the field,
    (Y, X), odd sides. row_kernel, column_kernel: the same for the offsets along Y and along X, ADU; a single number
    for independent ones, zero for none. between: above -1, below 1.

    log_prob and cdf are those of each pixel for itself (the marginal law). log_prob_image is that of a Gaussian field
    e = (x − s) / σ(s) on a torus, σ² the variance of all parts: −½ Σ_k |ê(k)|² / P(k) − ½ Σ_k log P(k) − Σ_i log σ_i,
    less a constant; exact where the field is Gaussian, σ does not change, the image has no borders, and P is above a
    tenth of its mean everywhere: where it is less, it is taken for that.
    """

    kernel: Tensor
    row_kernel: Tensor
    column_kernel: Tensor
    between: Tensor

    def __init__(
        self, pixel_noise: Noise, kernel: Tensor | None = None, row_kernel: Value = 0.0, column_kernel: Value = 0.0,
        quantization: Quantization = CONTINUOUS, between: Value = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(quantization)
        kernel = torch.ones(1, 1) if kernel is None else kernel
        self.pixel_noise = pixel_noise
        self.register_buffer("kernel", buffer(kernel / (kernel**2).sum().sqrt()))
        self.register_buffer("row_kernel", buffer(row_kernel).reshape(-1))
        self.register_buffer("column_kernel", buffer(column_kernel).reshape(-1))
        self.keep(between=between)
        self._table: tuple[float, float, Tensor] | None = None

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noise of each image (Y, X) of a signal (..., Y, X) by itself, but for fields that slices share."""
        field = linked(filtered(signal, self.kernel, generator), float(self.between))
        rows = filtered(signal[..., :1], self.row_kernel[:, None], generator)
        columns = filtered(signal[..., :1, :], self.column_kernel[None], generator)
        return self.quantization((self.quantile(field, signal) + rows + columns).to(signal.dtype))

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
        std = self.pixel_noise.mean_var(signal)[1].sqrt()
        # Finer about the centre, and far enough for skewed laws.
        grid = torch.linspace(-1, 1, VALUES, dtype=torch.float64)
        grid = 12 * (0.25 * grid + 0.75 * grid**3)
        noisy = signal + std * grid
        # Level by level: laws that are sums need much memory.
        cdf = torch.stack([self.pixel_noise.cdf(x, s.expand_as(x)) for x, s in zip(noisy, signal, strict=True)])
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
        if self.pixel_noise.quantization == self.quantization:
            return self.pixel_noise
        return self.pixel_noise.with_quantization(self.quantization)

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        pixel_noise, (offsets, log_weights) = self.single(), self.offset_nodes()
        return torch.logsumexp(torch.stack([
            pixel_noise.log_prob(noisy, signal + offset.to(signal)) + log_weight.to(signal)
            for offset, log_weight in zip(offsets, log_weights, strict=True)
        ]), 0)  # fmt: skip

    @property
    def white(self) -> bool:
        side = max(self.kernel.shape)
        rho = lagged(self.kernel, (side, side))
        rho[0, 0] = 0.0
        return float(rho.abs().max()) < WHITE and max(self.offset_shares) < WHITE**2

    @property
    def anisotropic(self) -> bool:
        side = max(self.kernel.shape)
        along_y, along_x = (lagged(kernel, (side, side)) for kernel in (self.kernel, self.kernel.mT))
        rows, columns = self.offset_shares
        return float((along_y - along_x).abs().max()) > WHITE or abs(rows - columns) > WHITE**2

    @property
    def offset_shares(self) -> tuple[float, float]:
        """Variance of row and of column offsets over that of a dark pixel."""
        pixel = float(self.dark_variance.abs().clamp(min=1e-12))
        rows, columns = (float((kernel**2).sum()) / pixel for kernel in (self.row_kernel, self.column_kernel))
        return rows, columns

    @property
    def dark_variance(self) -> Tensor:
        """Variance of a pixel, without offsets, at the darkest signal that the law was made for, ADU²."""
        darkest = torch.tensor(float(self.provenance.get("signal_range", [0.0])[0]), dtype=torch.float64)
        variance: Tensor = self.pixel_noise.mean_var(darkest)[1]
        return variance

    def log_prob_image(self, noisy: Tensor, signal: Tensor) -> Tensor:
        signal = signal + 0 * noisy
        std = self.mean_var(signal)[1].sqrt()
        size = signal.shape[-2:]
        power = self.power(float((std.detach() ** 2).mean()), (size[0], size[1])).to(signal)
        field = torch.fft.fft2((noisy - signal) / std) / power.sqrt()
        white = torch.fft.ifft2(field).real
        found: Tensor = -0.5 * (white**2 + power.log().mean() + math.log(2 * math.pi)) - std.log()
        return found

    def power(self, variance: float, size: tuple[int, int]) -> Tensor:
        """Mean power of unit noise at each frequency of an image (Y, X), offsets with their share of a variance."""
        pixel = max(variance - float(self.offset_variance()), 0.0)
        found = pixel * torch.fft.fft2(self.kernel, s=size).abs() ** 2
        found[:, 0] += size[1] * torch.fft.fft(self.row_kernel, n=size[0]).abs() ** 2
        found[0] += size[0] * torch.fft.fft(self.column_kernel, n=size[1]).abs() ** 2
        found = found.clamp(min=FAINTEST * found.mean())
        unit: Tensor = found / found.mean()
        return unit

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        pixel_noise, (offsets, log_weights) = self.single(), self.offset_nodes()
        parts = zip(offsets, log_weights.exp(), strict=True)
        return sum(
            (weight.to(signal) * pixel_noise.cdf(noisy, signal + o.to(signal)) for o, weight in parts), signal * 0
        )

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self.pixel_noise.mean_var(signal)
        return mean, variance + self.offset_variance().to(signal) + self.quantization.step**2 / 12

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """From images (..., Y, X) and their signals: the variance line, then the spectrum of what is left.

        Errors: `UserError` for anything but images.
        """
        if noisy.ndim < 2 or min(noisy.shape[-2:]) < 2:
            raise UserError("correlated noise is fitted to images (..., Y, X), not to single pixels")
        residual = (noisy - signal).double()
        row_variance, column_variance = shared_variance(residual), shared_variance(residual.mT)
        rows, columns = residual.mean(-1, keepdim=True), residual.mean(-2, keepdim=True)
        alone = noisy - (rows if row_variance else 0) - (columns if column_variance else 0)
        pixel_noise = of_single_pixels(alone.double(), signal.double(), CONTINUOUS)
        std = pixel_noise.mean_var(signal.double())[1].sqrt()
        rho = autocovariance(residual / std, FARTHEST_LAG)
        rho[0] -= row_variance * float((1 / std**2).mean())
        rho[:, 0] -= column_variance * float((1 / std**2).mean())
        kernel = kernel_of(rho / rho[0, 0])
        return cls(pixel_noise, kernel, row_variance**0.5, column_variance**0.5, quantization)


def of_single_pixels(noisy: Tensor, signal: Tensor, quantization: Quantization) -> Noise:
    """The law of each pixel for itself; Gaussian where the variance does not rise, as in the dark."""
    flat, squares = signal.flatten(), ((noisy - signal) ** 2).flatten()
    if float(flat.max() - flat.min()) > 1e-6 * float(squares.mean().sqrt()):
        line = fit_line(flat, squares)
        if line.slope > 0:
            return PoissonGaussian.from_line(line, float(flat.min()), quantization)
    return Gaussian.fit(noisy, signal, quantization=quantization)


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


def linked(fields: Tensor, between: float) -> Tensor:
    """Fields (..., Z, Y, X) of unit variance, each in part the one before: an autoregression of first order."""
    if not between or fields.ndim < 3:
        return fields
    slices = list(fields.unbind(-3))
    for z in range(1, len(slices)):
        slices[z] = between * slices[z - 1] + math.sqrt(1 - between**2) * slices[z]
    return torch.stack(slices, -3)


def kernel_of(rho: Tensor) -> Tensor:
    """The symmetric kernel (2 L + 1, 2 L + 1) of noise with this autocorrelation (1 + L, 1 + L) in each quadrant.

    Its spectrum is the root of that of the autocorrelation, zero where errors have made that negative.
    """
    lags = [n - 1 for n in rho.shape]
    if not any(lags):
        return torch.ones(1, 1, dtype=torch.float64)
    size = max(64, 2 ** math.ceil(math.log2(4 * max(lags) + 2)))
    y, x = (torch.arange(-lag, lag + 1) for lag in lags)
    full = torch.zeros(size, size, dtype=torch.float64)
    full[y[:, None] % size, x % size] = rho.double()[y.abs()[:, None], x.abs()]
    power = torch.fft.rfft2(full).real.clamp(min=0)
    kernel = torch.fft.irfft2(power.sqrt(), s=(size, size))
    reach_y, reach_x = (torch.arange(-2 * lag, 2 * lag + 1) for lag in lags)
    kernel = kernel[reach_y[:, None] % size, reach_x % size]
    unit: Tensor = kernel / (kernel**2).sum().sqrt()
    return unit


def autocovariance(noise: Tensor, lags: int) -> Tensor:
    """Mean products (1 + lags, 1 + lags) of noise images (..., Y, X) at vertical and horizontal distances."""
    rows, columns = (min(lags, n // 4) for n in noise.shape[-2:])
    return covariances(noise, rows, columns)[rows:, columns:]


def covariances(noise: Tensor, rows: int, columns: int) -> Tensor:
    """The same at distances to both sides, (1 + 2 rows, 1 + 2 columns), float64: by the spectrum."""
    noise = (noise - noise.mean()).double()
    height, width = noise.shape[-2:]
    size = (height + rows, width + columns)
    power = (torch.fft.rfft2(noise, s=size).abs() ** 2).reshape(-1, size[0], size[1] // 2 + 1).mean(0)
    found = torch.fft.irfft2(power, s=size).roll((rows, columns), (0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    pairs = [n - torch.arange(-lags, lags + 1).abs() for n, lags in ((height, rows), (width, columns))]
    mean: Tensor = found / (pairs[0][:, None] * pairs[1])
    return mean


def lagged(kernel: Tensor, lags: tuple[int, int]) -> Tensor:
    """Autocovariance (lags) of white noise convolved with a kernel (Y, X)."""
    height, width = kernel.shape
    found = torch.zeros(lags, dtype=torch.float64)
    for y in range(min(lags[0], height)):
        for x in range(min(lags[1], width)):
            found[y, x] = (kernel[y:, x:] * kernel[: height - y, : width - x]).sum()
    return found


def shared_variance(noise: Tensor) -> float:
    """Variance of an offset that a row shares: the autocovariance along X beyond all other correlation (ADU²).

    Zero unless it is four standard errors.
    """
    width = noise.shape[-1]
    if width < 4 or noise.shape[-2] < 4:
        return 0.0
    lags = range(min(FARTHEST_LAG, width // 4) + 1, min(2 * FARTHEST_LAG, width // 2) + 1)
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
