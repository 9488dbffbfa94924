"""From a check-up to a law that can be drawn from: everything that was measured about the noise is in it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.noise.base import Noise
from noisewise.noise.correlated import Correlated, kernel_of
from noisewise.noise.curve import Line
from noisewise.noise.digital import CONTINUOUS, Digital
from noisewise.noise.gaussian import Gaussian
from noisewise.noise.mixture import BROAD, LEAST_OUTLIERS, Mixture
from noisewise.noise.pairs import Pairs, robust_range
from noisewise.noise.poisson_gaussian import PoissonGaussian
from noisewise.noise.pulses import Pulses
from noisewise.noise.texture import weights

if TYPE_CHECKING:
    from noisewise.noise.checkup import CheckUp
    from noisewise.noise.flat import Levels

MOST_PAIRS = 30_000
WORTH = 0.02  # nats a pixel, from which on a law of more parameters is taken
FEW = 3.0  # photons, up to which the shape of the noise is read off the image
PULSES = 0.4  # standard deviation of a photon's pulse, in units of the gain
LINE_LAGS = 4  # rows (columns) over which neighbouring offsets may correlate


def law_of(found: CheckUp) -> Noise:
    """The law of one pixel; with a spectrum and row and column offsets where neighbours or slices are correlated."""
    digital = digital_of(found)
    white = bool(np.abs(found.correlation.rho.ravel()[1:]).max(initial=0.0) < 0.02)
    law = single(found)
    if not white or found.row_std_adu or found.column_std_adu or found.between:
        law.digital = CONTINUOUS
        law = Correlated(
            law, kernel_of(torch.as_tensor(found.correlation.rho)),
            line_kernel(found.correlation.rows, found.row_std_adu),
            line_kernel(found.correlation.columns, found.column_std_adu), digital, found.between,
        )  # fmt: skip
    return told(law, found)


def pixel_law_of(found: CheckUp) -> Noise:
    """The law of one pixel, of the part of its noise that it does not share with its neighbours."""
    own = replace(found, line=found.line.times(found.correlation.own_share))
    return told(single(own), found)


def told(law: Noise, found: CheckUp) -> Noise:
    """A law that says what it was made from."""
    law.provenance = {"measured": found.record(), "signal_range": [found.signal_range[0], found.signal_range[2]]}
    return law


def digital_of(found: CheckUp) -> Digital:
    """How the values were made whole and cut off."""
    low, high = (None if limit is None else limit.value for limit in (found.grey.low, found.grey.high))
    return Digital(found.grey.step, low, high)


def single(found: CheckUp) -> Noise:
    """The law of one pixel for itself: counting, or pulses of a multiplying detector, or a mixture of Gaussians.

    The next one is taken only where the noise in flat places is clearly likelier under it. The variance is the
    measured line whichever it is; where the levels bend away from it, they are followed, which only a mixture can.
    """
    line, digital = found.line, digital_of(found)
    if line.slope <= 0:
        return Gaussian(math.sqrt(max(line.intercept - digital.step**2 / 12, 1e-12)), digital)
    noisy, signal = (torch.as_tensor(part) for part in found.levels.pairs)
    some = slice(None, None, max(1, len(noisy) // MOST_PAIRS))
    noisy, signal = noisy[some].contiguous(), signal[some].contiguous()
    pairs = Pairs(line, *robust_range(signal), digital)
    pairs.add(counted_where_bright(noisy, signal, line, digital), signal)
    mixture = Mixture.from_pairs(pairs)
    measured = found.levels.fit()  # of which the line may be a multiple
    if found.levels.bend(measured):
        return on_the_levels(mixture, found.levels, line.slope / measured.slope)
    offset = (found.levels.read_variance(line) - line.intercept) / line.slope
    laws: tuple[Noise, ...] = (
        PoissonGaussian.from_line(line, found.signal_range[0], digital, offset=offset),
        Pulses.on_line(line, found.signal_range[0], noisy, signal, digital),
        on_the_line(mixture, line.slope, line.intercept - digital.step**2 / 12, found.signal_range[0]),
    )
    likely = [float(law.log_prob(noisy, signal).mean()) for law in laws]
    taken = 0
    for other in range(1, len(laws)):
        if likely[other] - likely[taken] > WORTH:
            taken = other
    return laws[taken]


def counted_where_bright(noisy: Tensor, signal: Tensor, line: Line, digital: Digital) -> Tensor:
    """Noisy values, but drawn from the law of counting where there are more than a few photons.

    There the shape of the noise is nearly Gaussian, and what else its histogram shows is the texture of the image.
    Pulses of different heights fill the gaps between the photon numbers.
    """
    spread = PULSES * line.slope
    offset = (spread**2 + digital.step**2 / 12 - line.intercept) / line.slope
    drawn = PoissonGaussian(line.slope, offset, spread, digital).sample(signal, torch.Generator().manual_seed(0))
    bright = line(signal) > FEW * line.slope**2
    return torch.where(bright, drawn.to(noisy), noisy)


def on_the_line(law: Mixture, slope: float, intercept: float, darkest: float) -> Mixture:
    """The same shapes with the variance slope · s + intercept at the knots.

    Below the darkest signal of the image, the variance stays what it is there: on the line it would vanish, and with
    no noise at all, any value would be most likely where the image never is.
    """
    law.least_std.fill_(max(slope * darkest + intercept, float(law.least_std) ** 2) ** 0.5)
    law.slope.fill_(slope)
    law.intercept.fill_(intercept)
    return with_variance(law, (slope * law.knots + intercept).clamp(min=law.least_std**2))


def on_the_levels(law: Mixture, levels: Levels, factor: float) -> Mixture:
    """The same shapes with the variance of the levels, times a factor, at the knots, and constant beyond."""
    wanted = factor * np.interp(law.knots, levels.signal, levels.variance) - law.digital.step**2 / 12
    wanted = np.maximum(wanted, 1e-3 * wanted.max())
    law.least_std.fill_(0.0)
    law.slope.fill_(0.0)
    law.intercept.fill_(wanted.mean())
    return with_variance(law, torch.as_tensor(wanted))


def with_variance(law: Mixture, wanted: Tensor) -> Mixture:
    """The same shapes with this variance (ADU²) at the knots, rounding left out, and hardly any outliers.

    In flat places outliers are hot pixels or specks of the image; as a part of the law they would add variance.
    """
    law.outlier.copy_(torch.tensor([LEAST_OUTLIERS, BROAD]))
    have = law.mean_var(law.knots)[1] - law.digital.step**2 / 12
    factor = (wanted / have).sqrt()[:, None]
    law.shift.mul_(factor)
    law.log_scale.add_(factor.log())
    return law


def line_kernel(power: Array, std: float) -> torch.Tensor:
    """Kernel along the other axis of offsets with this standard deviation and power at each frequency."""
    if not std:
        return torch.zeros(1, dtype=torch.float64)
    design = weights(len(power) + 1, LINE_LAGS + 1)[1:]
    covariance = np.linalg.lstsq(design, power, rcond=None)[0]
    rho = torch.as_tensor(covariance / max(covariance[0], 1e-30)) * torch.linspace(1, 0, LINE_LAGS + 2)[:-1]
    kernel: torch.Tensor = kernel_of(rho[:, None])[:, 0]
    return kernel * std
