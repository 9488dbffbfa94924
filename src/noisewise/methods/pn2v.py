"""Probabilistic Noise2Void: the posterior of each pixel from a blind-spot prior and the noise model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor
from torch.nn import functional as F

from noisewise.methods.base import Batch, Denoiser, ImageSpec, Method, Traits, build_denoiser
from noisewise.methods.losses.reductions import entropy_power, masked_mean
from noisewise.nets.blind import blind_centres, grid_coordinates, hide, predict_blind
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import gauss_hermite
from noisewise.noise.ops.outliers import with_outliers
from noisewise.posterior import Normal, Posterior

MIN_STD = 1e-3  # of a component of the prior, relative to the standard deviation of the image
CHUNK = 1 << 17  # pixels whose posterior is computed at a time
OUTLIER_SPAN = 10.0  # standard deviations of the image, within which a pixel that no noise model explains may lie
OUTLIER_NATS = 5.0  # by which log p(x|s) must exceed that of a Gaussian for x to be an outlier


@dataclass(frozen=True, kw_only=True)
class PN2V(Method):
    """Probabilistic Noise2Void: combines a prior predicted from the neighbours with the noise model.

    From its neighbours, without the pixel itself, a network predicts the prior p(s_i | x without x_i) of a pixel: a
    mixture of Gaussians, Σ_k w_k N(s; μ_k, τ_k²). With the noise model it gives the posterior
    p(s_i | x) ∝ p(x_i | s_i) p(s_i), whose mean and standard deviation are returned.
    loss = Σ_{i∈B} (m_i − x_i)² − log ∫ p(x_i | s) p(s) ds over blind pixels B, divided by their number; the prior's
    mean m is fitted by the squared error, its shape by the likelihood. Both integrals are computed by Gauss-Hermite
    quadrature with a few nodes for each component, centred on a Gaussian approximation of its posterior: exact for
    Gaussian noise, and in log space throughout.

    Sources: Krull et al. 2020 (PN2V), doi:10.3389/fcomp.2020.00005; Prakash et al. 2020 (bootstrapped noise models),
    arXiv:1911.12291; Laine et al. 2019, arXiv:1901.10277, and Khademi et al. 2021, arXiv:2002.09558 (Gaussian priors);
    Liu and Pierce 1994 (adaptive quadrature), doi:10.1093/biomet/81.3.624.
    """

    components: Annotated[int, Interval(ge=1, le=16)] = 1
    """Gaussians in the prior of a pixel"""
    nodes: Annotated[int, Interval(ge=1, le=32)] = 5
    """quadrature nodes of each Gaussian, at which the likelihood is evaluated"""
    mask_percent: Annotated[float, Interval(gt=0, le=25)] = 11.0
    """blind pixels in a patch, percent"""
    mask_radius: Annotated[int, Interval(ge=1, le=10)] = 1
    """a blind pixel is replaced by the mean of the (2 r + 1)² window without its centre"""

    @property
    def traits(self) -> Traits:
        return Traits(noise="pixel", std=True, by_position=True, halo=self._halo)

    def _halo(self, noise_models: Sequence[Noise], dims: int) -> tuple[int, ...]:  # noqa: ARG002
        return (self.mask_radius,) * dims

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        return build_denoiser(self, spec, noise_models, heads=1 + 3 * self.components)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        noisy, valid = net.encode(batch.noisy), net.fold(batch.valid)
        blind = valid if batch.held_out else blind_centres(valid, self.mask_percent, batch.generator)
        hidden = hide(noisy, blind, "mean", self.mask_radius, batch.generator)
        maps = torch.stack(net.maps(net.backbone(hidden)))
        if not blind.any():
            return 0.0 * maps.sum()
        evidence = [
            torch.logsumexp(log_weight, -1) + math.log(std)
            for std, _, log_weight in self.weighted(net, batch.noisy, maps, batch.coordinates, net.unfold(blind))
        ]
        nats = -torch.cat(evidence).mean()
        if batch.held_out:
            return entropy_power(nats)
        return nats + masked_mean((maps[0] - noisy) ** 2, blind)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:
        maps = predict_blind(net, noisy, coordinates, self.mask_percent, self.mask_radius)
        means, stds = [], []
        for _, signal, log_weight in self.weighted(net, noisy, maps, coordinates):
            weight = log_weight.softmax(-1)
            mean = (weight * signal).sum(-1)
            means.append(mean)
            stds.append((weight * (signal - mean[:, None]) ** 2).sum(-1).clamp(min=0).sqrt())
        shape = noisy.transpose(0, 1).shape
        mean, std = (torch.cat(parts).reshape(shape).transpose(0, 1) for parts in (means, stds))
        return Normal(mean, std)

    def weighted(
        self, net: Denoiser, noisy: Tensor, maps: Tensor, coordinates: Tensor | None, chosen: Tensor | None = None
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Prior times likelihood of the chosen pixels (default: all), channel by channel, in chunks of M pixels.

        Yields the channel's standard deviation (ADU), signals (M, K J), and the log weights of these, which sum to
        p(x_i | x without x_i) per ADU.
        """
        maps = maps.movedim(0, -1).reshape(*noisy.shape, -1)
        where = (grid_coordinates(noisy) if coordinates is None else coordinates).movedim(1, -1)
        where = where.expand(len(noisy), *where.shape[1:])
        for channel in range(noisy.shape[1]):
            mean, std = net.input_statistics(channel)
            here = torch.ones_like(noisy[:, 0], dtype=torch.bool) if chosen is None else chosen[:, channel]
            pixels = [torch.split(part[here], CHUNK) for part in (noisy[:, channel].float(), maps[:, channel], where)]
            noise_model: Any = net.noise_model(channel)
            for x, prior, places in zip(*pixels, strict=True):
                signal, log_weight, likelihood = particles(
                    noise_model.at(places), (mean, std), x[:, None], *self.prior(prior, mean, std), self.nodes
                )
                yield std, signal, log_weight + with_outliers(likelihood, OUTLIER_SPAN * std)

    def prior(self, maps: Tensor, mean: float, std: float) -> tuple[Tensor, Tensor, Tensor]:
        """log w, μ and τ (M, K), ADU, from the output of the network."""
        logit, shift, width = maps[:, 1:].chunk(3, -1)
        log_weight = logit.log_softmax(-1)
        # The likelihood fits the shape of the prior around its mean, which the squared error estimates better.
        centre = maps[:, :1].detach() + shift - (log_weight.exp() * shift).sum(-1, keepdim=True)
        # The components start with different widths, so that they can separate.
        tau = F.softplus(width - torch.arange(self.components, device=maps.device)) + MIN_STD
        return log_weight, mean + std * centre, std * tau


