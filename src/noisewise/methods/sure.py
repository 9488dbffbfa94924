"""SURE: learns from noisy images and the law of their noise, by an estimate of the error without the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from noisewise.methods.base import Batch, Denoiser, ImageSpec, Method, Traits, build_denoiser
from noisewise.methods.losses.reductions import masked_mean
from noisewise.noise.base import Noise
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.thinning import as_photon_noise, neighbour_mean

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

    probe: Annotated[float, Interval(gt=0, le=2)] = 0.4
    """size α of a probe, in standard deviations of the noise"""

    @property
    def traits(self) -> Traits:
        return Traits(noise="pixel")

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        net = build_denoiser(self, spec, noise_models)
        net.warnings = few_photons_warnings(spec, noise_models)
        return net

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        noisy, valid = net.encode(batch.noisy), net.fold(batch.valid)
        std = net.fold(variance_of(net, batch.noisy)).clamp(min=0).sqrt()
        validation_loss = torch.zeros_like(noisy)
        probes = HELD_OUT_PROBES if batch.held_out else 1
        for _ in range(probes):
            z = std * torch.randn(noisy.shape, generator=batch.generator).to(noisy)
            plus, minus = net.backbone(torch.cat([noisy + self.probe * z, noisy - self.probe * z])).float().chunk(2)
            validation_loss += ((plus - noisy) ** 2 + (minus - noisy) ** 2) / 2 + z * (plus - minus) / self.probe
        return masked_mean(validation_loss / probes, valid)


def variance_of(net: Denoiser, noisy: Tensor) -> Tensor:
    """The noise's variance (N, C, *S) at the mean of each pixel's neighbours, in normalised units squared.

    Taken at the pixel's own value it would go with the noise, and the network learn to make use of that.
    """
    parts = []
    for channel, x in enumerate(noisy.float().chunk(noisy.shape[1], 1)):
        noise_model = net.noise_model(channel).typical()
        parts.append(noise_model.mean_var(neighbour_mean(x))[1].to(x) / net.std[channel] ** 2)
    return torch.cat(parts, 1)


def few_photons_warnings(spec: ImageSpec, noise_models: Sequence[Noise]) -> list[str]:
    """A sentence for each channel with so few photons that the estimate of the error is biased."""
    notes = []
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        model = as_photon_noise(noise_models[min(channel, len(noise_models) - 1)], mean, std)
        if isinstance(model, PoissonGaussian) and (photons := float(model.electrons(torch.tensor(mean))[0])) < FEW:
            notes.append(
                f"sure assumes many photons, and this image has about {photons:.2g} a pixel: noise may stay or grow; "
                f"use --method r2r"
            )
    return notes
