"""SURE: training on noisy images and their noise model with Stein's unbiased risk estimate."""

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

FEW_PHOTONS = 30.0  # per pixel, below which the skewness of their noise biases the estimate
HELD_OUT_PROBES = 8  # few pixels are held out: more probes reduce the variance of their loss


@dataclass(frozen=True, kw_only=True)
class SURE(Method):
    """SURE: minimises Stein's unbiased risk estimate on noisy images; every pixel is trained on.

    With a probe z ~ N(0, v), where v is the variance of the noise, and f± = f(x ± α z),
    loss = mean ½ (f₊ − x)² + ½ (f₋ − x)² + z (f₊ − f₋) / α.
    Its expectation is that of (f± − s)² plus v: exactly for Gaussian noise, approximately for photon counts above
    about 30 per pixel (below, use `r2r`); v is taken at the mean of a pixel's neighbours.
    For α → 0 the last term is 2 v ∂f(x)_i/∂x_i and the loss is Stein's. With a finite probe, the network is trained on
    inputs that differ in each step and have 1 + α² times the noise variance.

    Sources: Stein 1981, doi:10.1214/aos/1176345632; Ramani et al. 2008 (probes), doi:10.1109/TIP.2008.2001404;
    Le Montagner et al. 2014 (Poisson-Gaussian noise), doi:10.1109/TIP.2014.2300821; Soltanayev and Chun 2018
    (networks), arXiv:1803.01314; Oliveira et al. 2024 (finite probes), arXiv:2111.09447.
    """

    probe: Annotated[float, Interval(gt=0, le=2)] = 0.4
    """amplitude α of the probe, in standard deviations of the noise"""

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
        loss = torch.zeros_like(noisy)
        probes = HELD_OUT_PROBES if batch.held_out else 1
        for _ in range(probes):
            z = std * torch.randn(noisy.shape, generator=batch.generator).to(noisy)
            plus, minus = net.backbone(torch.cat([noisy + self.probe * z, noisy - self.probe * z])).float().chunk(2)
            loss += ((plus - noisy) ** 2 + (minus - noisy) ** 2) / 2 + z * (plus - minus) / self.probe
        return masked_mean(loss / probes, valid)


def variance_of(net: Denoiser, noisy: Tensor) -> Tensor:
    """Noise variance (N, C, *S) at the mean of each pixel's neighbours, in normalised units squared.

    At the pixel's own value it would be correlated with the noise, which the network could exploit.
    """
    parts = []
    for channel, x in enumerate(noisy.float().chunk(noisy.shape[1], 1)):
        noise_model = net.noise_model(channel).typical()
        parts.append(noise_model.mean_var(neighbour_mean(x))[1].to(x) / net.std[channel] ** 2)
    return torch.cat(parts, 1)


def few_photons_warnings(spec: ImageSpec, noise_models: Sequence[Noise]) -> list[str]:
    """A warning for each channel with so few photons that the risk estimate is biased."""
    notes = []
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        model = as_photon_noise(noise_models[min(channel, len(noise_models) - 1)], mean, std)
        if not isinstance(model, PoissonGaussian):
            continue
        photons = float(model.electrons(torch.tensor(mean))[0])
        if photons < FEW_PHOTONS:
            notes.append(
                f"the image has about {photons:.2g} photons a pixel, and this method needs about {FEW_PHOTONS:g}: "
                f"noise may remain or grow; use a method for few photons (noisewise methods)"
            )
    return notes
