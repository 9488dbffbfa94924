"""Probabilistic Noise2Void: a blind-spot prior times the noise model is the posterior of each pixel."""

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
from noisewise.nets.blind import grid_coordinates, hide, predict_blind, some_of
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import gauss_hermite
from noisewise.noise.ops.outliers import robust
from noisewise.posterior import Normal, Posterior

NARROWEST = 1e-3  # standard deviation of a prior's component, in those of the image
CHUNK = 1 << 17  # pixels that are joined at a time
OUTLYING = 10.0  # standard deviations of the image, within which a pixel that no law explains may lie
SURPRISE = 5.0  # nats by which a law must favour x over a Gaussian, for x to be an outlier


@dataclass(frozen=True, kw_only=True)
class PN2V(Method):
    """Probabilistic Noise2Void: joins what the surroundings say of a pixel with its own value, by the noise model.

    From the surroundings, which never hold the pixel, a network predicts the prior p(s_i | x without x_i): a mixture
    of Gaussians, Σ_k w_k N(s; μ_k, τ_k²). With the noise model it makes the posterior p(s_i | x) ∝ p(x_i | s_i) p(s_i),
    whose mean and standard deviation are returned. loss = Σ_{i∈B} (m_i − x_i)² − log ∫ p(x_i | s) p(s) ds over blind
    pixels B, divided by their number; m, the prior's mean, follows the squared error, its shape the likelihood.
    Both integrals are sums over few signals per component, at the Gauss-Hermite nodes of the Gaussian that the
    posterior of the component is about: exact for Gaussian noise, and in logarithms throughout.

    Sources: Krull et al. 2020 (PN2V), Prakash et al. 2020 (bootstrapped noise models), Laine et al. 2019 and Khademi
    et al. 2021 (Gaussian priors), Liu and Pierce 1994 (adaptive quadrature).
    """

    components: Annotated[int, Interval(ge=1, le=16)] = 1
    """Gaussians in the prior of a pixel"""
    nodes: Annotated[int, Interval(ge=1, le=32)] = 5
    """signals a component at which the likelihood is looked up"""
    mask_percent: Annotated[float, Interval(gt=0, le=25)] = 11.0
    """blind pixels a patch, in percent"""
    mask_radius: Annotated[int, Interval(ge=1, le=10)] = 1
    """a blind pixel is replaced by the mean of the (2 r + 1)² window without its centre"""

    @property
    def traits(self) -> Traits:
        return Traits(noise="pixel", std=True, halo=self._halo)

    def _halo(self, noise_models: Sequence[Noise], dims: int) -> int:  # noqa: ARG002
        return self.mask_radius

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        return build_denoiser(self, spec, noise_models, heads=1 + 3 * self.components)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        noisy, valid = net.encode(batch.noisy), net.fold(batch.valid)
        blind = valid if batch.held_out else some_of(valid, self.mask_percent, batch.generator)
        hidden = hide(noisy, blind, "mean", self.mask_radius, batch.generator)
        maps = torch.stack(net.maps(net.backbone(hidden)))
        if not blind.any():
            return 0.0 * maps.sum()
        evidence = [
            torch.logsumexp(log_weight, -1) + math.log(spread)
            for spread, _, log_weight in self.joined(net, batch.noisy, maps, batch.coordinates, net.unfold(blind))
        ]
        nats = -torch.cat(evidence).mean()
        if batch.held_out:
            return entropy_power(nats)
        return nats + masked_mean((maps[0] - noisy) ** 2, blind)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:
        maps = predict_blind(net, noisy, coordinates, self.mask_percent, self.mask_radius)
        means, stds = [], []
        for _, signal, log_weight in self.joined(net, noisy, maps, coordinates):
            weight = log_weight.softmax(-1)
            mean = (weight * signal).sum(-1)
            means.append(mean)
            stds.append((weight * (signal - mean[:, None]) ** 2).sum(-1).clamp(min=0).sqrt())
        shape = noisy.transpose(0, 1).shape
        mean, std = (torch.cat(parts).reshape(shape).transpose(0, 1) for parts in (means, stds))
        return Normal(mean, std)

    def joined(
        self, net: Denoiser, noisy: Tensor, maps: Tensor, coordinates: Tensor | None, chosen: Tensor | None = None
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Prior times likelihood of the chosen pixels (default: all), channel by channel, some at a time.

        Yields the channel's standard deviation (ADU), signals (M, K J), and the logarithms of their weights, whose
        sum is p(x_i | x without x_i) per ADU.
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
                yield std, signal, log_weight + robust(likelihood, OUTLYING * std)

    def prior(self, maps: Tensor, mean: float, std: float) -> tuple[Tensor, Tensor, Tensor]:
        """log w, μ and τ (M, K), ADU, of what the network put out."""
        logit, beside, width = maps[:, 1:].chunk(3, -1)
        log_weight = logit.log_softmax(-1)
        # The likelihood shapes the prior around a mean that the squared error finds better.
        centre = maps[:, :1].detach() + beside - (log_weight.exp() * beside).sum(-1, keepdim=True)
        # Each starts with a width of its own, so that they can part.
        tau = F.softplus(width - torch.arange(self.components, device=maps.device)) + NARROWEST
        return log_weight, mean + std * centre, std * tau


def particles(
    noise_model: Any,
    image_statistics: tuple[float, float],
    x: Tensor,
    log_prior: Tensor,
    mu: Tensor,
    tau: Tensor,
    count: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Signals (M, K J), log weights of Σ_k w_k N(s; μ_k, τ_k²), and log p(x|s), for x (M, 1).

    about: mean and standard deviation of the images, for the table of p(x|s). count: J.

    ∫ p(x|s) N(s; μ, τ²) ds = Σ_j ω_j p(x|s_j) N(s_j; μ, τ²) / N(s_j; m, v), with nodes s_j and weights ω_j of N(m, v²),
    the product of the prior and of a Gaussian with the law's variance at μ.
    """
    expected, variance = (part.to(mu) for part in noise_model.mean_var(mu.detach()))
    # Of noise that grows with the signal the variance at the prior's mean is not that where the posterior is.
    near = mu + tau**2 / (tau**2 + variance) * (x - expected)
    there = noise_model.mean_var(near.detach())[1].to(mu)
    share = tau**2 / (tau**2 + there)
    centre, width = mu + share * (x - expected), (share * there).sqrt()
    with torch.no_grad():
        # Where the law takes x for an outlier, x says little, and the posterior is about the prior.
        total = variance + tau**2
        gaussian = -0.5 * (x - expected) ** 2 / total - 0.5 * torch.log(2 * math.pi * total)
        outlier = noise_model.tabulated(x.expand_as(mu), mu, image_statistics) > gaussian + SURPRISE
    centre, width = torch.where(outlier, mu, centre), torch.where(outlier, tau, width)
    nodes, weights = (part.to(mu) for part in gauss_hermite(count))
    signal = centre[..., None] + width[..., None] * nodes
    away = (signal - mu[..., None]) / tau[..., None]
    ratio = 0.5 * (nodes**2 - away**2) + torch.log(width / tau)[..., None]
    log_weight = (log_prior[..., None] + weights.log() + ratio).flatten(1)
    signal = signal.flatten(1)
    return signal, log_weight, noise_model.tabulated(x.expand_as(signal), signal, image_statistics)
