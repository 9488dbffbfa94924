"""Spatially correlated noise: any noise model of single pixels, plus a spectrum, row and column offsets."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import Noise, Value
from noisewise.noise.fit.variance_line import fit_line
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.arrays import refuse_single_pixels
from noisewise.noise.ops.lookup import index_below
from noisewise.noise.quantization import CONTINUOUS, Quantization

SIGNALS, SCORES, VALUES = 96, 161, 1601  # of the quantile table: signals, normal scores, noisy values
MAX_SCORE = 6.0  # normal score at the ends of the table
OFFSET_NODES = 9  # of the quadrature over row and column offsets
MAX_LAG = 25  # pixels; correlation at larger lags is that of row and column offsets
WHITE = 0.15  # neighbour correlation up to which noise counts as white: textured images show as much
POWER_FLOOR = 0.1  # of the mean power: lower power is unreliable, because images are not periodic


class Correlated(Noise):
    """x = F⁻¹(Φ(z); s) + row + column, rounded and clipped; z: a stationary Gaussian field of unit variance.

    F(·; s) is the distribution function of `pixel_noise`, the marginal distribution of each pixel. The spectrum of the
    field sets the correlation of neighbours (a Gaussian copula). Row and column offsets do not depend on the signal.
    Fields of neighbouring slices (..., Z, Y, X) have the correlation `slice_correlation`; it decays geometrically.

    pixel_noise: model of one pixel, neither rounded nor clipped. kernel: (Y, X), odd sides; white noise convolved with
    it is the field. row_kernel, column_kernel: the same for the offsets along Y and along X, ADU; one number for
    independent offsets, zero for none. slice_correlation: above -1, below 1.

    log_prob and cdf are those of the marginal distribution. log_prob_image is that of a periodic Gaussian field
    e = (x − s) / σ(s), σ² the total variance: −½ Σ_k |ê(k)|² / P(k) − ½ Σ_k log P(k) − Σ_i log σ_i + constant. It is
    exact for a Gaussian field, constant σ, a periodic image, and a power P of at least a tenth of its mean; lower power
    is raised to that.
    """

    kernel: Tensor
    row_kernel: Tensor
    column_kernel: Tensor
    slice_correlation: Tensor

    def __init__(
        self, pixel_noise: Noise, kernel: Tensor | None = None, row_kernel: Value = 0.0, column_kernel: Value = 0.0,
        quantization: Quantization = CONTINUOUS, slice_correlation: Value = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(quantization)
        kernel = torch.ones(1, 1) if kernel is None else kernel
        self.pixel_noise = pixel_noise
        rows, columns = (
            torch.as_tensor(offsets, dtype=torch.float64).reshape(-1) for offsets in (row_kernel, column_kernel)
        )
        unit_kernel = kernel / (kernel**2).sum().sqrt()
        self.store(kernel=unit_kernel, row_kernel=rows, column_kernel=columns, slice_correlation=slice_correlation)
        self._table: tuple[float, float, Tensor] | None = None

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw noise of each image (Y, X) of a signal (..., Y, X); only the field is correlated between slices."""
        refuse_single_pixels(signal)
        field = correlate_slices(filtered_noise(signal, self.kernel, generator), float(self.slice_correlation))
        rows = filtered_noise(signal[..., :1], self.row_kernel[:, None], generator)
        columns = filtered_noise(signal[..., :1, :], self.column_kernel[None], generator)
        return self.quantization((self.quantile(field, signal) + rows + columns).to(signal.dtype))

    def quantile(self, normal: Tensor, signal: Tensor) -> Tensor:
        """F⁻¹(Φ(z); s), bilinear in a table over s and z."""
        low, high, table = self.table(signal)
        row = ((signal - low) / (high - low) * (SIGNALS - 1)).clamp(0, SIGNALS - 1)
        column = ((normal / MAX_SCORE + 1) / 2 * (SCORES - 1)).clamp(0, SCORES - 1)
        i, j = index_below(row, SIGNALS - 2), index_below(column, SCORES - 2)
        a, b = row - i, column - j
        flat = table.reshape(-1)
        corners = [flat[(i + di) * SCORES + j + dj] for di in (0, 1) for dj in (0, 1)]
        deviation = (1 - a) * ((1 - b) * corners[0] + b * corners[1]) + a * ((1 - b) * corners[2] + b * corners[3])
        result: Tensor = signal + deviation
        return result

    def table(self, signal: Tensor) -> tuple[float, float, Tensor]:
        """Range of signals (ADU) and F⁻¹(Φ(z); s) − s (SIGNALS, SCORES); rebuilt for signals outside the range."""
        low, high = float(signal.min()), float(signal.max())
        if self._table is None or low < self._table[0] or high > self._table[1]:
            if self._table is not None:
                low, high = min(low, self._table[0]), max(high, self._table[1])
            extra = 0.05 * (high - low) + 1e-6 * abs(high) + torch.finfo(torch.float32).tiny
            self._table = (low - extra, high + extra, self.make_table(low - extra, high + extra))
        low, high, table = self._table
        self._table = low, high, table.to(signal)
        return self._table

    def make_table(self, low: float, high: float) -> Tensor:
        """Quantile table: inverse of the distribution function on a fine grid of noisy values."""
        signal = torch.linspace(low, high, SIGNALS, dtype=torch.float64)[:, None]
        std = self.pixel_noise.mean_var(signal)[1].sqrt()
        # Finer near the mean, and wide enough for skewed distributions.
        grid = torch.linspace(-1, 1, VALUES, dtype=torch.float64)
        grid = 12 * (0.25 * grid + 0.75 * grid**3)
        noisy = signal + std * grid
        # One signal at a time, because mixtures need much memory.
        cdf = torch.stack([self.pixel_noise.cdf(x, s) for x, s in zip(noisy, signal, strict=True)])
        cdf = torch.cummax(cdf.clamp(1e-300, 1 - 1e-16), 1).values
        score = torch.linspace(-MAX_SCORE, MAX_SCORE, SCORES, dtype=torch.float64)
        probability = torch.special.ndtr(score).expand(SIGNALS, -1).contiguous()
        right = torch.searchsorted(cdf.contiguous(), probability).clamp(1, VALUES - 1)
        before, after = cdf.gather(1, right - 1), cdf.gather(1, right)
        part = ((probability - before) / (after - before).clamp(min=1e-300)).clamp(0, 1)
        left, step = noisy.gather(1, right - 1), noisy.gather(1, right) - noisy.gather(1, right - 1)
        deviation: Tensor = left + part * step - signal
        return deviation

    def offset_nodes(self) -> tuple[Tensor, Tensor]:
        """Gauss-Hermite nodes (ADU) and log weights of the distribution of row plus column offset."""
        std = float(self.offset_variance().sqrt())
        if not std:
            return torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        nodes, weights = gauss_hermite(OFFSET_NODES)
        return nodes * std, weights.log()

    def offset_variance(self) -> Tensor:
        """Variance of row plus column offset, ADU²."""
        return (self.row_kernel**2).sum() + (self.column_kernel**2).sum()

    def quantized_pixel_noise(self) -> Noise:
        """Model of one pixel with the quantization of this model."""
        if self.pixel_noise.quantization == self.quantization:
            return self.pixel_noise
        return self.pixel_noise.with_quantization(self.quantization)

    def log_prob(self, noisy: Tensor, signal: Tensor) -> Tensor:
        pixel_noise, (offsets, log_weights) = self.quantized_pixel_noise(), self.offset_nodes()
        return torch.logsumexp(torch.stack([
            pixel_noise.log_prob(noisy, signal + offset.to(signal)) + log_weight.to(signal)
            for offset, log_weight in zip(offsets, log_weights, strict=True)
        ]), 0)  # fmt: skip

    @property
    def white(self) -> bool:
        side = max(self.kernel.shape)
        rho = kernel_autocovariance(self.kernel, (side, side))
        rho[0, 0] = 0.0
        return float(rho.abs().max()) < WHITE and max(self.offset_fractions) < WHITE**2

    @property
    def anisotropic(self) -> bool:
        side = max(self.kernel.shape)
        along_y, along_x = (kernel_autocovariance(kernel, (side, side)) for kernel in (self.kernel, self.kernel.mT))
        rows, columns = self.offset_fractions
        return float((along_y - along_x).abs().max()) > WHITE or abs(rows - columns) > WHITE**2

    @property
    def offset_fractions(self) -> tuple[float, float]:
        """Variances of row and of column offsets relative to that of a dark pixel."""
        pixel_variance = float(self.dark_variance.abs().clamp(min=torch.finfo(torch.float64).tiny))
        rows, columns = (float((kernel**2).sum()) / pixel_variance for kernel in (self.row_kernel, self.column_kernel))
        return rows, columns

    @property
    def dark_variance(self) -> Tensor:
        """Variance of a pixel without offsets at the darkest fitted signal, ADU²."""
        darkest = torch.tensor(float(self.provenance.get("signal_range", [0.0])[0]), dtype=torch.float64)
        variance: Tensor = self.pixel_noise.mean_var(darkest)[1]
        return variance

    def log_prob_image(self, noisy: Tensor, signal: Tensor) -> Tensor:
        signal = signal + 0 * noisy
        refuse_single_pixels(signal)
        std = self.mean_var(signal)[1].sqrt()
        size = signal.shape[-2:]
        power = self.power_spectrum(float((std.detach() ** 2).mean()), (size[0], size[1])).to(signal)
        whitened = torch.fft.ifft2(torch.fft.fft2((noisy - signal) / std) / power.sqrt()).real
        log_prob: Tensor = -0.5 * (whitened**2 + power.log().mean() + math.log(2 * math.pi)) - std.log()
        return log_prob

    def power_spectrum(self, variance: float, size: tuple[int, int]) -> Tensor:
        """Power spectrum (mean one) of images (Y, X) of noise with this total variance (ADU²), offsets included."""
        pixel_variance = max(variance - float(self.offset_variance()), 0.0)
        power = pixel_variance * torch.fft.fft2(self.kernel, s=size).abs() ** 2
        power[:, 0] += size[1] * torch.fft.fft(self.row_kernel, n=size[0]).abs() ** 2
        power[0] += size[0] * torch.fft.fft(self.column_kernel, n=size[1]).abs() ** 2
        power = power.clamp(min=POWER_FLOOR * power.mean())
        normalised: Tensor = power / power.mean()
        return normalised

    def cdf(self, noisy: Tensor, signal: Tensor) -> Tensor:
        pixel_noise, (offsets, log_weights) = self.quantized_pixel_noise(), self.offset_nodes()
        parts = zip(offsets, log_weights.exp(), strict=True)
        return sum(
            (weight.to(signal) * pixel_noise.cdf(noisy, signal + o.to(signal)) for o, weight in parts), signal * 0
        )

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self.pixel_noise.mean_var(signal)
        return mean, variance + self.offset_variance().to(signal) + self.quantization.rounding_variance

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, quantization: Quantization = CONTINUOUS) -> Self:
        """Fit row and column offsets, the variance line and the spectrum to images (..., Y, X) and their signals.

        Errors: `UserError` for tensors that are not images.
        """
        refuse_single_pixels(noisy, least=2)
        residual = (noisy - signal).double()
        row_variance, column_variance = row_offset_variance(residual), row_offset_variance(residual.mT)
        rows, columns = residual.mean(-1, keepdim=True), residual.mean(-2, keepdim=True)
        without_offsets = noisy - (rows if row_variance else 0) - (columns if column_variance else 0)
        pixel_noise = fit_pixel_noise(without_offsets.double(), signal.double(), CONTINUOUS)
        std = pixel_noise.mean_var(signal.double())[1].sqrt()
        rho = autocovariance(residual / std, MAX_LAG)
        rho[0] -= row_variance * float((1 / std**2).mean())
        rho[:, 0] -= column_variance * float((1 / std**2).mean())
        kernel = kernel_of(rho / rho[0, 0])
        return cls(pixel_noise, kernel, row_variance**0.5, column_variance**0.5, quantization)


