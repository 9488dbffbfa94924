"""More light: noise of exposures of a signal, from random fields, as a network is conditioned on it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisewise.noise.ops.conditioning import NoiseFeatures

GAUSSIAN_FROM = 16.0  # photons, from which on Poisson numbers are approximated by Gaussian ones


def exposure_noise(
    signal: Tensor, features: NoiseFeatures, light: float, photon_field: Tensor, read_field: Tensor
) -> Tensor:
    """Noise of the mean of `light` exposures of a signal (N, 1, *S), ADU, not rounded; of a part of one, if below 1.

    n = g (k − λ) + √(r / light) z, k ~ Poisson(λ), λ = light · (v(s) − r) / slope², g = slope / light, with the
    variance line v of the noise, and its variance r without photons. E[n] = 0, also below the signal without light.

    photon_field, read_field: standard normal numbers in the shape of the signal.
    """
    slope, read = features.stabilizer.slope, features.read
    per_photon = slope.square().clamp(min=torch.finfo(slope.dtype).tiny)
    photons = torch.where(slope != 0, features.shot_variance(signal) / per_photon * light, 0.0)
    return slope / light * (poisson_quantile(photons, photon_field) - photons) + (read / light).sqrt() * read_field


def poisson_quantile(rate: Tensor, normal: Tensor) -> Tensor:
    """Poisson numbers of these rates, at the quantiles of standard normal numbers: a deterministic function."""
    many = (rate + rate.sqrt() * normal).round().clamp(min=0)
    if float(rate.min()) >= GAUSSIAN_FROM:
        return many
    few = rate.clamp(max=GAUSSIAN_FROM).double()
    quantile, number = torch.special.ndtr(normal.double()), torch.zeros_like(few)
    mass = torch.exp(-few)
    below, most = mass.clone(), float(few.max())
    for count in range(1, math.ceil(most + 8 * most**0.5) + 8):
        number += quantile > below
        mass = mass * few / count
        below += mass
    return torch.where(rate < GAUSSIAN_FROM, number.to(rate), many)
