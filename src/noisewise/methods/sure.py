"""SURE: learns from noisy images and the law of their noise, by an estimate of the error without the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
from annotated_types import Interval
from torch import Tensor

from noisewise.methods.base import Batch, ImageSpec, Method, Needs, masked_mean
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.poisson_gaussian import PoissonGaussian
from noisewise.noise.splitting import neighbour_mean, photon_law

FEW = 30.0  # photons a pixel, below which the skew of their noise counts
HELD_OUT_PROBES = 8  # few pixels are held out: more probes, so that chance does not end a training


@dataclass(frozen=True, kw_only=True)
class SURE(Method):
    """SURE: learns from noisy images whose noise is known or measured; every pixel teaches.

    With a probe z ~ N(0, v), noise once more, and f± = f(x ± α z),
    loss = mean ½ (f₊ − x)² + ½ (f₋ − x)² + z (f₊ − f₋) / α,
    whose expectation is that of (f± − s)² plus the variance v of the noise: for Gaussian noise exactly, for photon
    counts above some thirty a pixel about so (below, use r2r); v is taken at the mean of a pixel's neighbours.
    For α → 0 the last term is 2 v ∂f(x)_i/∂x_i, and the loss Stein's. A finite probe, the noise of R2R's split both
    ways round, teaches from inputs that are never the same twice, with 1 + α² times the noise.

    Sources: Stein 1981; Ramani et al. 2008 (probes), Le Montagner et al. 2014 (Poisson-Gaussian), Soltanayev and
    Chun 2018 (networks), Oliveira et al. 2024 (finite probes).
    """

    needs: ClassVar[Needs] = "noisy"
    uses_noise: ClassVar[bool] = True

    probe: Annotated[float, Interval(gt=0, le=2)] = 0.4
    """size α of a probe, in standard deviations of the noise"""

    def caveats(self, spec: ImageSpec, laws: Sequence[Noise]) -> list[str]:
        notes = []
        for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
            law = photon_law(laws[min(channel, len(laws) - 1)], mean, std)
            if isinstance(law, PoissonGaussian) and (photons := float(law.electrons(torch.tensor(mean))[0])) < FEW:
                notes.append(
                    f"sure is for the noise of many photons, and this has about {photons:.2g} a pixel, "
                    f"so that noise may stay or grow; use r2r"
                )
        return notes

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        noisy, teach = net.encode(batch.noisy), net.fold(batch.teach)
        std = net.fold(variance_of(net, batch.noisy)).clamp(min=0).sqrt()
        risk = torch.zeros_like(noisy)
        probes = HELD_OUT_PROBES if batch.held_out else 1
        for _ in range(probes):
            z = std * torch.randn(noisy.shape, generator=batch.generator).to(noisy)
            plus, minus = net.backbone(torch.cat([noisy + self.probe * z, noisy - self.probe * z])).float().chunk(2)
            risk += ((plus - noisy) ** 2 + (minus - noisy) ** 2) / 2 + z * (plus - minus) / self.probe
        return masked_mean(risk / probes, teach)


def variance_of(net: Standardized, noisy: Tensor) -> Tensor:
    """The noise's variance (N, C, *S) at the mean of each pixel's neighbours, in normalised units squared.

    Taken at the pixel's own value it would go with the noise, and the network learn to make use of that.
    """
    parts = []
    for channel, x in enumerate(noisy.float().chunk(noisy.shape[1], 1)):
        law = cast(Noise, net.law(channel)).typical()
        parts.append(law.mean_var(neighbour_mean(x))[1].to(x) / net.std[channel] ** 2)
    return torch.cat(parts, 1)