def fit_pixel_noise(noisy: Tensor, signal: Tensor, quantization: Quantization) -> Noise:
    """Noise model of single pixels; Gaussian where the variance does not rise, as in the dark."""
    flat, squares = signal.flatten(), ((noisy - signal) ** 2).flatten()
    if float(flat.max() - flat.min()) > 1e-6 * float(squares.mean().sqrt()):
        line = fit_line(flat, squares)
        if line.slope > 0:
            return PoissonGaussian.from_line(line, float(flat.min()), quantization)
    return Gaussian.fit(noisy, signal, quantization=quantization)


def filtered_noise(like: Tensor, kernel: Tensor, generator: torch.Generator | None) -> Tensor:
    """White noise in the shape of an image (..., Y, X), convolved with a kernel; the periodic border is cropped."""
    height, width = kernel.shape
    shape = (*like.shape[:-2], like.shape[-2] + height - 1, like.shape[-1] + width - 1)
    return convolved(torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device), kernel)


def convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Images (..., Y, X) convolved with a kernel (Y, X), without what depends on pixels beyond the border."""
    height, width = kernel.shape
    kernel, size = kernel.to(images), images.shape[-2:]
    if kernel.numel() == 1:
        return images * kernel.reshape(())
    spectrum = torch.fft.rfft2(images) * torch.fft.rfft2(kernel, s=size)
    field: Tensor = torch.fft.irfft2(spectrum, s=size)[..., height - 1 :, width - 1 :]
    return field


def correlate_slices(fields: Tensor, slice_correlation: float) -> Tensor:
    """Correlate neighbouring slices of fields (..., Z, Y, X) of unit variance: first-order autoregression along Z."""
    if not slice_correlation or fields.ndim < 3:
        return fields
    slices = list(fields.unbind(-3))
    for z in range(1, len(slices)):
        slices[z] = slice_correlation * slices[z - 1] + math.sqrt(1 - slice_correlation**2) * slices[z]
    return torch.stack(slices, -3)


def kernel_of(rho: Tensor) -> Tensor:
    """Symmetric kernel of noise with this autocorrelation (1 + L, 1 + L), the same in each quadrant; unit energy.

    Its spectrum is the square root of that of the autocorrelation, and zero where estimation errors made that negative.
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
    kernel_y, kernel_x = (torch.arange(-2 * lag, 2 * lag + 1) for lag in lags)
    kernel = kernel[kernel_y[:, None] % size, kernel_x % size]
    unit: Tensor = kernel / (kernel**2).sum().sqrt()
    return unit