def particles(
    noise_model: Any, image_statistics: tuple[float, float], x: Tensor, log_prior: Tensor, mu: Tensor, tau: Tensor,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Signals (M, K J), log weights of Σ_k w_k N(s; μ_k, τ_k²), and log p(x|s), for x (M, 1).

    image_statistics: mean and standard deviation of the images, for the table of p(x|s). count: J.

    ∫ p(x|s) N(s; μ, τ²) ds = Σ_j ω_j p(x|s_j) N(s_j; μ, τ²) / N(s_j; m, v²). Nodes s_j and weights ω_j are those of
    N(m, v²), the product of the prior and a Gaussian with the noise variance near the mean of the posterior.
    """
    expected, variance = (part.to(mu) for part in noise_model.mean_var(mu.detach()))
    # The variance depends on the signal: it is taken near the mean of the posterior, not at that of the prior.
    near = mu + tau**2 / (tau**2 + variance) * (x - expected)
    near_variance = noise_model.mean_var(near.detach())[1].to(mu)
    weight = tau**2 / (tau**2 + near_variance)
    centre, width = mu + weight * (x - expected), (weight * near_variance).sqrt()
    with torch.no_grad():
        # An outlier carries little information, so that the posterior is nearly the prior.
        total = variance + tau**2
        gaussian = -0.5 * (x - expected) ** 2 / total - 0.5 * torch.log(2 * math.pi * total)
        outlier = noise_model.tabulated(x.expand_as(mu), mu, image_statistics) > gaussian + OUTLIER_NATS
    centre, width = torch.where(outlier, mu, centre), torch.where(outlier, tau, width)
    nodes, weights = (part.to(mu) for part in gauss_hermite(count))
    signal = centre[..., None] + width[..., None] * nodes
    deviation = (signal - mu[..., None]) / tau[..., None]
    ratio = 0.5 * (nodes**2 - deviation**2) + torch.log(width / tau)[..., None]
    log_weight = (log_prior[..., None] + weights.log() + ratio).flatten(1)
    signal = signal.flatten(1)
    return signal, log_weight, noise_model.tabulated(x.expand_as(signal), signal, image_statistics)
