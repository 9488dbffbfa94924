"""From a check-up to a law that can be drawn from: everything that was measured about the noise is in it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import weights
from noisewise.estimate.measurement import NoiseMeasurement
from noisewise.estimate.variance import NoiseLevels
from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import Pairs, robust_range
from noisewise.noise.fit.variance_line import VarianceLine
from noisewise.noise.models.correlated import Correlated, kernel_of
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.mixture import BROAD, LEAST_OUTLIERS, Mixture
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization

MOST_PAIRS = 30_000
WORTH = 0.02  # nats a pixel, from which on a law of more parameters is taken
FEW = 3.0  # photons, up to which the shape of the noise is read off the image
PULSES = 0.4  # standard deviation of a photon's pulse, in units of the gain
LINE_LAGS = 4  # rows (columns) over which neighbouring offsets may correlate


def full_noise_model(found: NoiseMeasurement) -> Noise:
    """The noise model of one pixel; with correlation and row and column offsets where pixels or slices share noise."""
    quantization = quantization_of(found)
    white = bool(np.abs(found.correlation.rho.ravel()[1:]).max(initial=0.0) < 0.02)
    noise_model = single_pixel(found)
    if white and not (found.row_std_adu or found.column_std_adu or found.slice_correlation):
        return noise_model
    noise_model.quantization = CONTINUOUS
    return Correlated(
        noise_model, kernel_of(torch.as_tensor(found.correlation.rho)),
        line_kernel(found.correlation.rows, found.row_std_adu),
        line_kernel(found.correlation.columns, found.column_std_adu), quantization, found.slice_correlation,
    )  # fmt: skip


def pixel_noise_model(found: NoiseMeasurement) -> Noise:
    """The noise model of one pixel, for the part of its noise that it does not share with its neighbours."""
    return single_pixel(replace(found, line=found.line.times(found.correlation.own_share)))


def quantization_of(found: NoiseMeasurement) -> Quantization:
    """How the values were made whole and cut off."""
    low, high = (None if limit is None else limit.value for limit in (found.pixel_values.low, found.pixel_values.high))
    return Quantization(found.pixel_values.step, low, high)


def single_pixel(found: NoiseMeasurement) -> Noise:
    """The law of one pixel for itself: counting, or pulses of a multiplying detector, or a mixture of Gaussians.

    The next one is taken only where the noise in flat places is clearly likelier under it. The variance is the
    measured line whichever it is; where the levels bend away from it, they are followed, which only a mixture can.
    """
    line, quantization = found.line, quantization_of(found)
    if line.slope <= 0:
        return Gaussian(math.sqrt(max(line.intercept - quantization.step**2 / 12, 1e-12)), quantization)
    noisy, signal = (torch.as_tensor(part) for part in found.levels.pairs)
    some = slice(None, None, max(1, len(noisy) // MOST_PAIRS))
    noisy, signal = noisy[some].contiguous(), signal[some].contiguous()
    pairs = Pairs(line, *robust_range(signal), quantization)
    pairs.add(counted_where_bright(noisy, signal, line, quantization), signal)
    mixture = Mixture.from_pairs(pairs)
    measured = found.levels.fit()  # of which the line may be a multiple
    if found.levels.bend(measured):
        return on_the_levels(mixture, found.levels, line.slope / measured.slope)
    offset = (found.levels.read_variance(line) - line.intercept) / line.slope
    noise_models: tuple[Noise, ...] = (
        PoissonGaussian.from_line(line, found.signal_range[0], quantization, offset=offset),
        GammaPoisson.on_line(line, found.signal_range[0], noisy, signal, quantization),
        on_the_line(mixture, line.slope, line.intercept - quantization.step**2 / 12, found.signal_range[0]),
    )
    likely = [float(noise_model.log_prob(noisy, signal).mean()) for noise_model in noise_models]
    taken = 0
    for other in range(1, len(noise_models)):
        if likely[other] - likely[taken] > WORTH:
            taken = other
    return noise_models[taken]


def counted_where_bright(noisy: Tensor, signal: Tensor, line: VarianceLine, quantization: Quantization) -> Tensor:
    """Noisy values, but drawn from the law of counting where there are more than a few photons.

    There the shape of the noise is nearly Gaussian, and what else its histogram shows is the texture of the image.
    Pulses of different heights fill the gaps between the photon numbers.
    """
    spread = PULSES * line.slope
    offset = (spread**2 + quantization.step**2 / 12 - line.intercept) / line.slope
    drawn = PoissonGaussian(line.slope, offset, spread, quantization).sample(signal, torch.Generator().manual_seed(0))
    bright = line(signal) > FEW * line.slope**2
    return torch.where(bright, drawn.to(noisy), noisy)


def on_the_line(noise_model: Mixture, slope: float, intercept: float, darkest: float) -> Mixture:
    """The same shapes with the variance slope · s + intercept at the knots.

    Below the darkest signal of the image, the variance stays what it is there: on the line it would vanish, and with
    no noise at all, any value would be most likely where the image never is.
    """
    noise_model.least_std.fill_(max(slope * darkest + intercept, float(noise_model.least_std) ** 2) ** 0.5)
    noise_model.slope.fill_(slope)
    noise_model.intercept.fill_(intercept)
    return with_variance(noise_model, (slope * noise_model.knots + intercept).clamp(min=noise_model.least_std**2))


def on_the_levels(noise_model: Mixture, levels: NoiseLevels, factor: float) -> Mixture:
    """The same shapes with the variance of the levels, times a factor, at the knots, and constant beyond."""
    wanted = (
        factor * np.interp(noise_model.knots, levels.signal, levels.variance) - noise_model.quantization.step**2 / 12
    )
    wanted = np.maximum(wanted, 1e-3 * wanted.max())
    noise_model.least_std.fill_(0.0)
    noise_model.slope.fill_(0.0)
    noise_model.intercept.fill_(wanted.mean())
    return with_variance(noise_model, torch.as_tensor(wanted))


def with_variance(noise_model: Mixture, wanted: Tensor) -> Mixture:
    """The same shapes with this variance (ADU²) at the knots, rounding left out, and hardly any outliers.

    In flat places outliers are hot pixels or specks of the image; as a part of the law they would add variance.
    """
    noise_model.outlier.copy_(torch.tensor([LEAST_OUTLIERS, BROAD]))
    have = noise_model.mean_var(noise_model.knots)[1] - noise_model.quantization.step**2 / 12
    factor = (wanted / have).sqrt()[:, None]
    noise_model.shift.mul_(factor)
    noise_model.log_scale.add_(factor.log())
    return noise_model


def line_kernel(power: Array, std: float) -> torch.Tensor:
    """Kernel along the other axis of offsets with this standard deviation and power at each frequency."""
    if not std:
        return torch.zeros(1, dtype=torch.float64)
    design = weights(len(power) + 1, LINE_LAGS + 1)[1:]
    covariance = np.linalg.lstsq(design, power, rcond=None)[0]
    rho = torch.as_tensor(covariance / max(covariance[0], 1e-30)) * torch.linspace(1, 0, LINE_LAGS + 2)[:-1]
    kernel: torch.Tensor = kernel_of(rho[:, None])[:, 0]
    return kernel * std
