"""SURE: learns from noisy images and the law of their noise, by an estimate of the error without the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from noisewise.methods.base import Batch, Method, Needs, masked_mean
from noisewise.nets.standardized import Standardized
from noisewise.noise.splitting import variance_line

PROBE = 0.1  # size of a probe, in standard deviations of the noise
HELD_OUT_PROBES = 8  # few pixels are held out: more probes, so that chance does not end a training


@dataclass(frozen=True, kw_only=True)
class SURE(Method):
    """SURE: learns from noisy images whose noise is known or measured; every pixel teaches.

    loss = mean (f(x) − x)² + 2 v(x) ∂f(x)_i/∂x_i, whose expectation is that of (f(x) − s)² plus the variance of the
    noise, for Gaussian noise, and about so for photon counts above a few a pixel (below, use r2r): v(x) is the line of
    the variance, taken at the noisy value, which has the right mean. The derivatives along the diagonal are those of
    a random probe b = ±1: b_i (f(x + ε b) − f(x))_i / ε.

    Sources: Stein 1981; Ramani et al. 2008 (probes), Le Montagner et al. 2014 (Poisson-Gaussian), Soltanayev and
    Chun 2018 (networks).
    """

    needs: ClassVar[Needs] = "noisy"
    uses_noise: ClassVar[bool] = True

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        # A probe changes the prediction by little: half precision would drown it in rounding.
        with torch.autocast(batch.noisy.device.type, enabled=False):
            noisy, teach = net.encode(batch.noisy), net.fold(batch.teach)
            variance = net.fold(variance_of(net, batch.noisy))
            size = PROBE * float(variance.mean().clamp(min=1e-12)) ** 0.5
            predicted = net.backbone(noisy)
            slopes = []
            for _ in range(HELD_OUT_PROBES if batch.held_out else 1):
                signs = torch.randint(2, noisy.shape, generator=batch.generator).to(noisy) * 2 - 1
                slopes.append(signs * (net.backbone(noisy + size * signs) - predicted) / size)
            slope = torch.stack(slopes).mean(0)
            return masked_mean((predicted - noisy) ** 2 + 2 * variance * slope, teach)


def variance_of(net: Standardized, noisy: Tensor) -> Tensor:
    """The noise's variance at each noisy value, in normalised units squared; its mean is that at the signal."""
    parts = []
    for channel, x in enumerate(noisy.unbind(1)):
        mean, std = (float(part[channel].flatten()[0]) for part in (net.mean, net.std))
        slope, intercept = variance_line(net.law(channel), mean, std)
        parts.append((slope * x + intercept) / std**2)
    return torch.stack(parts, 1)
