"""GAP (generative accumulation of photons): for images whose pixels are photon counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from noisewise.methods._adding_light import LightSettings, light_sampler
from noisewise.methods._conditioned import (
    build_conditioned,
    combined_loss,
    conditioned_traits,
    image_can_train,
    random_lights,
    refuse_without_signal,
    starts_pretrained,
)
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Traits
from noisewise.methods.losses.conditioned import moments, split_channels
from noisewise.methods.losses.reductions import masked_mean
from noisewise.methods.losses.supervised import STD_WEIGHT, supervised_loss, synthetic_scenes
from noisewise.noise.base import Noise
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.conditioning import NoiseFeatures, noise_features, stack_features
from noisewise.noise.ops.photon_counts import gain_and_offset
from noisewise.posterior import Normal, Posterior

MAX_INPUT_FRACTION = 0.9  # of the photons: the others are the target
MAX_EXPOSURE = 4.0  # of synthetic scenes, relative to the image
MIN_EXPECTED = 1e-3  # photons per pixel: lower bound of what a network can expect


@dataclass(frozen=True, kw_only=True)
class GAP(LightSettings):
    """GAP: predicts the expected photons from a part of those recorded; for photon counts only.

    Of the k photons in a pixel, y ~ Binomial(k, p) are the input, with p drawn for each patch, and t = k − y are the
    target. They are independent given the signal s. A network predicts λ(y, p), the photons expected in a whole
    exposure: loss = Σ r λ(y, p) − t log λ(y, p), r = 1 − p, is minimised by λ = E[s | y]. The variance of s given y is
    fitted by the negative binomial likelihood of t, as if p(s | y) were a gamma density. Both are trained on synthetic
    scenes too, at exposures up to four times that of the image, some up to `growth`, and the network starts from
    packaged weights, as in `simulated`. The prediction is λ(k, 1), in one pass.

    A sample adds photons step by step where they are expected, and predicts λ again, until there are `growth` times as
    many. Started with hardly any photons, it generates new images. It is as accurate as λ.

    Sources: Krull et al. 2023 (GAP), arXiv:2307.06607; Monroy et al. 2025 (thinning and Poisson likelihoods),
    arXiv:2412.04648.
    """

    faintest: Annotated[float, Interval(gt=0, lt=0.9)] = 0.3
    """smallest fraction of the photons that is input in training; choose it near 0 to generate new images"""
    exposure: Annotated[float, Interval(ge=1e-3, le=1e3)] = 1.0
    """exposure of the images to be denoised, relative to that of the training images"""

    @property
    def traits(self) -> Traits:
        return conditioned_traits(
            self, removes=("white",), noise="pixel", counts_only=True, samples=True, sampling_passes=self.passes,
            usable_untrained=starts_pretrained(self),
        )  # fmt: skip

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        net = refuse_without_signal(self, build_conditioned(self, spec, noise_models))
        net.no_light = photon_scale(net)[1]  # images that are not photon counts are refused before the training
        net.warnings = []  # the fewer the photons, the better the packaged weights are than further training
        return net

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        self_supervised = partial(self._held_back_loss, net) if image_can_train(self, net) else None
        return combined_loss(self, net, batch, partial(self._synthetic_loss, net), self_supervised)

    def _synthetic_loss(self, net: Denoiser, batch: Batch) -> Tensor:
        """Supervised loss on synthetic scenes at random exposures."""
        signal, (gain, offset) = synthetic_scenes(net, batch, self.scenes), photon_scale(net)
        exposure = random_exposures(signal, self.faintest, MAX_EXPOSURE, batch.generator)
        if not batch.held_out:  # some as bright as samples become
            light = random_lights(signal, max(self.growth, MAX_EXPOSURE), batch.generator)
            exposure = torch.where(light > 1, light, exposure)
        rate = ((signal - offset) / gain).clamp(min=0)
        photons = torch.poisson((exposure * rate).cpu(), generator=batch.generator).to(signal)
        noisy, features = as_image(net, photons, exposure)
        return supervised_loss(net, batch, noisy, split_channels(offset + gain * rate), features)

    def _held_back_loss(self, net: Denoiser, batch: Batch) -> Tensor:
        """Poisson deviance of the photons held back as target, and the likelihood of the variance."""
        photons = count_photons(net, batch.noisy)
        fraction = random_exposures(photons, self.faintest, MAX_INPUT_FRACTION, batch.generator)
        given = torch.binomial(photons.cpu(), fraction.cpu().expand_as(photons), generator=batch.generator).to(photons)
        rate, variance = expected_photons(net, given, fraction)
        remaining, target = 1 - fraction, photons - given
        expected = (remaining * rate).clamp(min=MIN_EXPECTED)
        # Below the smallest rate the logarithm continues linearly, so that a photon there still has a gradient.
        log = expected.log() + (remaining * rate - expected) / expected
        deviance = expected - target * log + torch.xlogy(target, target) - target
        # The deviance varies with the fraction that is input; the weight makes all fractions count alike.
        weight = fraction * remaining**-0.5
        if not batch.held_out:
            log_prob = negative_binomial(target, expected.detach(), remaining**2 * variance)
            deviance = deviance - STD_WEIGHT * log_prob
        return masked_mean(weight * deviance, batch.valid)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        rate, variance = expected_photons(net, count_photons(net, noisy), self._exposure_of(noisy))
        gain, offset = photon_scale(net)
        return Normal(offset + gain * self.exposure * rate.clamp(min=0), gain * self.exposure * variance.sqrt())

    def _exposure_of(self, noisy: Tensor) -> Tensor:
        """Exposure of the images to be denoised, (1, 1, ...)."""
        return noisy.new_full((1, 1, *[1] * (noisy.ndim - 2)), self.exposure)

    def sampler(
        self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        offset, features = photon_scale(net)[1], photon_features(net, len(noisy))
        seen = net.unfold(as_image(net, count_photons(net, noisy), self._exposure_of(noisy))[0])
        draw = light_sampler(net, seen, features, self.lights(self.exposure), coordinates, seed)
        return lambda numbers: offset + self.exposure * (draw(numbers) - offset).clamp(min=0)


# -- images as photon counts -------------------------------------------------------------------------


def photon_scale(net: Denoiser) -> tuple[Tensor, Tensor]:
    """Gain (ADU a photon) and offset (ADU) of each channel, (C, 1, ...).

    Errors: `UserError` where the noise is not that of photon counts.
    """
    pairs = [gain_and_offset(net.noise_model(c), *net.input_statistics(c)) for c in range(len(net.mean))]
    gain, offset = (torch.tensor(part).reshape(net.mean.shape).to(net.mean) for part in zip(*pairs, strict=True))
    return gain, offset


def count_photons(net: Denoiser, noisy: Tensor) -> Tensor:
    """Photon counts of images (N, C, *S) in image units."""
    gain, offset = photon_scale(net)
    return ((noisy.float() - offset) / gain).round().clamp(min=0)


def photon_features(net: Denoiser, copies: int) -> NoiseFeatures:
    """Features of pure photon noise for each channel: counts need no quantization step of their own."""
    pairs = zip(*(part.flatten().tolist() for part in photon_scale(net)), strict=True)
    found = [
        noise_features(PoissonGaussian(gain, offset, 0.0), *net.input_statistics(c))
        for c, (gain, offset) in enumerate(pairs)
    ]
    return stack_features(found, copies).for_dims(net.dims)


def as_image(net: Denoiser, photons: Tensor, exposure: Tensor) -> tuple[Tensor, NoiseFeatures]:
    """Images and features of their noise from photons (N, C, *S) at a relative exposure (N or 1, 1, ...).

    The images are scaled to exposure 1.
    """
    (gain, offset), dims = photon_scale(net), [1] * net.dims
    exposure = exposure.expand(len(photons), len(gain), *dims)
    features = photon_features(net, len(photons)).with_light(exposure.reshape(-1, 1, *dims))
    return split_channels(offset + gain * photons / exposure), features


def expected_photons(net: Denoiser, photons: Tensor, exposure: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the photons at exposure 1, (N, C, *S), given those at a relative exposure."""
    (gain, offset), (noisy, features) = photon_scale(net), as_image(net, photons, exposure)
    mean, width = moments(net, noisy, features)
    variance = width**2 * features.stabilizer.variance(mean.detach())
    return (net.unfold(mean) - offset) / gain, net.unfold(variance) / gain**2


# -- distributions -----------------------------------------------------------------------------------


def random_exposures(images: Tensor, least: float, most: float, generator: torch.Generator) -> Tensor:
    """One exposure for each image, (N, 1, ...), log-uniform."""
    uniform = torch.rand((len(images), *[1] * (images.ndim - 1)), generator=generator).to(images)
    return least * (most / least) ** uniform


def negative_binomial(count: Tensor, mean: Tensor, excess: Tensor) -> Tensor:
    """Log-probability of negative binomial counts with this mean, and a variance of mean + excess."""
    shape = mean**2 / excess
    return (
        torch.lgamma(count + shape) - torch.lgamma(shape) - torch.lgamma(count + 1)
        - shape * torch.log1p(mean / shape) + torch.xlogy(count, mean / (mean + shape))
    )  # fmt: skip