def autocovariance(noise: Tensor, lags: int) -> Tensor:
    """Autocovariance (1 + lags, 1 + lags) of noise images (..., Y, X), up to a quarter of their size."""
    rows, columns = (min(lags, n // 4) for n in noise.shape[-2:])
    return two_sided_autocovariance(noise, rows, columns)[rows:, columns:]


def two_sided_autocovariance(noise: Tensor, rows: int, columns: int) -> Tensor:
    """Autocovariance at positive and negative lags, (1 + 2 rows, 1 + 2 columns), float64, by the power spectrum."""
    noise = (noise - noise.mean()).double()
    height, width = noise.shape[-2:]
    size = (height + rows, width + columns)
    power = (torch.fft.rfft2(noise, s=size).abs() ** 2).reshape(-1, size[0], size[1] // 2 + 1).mean(0)
    total = torch.fft.irfft2(power, s=size).roll((rows, columns), (0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    pairs = [n - torch.arange(-lags, lags + 1).abs() for n, lags in ((height, rows), (width, columns))]
    mean: Tensor = total / (pairs[0][:, None] * pairs[1])
    return mean


def kernel_autocovariance(kernel: Tensor, lags: tuple[int, int]) -> Tensor:
    """Autocovariance (lags) of white noise convolved with a kernel (Y, X)."""
    height, width = kernel.shape
    found = torch.zeros(lags, dtype=torch.float64)
    for y in range(min(lags[0], height)):
        for x in range(min(lags[1], width)):
            found[y, x] = (kernel[y:, x:] * kernel[: height - y, : width - x]).sum()
    return found


def row_offset_variance(noise: Tensor) -> float:
    """Variance of row offsets (ADU²): the autocovariance along X at lags above all other correlation.

    Zero if it is below four standard errors.
    """
    width = noise.shape[-1]
    if width < 4 or noise.shape[-2] < 4:
        return 0.0
    lags = range(min(MAX_LAG, width // 4) + 1, min(2 * MAX_LAG, width // 2) + 1)
    centred = noise - noise.mean()
    # Between neighbouring rows, the same lags contain large-scale differences without row offsets; subtract them.
    found = torch.stack([
        ((centred[..., :-1, lag:] - centred[..., 1:, lag:]) * centred[..., :-1, :-lag]).mean(-1).flatten()
        for lag in lags
    ]).mean(0)  # fmt: skip
    mean, error = float(found.mean()), float(found.std()) / math.sqrt(len(found))
    return mean if mean > 4 * error else 0.0


def gauss_hermite(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Hermite quadrature over the standard normal distribution.

    Source: Golub and Welsch 1969, doi:10.1090/S0025-5718-69-99647-1.
    """
    side = torch.arange(1, count, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(side, 1) + torch.diag(side, -1))
    return nodes, vectors[0] ** 2
