"""The noise model that a measurement describes: the likeliest shape, the measured variance, and the correlation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import lag_weights
from noisewise.estimate.measurement import NoiseMeasurement
from noisewise.estimate.variance import NoiseLevels
from noisewise.noise.base import Noise
from noisewise.noise.fit.integral_transform import missing_likelihood
from noisewise.noise.fit.pairs import Pairs, robust_range
from noisewise.noise.fit.variance_line import VarianceLine
from noisewise.noise.models.correlated import Correlated, kernel_of
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.mixture import BROAD, LEAST_OUTLIERS, Mixture
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization

MAX_PAIRS = 30_000
WHITE = 0.02  # autocorrelation, below which the noise is modelled as independent
MIN_GAIN_NATS = 0.02  # per pixel: gain in log-likelihood that a noise model with more parameters needs
FEW_PHOTONS = 3.0  # up to which the shape of the noise is taken from the image
PULSE_STD = 0.4  # of the signal of one photon, in units of the gain
LINE_LAGS = 4  # rows (columns) over which neighbouring offsets may correlate


def full_noise_model(found: NoiseMeasurement) -> Noise:
    """The noise model of one pixel; with correlation and row and column offsets where pixels or slices share noise."""
    noise_model = single_pixel_model(found)
    white = bool(np.abs(found.correlation.rho.ravel()[1:]).max(initial=0.0) < WHITE)
    if white and not (found.row_std_adu or found.column_std_adu or found.slice_correlation):
        return noise_model
    noise_model.quantization = CONTINUOUS
    return Correlated(
        noise_model, kernel_of(torch.as_tensor(found.correlation.rho)),
        line_offset_kernel(found.correlation.row_power, found.row_std_adu),
        line_offset_kernel(found.correlation.column_power, found.column_std_adu), found.pixel_values.quantization,
        found.slice_correlation,
    )  # fmt: skip


def pixel_noise_model(found: NoiseMeasurement) -> Noise:
    """The noise model of one pixel, for the part of its noise that it does not share with its neighbours."""
    return single_pixel_model(replace(found, line=found.line.scaled(found.correlation.independent_fraction)))


def single_pixel_model(found: NoiseMeasurement) -> Noise:
    """The noise model of a single pixel: Poisson-Gaussian, gamma-Poisson, or a mixture of Gaussians.

    The next of these is taken only where the noise in homogeneous places is clearly likelier under it. Each has the
    variance of the measured line; where the levels are nonlinear, a mixture follows them instead.
    """
    line, quantization = found.line, found.pixel_values.quantization
    if found.few_photons:
        return PoissonGaussian(quantization.step, 0.0, 0.0, quantization)
    falls = line.slope == 0 and found.levels.fall and not found.levels.corrected
    if not falls and (line.slope == 0 or (line.slope < 0 and not line(found.levels.signal.max()) > 0)):
        return Gaussian(math.sqrt(max(line.intercept - quantization.step**2 / 12, 1e-3 * line.intercept)), quantization)
    if found.levels.corrected:  # the pixels are clipped, and do not show the shape of the noise
        return PoissonGaussian.from_line(line, found.signal_range[0], quantization)
    some = slice(None, None, max(1, len(found.levels.pairs[0]) // MAX_PAIRS))
    noisy, signal = (torch.as_tensor(part)[some].contiguous() for part in found.levels.pairs)
    if falls:
        mixture = fitted_mixture(found, noisy, signal)
        return follow_levels(mixture, found.levels, line.intercept / found.levels.centre[1])
    measured = found.levels.fit()  # of which `line` may be a multiple
    if found.levels.is_nonlinear(measured):
        return follow_levels(fitted_mixture(found, noisy, signal), found.levels, line.slope / measured.slope)
    if line.slope < 0:
        return follow_line(fitted_mixture(found, noisy, signal), found, float(found.levels.signal.max()))
    return likeliest_model(found, noisy, signal)


def likeliest_model(found: NoiseMeasurement, noisy: Tensor, signal: Tensor) -> Noise:
    """The model of noise that grows with the signal, by its shape in homogeneous places (flat pairs, ADU)."""
    line, darkest, quantization = found.line, found.signal_range[0], found.pixel_values.quantization
    offset = (found.levels.read_noise_variance(line) - line.intercept) / line.slope
    best: Noise = PoissonGaussian.from_line(line, darkest, quantization, offset=offset)
    if missing_likelihood(best, noisy, signal) < MIN_GAIN_NATS / 2:
        return best
    candidates: tuple[Noise, ...] = (
        best,
        GammaPoisson.from_line(line, darkest, noisy, signal, quantization),
        follow_line(fitted_mixture(found, noisy, signal), found, darkest),
    )
    likelihoods = [float(candidate.log_prob(noisy, signal).mean()) for candidate in candidates]
    chosen = 0
    for other in (1, 2):
        if likelihoods[other] - likelihoods[chosen] > MIN_GAIN_NATS:
            chosen = other
    return candidates[chosen]


def fitted_mixture(found: NoiseMeasurement, noisy: Tensor, signal: Tensor) -> Mixture:
    """A mixture of Gaussians with the shape of the noise in homogeneous places (flat pairs, ADU)."""
    line, quantization = found.line, found.pixel_values.quantization
    pairs = Pairs(line, *robust_range(signal), quantization)
    pairs.add(with_poisson_where_bright(noisy, signal, line, quantization), signal)
    return Mixture.from_pairs(pairs)


def with_poisson_where_bright(noisy: Tensor, signal: Tensor, line: VarianceLine, quantization: Quantization) -> Tensor:
    """Noisy values; where there are more than a few photons, samples from a Poisson-Gaussian model instead.

    There the noise is nearly Gaussian, and other shapes of its histogram are image texture. The spread of the signal of
    one photon fills the gaps between the photon numbers.
    """
    if line.slope <= 0:
        return noisy
    pulse_std = PULSE_STD * line.slope
    offset = (pulse_std**2 + quantization.step**2 / 12 - line.intercept) / line.slope
    poisson = PoissonGaussian(line.slope, offset, pulse_std, quantization)
    sampled = poisson.sample(signal, torch.Generator().manual_seed(0))
    return torch.where(line(signal) > FEW_PHOTONS * line.slope**2, sampled.to(noisy), noisy)


def follow_line(mixture: Mixture, found: NoiseMeasurement, end: float) -> Mixture:
    """Give a mixture the measured variance line at its knots.

    end: the darkest signal of the image (the brightest, where the line falls). Beyond it the variance is constant: on
    the line it would vanish, and without noise a signal that the image does not have would be the likeliest one.
    """
    slope, intercept = found.line.slope, found.line.intercept - found.pixel_values.quantization.step**2 / 12
    mixture.least_std.fill_(max(slope * end + intercept, float(mixture.least_std) ** 2) ** 0.5)
    mixture.slope.fill_(slope)
    mixture.intercept.fill_(intercept)
    return scale_variance(mixture, (slope * mixture.knots + intercept).clamp(min=mixture.least_std**2))


def follow_levels(mixture: Mixture, levels: NoiseLevels, factor: float) -> Mixture:
    """Give a mixture the variance of the levels, times a factor, at its knots, and a constant one outside of them."""
    variance = factor * np.interp(mixture.knots, levels.signal, levels.variance) - mixture.quantization.step**2 / 12
    variance = np.maximum(variance, 1e-3 * variance.max())
    mixture.least_std.fill_(0.0)
    mixture.slope.fill_(0.0)
    mixture.intercept.fill_(variance.mean())
    return scale_variance(mixture, torch.as_tensor(variance))


def scale_variance(mixture: Mixture, variance: Tensor) -> Mixture:
    """Scale the components to a variance (ADU²) at the knots, without that of rounding, and with hardly any outliers.

    In homogeneous places outliers are hot pixels or specks of the image; in the noise model they would add variance.
    """
    mixture.outlier.copy_(torch.tensor([LEAST_OUTLIERS, BROAD]))
    present = mixture.mean_var(mixture.knots)[1] - mixture.quantization.step**2 / 12
    factor = (variance / present).sqrt()[:, None]
    mixture.shift.mul_(factor)
    mixture.log_scale.add_(factor.log())
    return mixture


def line_offset_kernel(power: Array, std: float) -> Tensor:
    """Kernel, along the other axis, of row or column offsets with this standard deviation and power by frequency."""
    if not std:
        return torch.zeros(1, dtype=torch.float64)
    design = lag_weights(len(power) + 1, LINE_LAGS + 1)[1:]
    covariance = np.linalg.lstsq(design, power, rcond=None)[0]
    rho = torch.as_tensor(covariance / max(covariance[0], 1e-30)) * torch.linspace(1, 0, LINE_LAGS + 2)[:-1]
    kernel: Tensor = kernel_of(rho[:, None])[:, 0]
    return kernel * std
