"""GAP: learns where the next photon falls, from images whose pixels are counts of photons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from annotated_types import Gt, Interval
from torch import Tensor

from noisewise.methods._conditioned import (
    ConditionedSettings,
    build_conditioned,
    combined_loss,
    conditioned_traits,
    image_can_train,
    refuse_without_signal,
    starts_pretrained,
)
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Traits
from noisewise.methods.losses.conditioned import flat, moments
from noisewise.methods.losses.reductions import masked_mean
from noisewise.methods.losses.supervised import STD_WEIGHT, supervised_loss, synthetic_scenes
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.counter_noise import CounterNoise
from noisewise.noise.base import Noise
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.conditioning import NoiseFeatures, noise_features, stack_features
from noisewise.noise.ops.photon_counts import gain_and_offset
from noisewise.posterior import MODE, Normal, Posterior

MOST_SHOWN = 0.9  # of the photons: the others are what is learned from
MOST_LIGHT = 4.0  # exposure of drawn scenes, relative to the image's
FAINTEST = 1e-3  # photons a pixel: the least that is expected
MANY = 16.0  # photons, from which on numbers are drawn as Gaussian


@dataclass(frozen=True, kw_only=True)
class GAP(ConditionedSettings):
    """GAP: learns where the next photon falls (generative accumulation of photons); for counts of photons alone.

    Of the k photons in a pixel, y ~ Binomial(k, p) are shown, p drawn for each patch, and t = k − y are to be told.
    Given the signal s, they are independent. A network tells λ(y, p), the photons expected in a whole exposure, and
    loss = Σ r λ(y, p) − t log λ(y, p), r = 1 − p, is least at λ = E[s | y]. The variance of s given y is learned by the
    negative binomial likelihood of t, as if p(s | y) were a gamma density. Drawn scenes teach both too, at exposures up
    to four times that of the image, and the network starts from packaged weights, as in `simulated`. Predicted is
    λ(k, 1), in one pass.

    A sample adds photons, little by little, where they are expected: y ← y + Poisson(β p λ(y, p)), p ← (1 + β) p, until
    there are `growth` times as many. From hardly any photons, it makes new images. It is as exact as λ is.

    Sources: Krull et al. 2023 (GAP), Monroy et al. 2025 (thinning and Poisson likelihoods).
    """

    faintest: Annotated[float, Interval(gt=0, lt=0.9)] = 0.3
    """smallest share of the photons that is shown in training; far smaller, and images can be made from nothing"""
    exposure: Annotated[float, Gt(0)] = 1.0
    """of images to be denoised, relative to those that were learned from"""
    growth: Annotated[float, Gt(1)] = 3.0
    """times as many photons as the image has, up to which a sample adds some"""
    step: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """share of the photons so far that is added at a time"""

    @property
    def traits(self) -> Traits:
        return conditioned_traits(
            self, removes=("white",), noise="pixel", counts_only=True, samples=True, sampling_passes=1 + self.rounds,
            usable_untrained=starts_pretrained(self),
        )  # fmt: skip

    @property
    def rounds(self) -> int:
        """How often photons are added to a sample."""
        return math.ceil(math.log(self.growth) / math.log1p(self.step))

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        net = refuse_without_signal(self, build_conditioned(self, spec, noise_models))
        photon_scale(net)  # refuses images that are no counts before the work begins
        return net

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        own = partial(self._hidden_photons_loss, net) if image_can_train(self, net) else None
        return combined_loss(self, net, batch, partial(self._scenes_loss, net), own)

    def _scenes_loss(self, net: Denoiser, batch: Batch) -> Tensor:
        """Supervised loss on synthetic scenes at random exposures."""
        signal, (gain, offset) = synthetic_scenes(net, batch, self.scenes), photon_scale(net)
        exposure = exposures(signal, self.faintest, MOST_LIGHT, batch.generator)
        rate = ((signal - offset) / gain).clamp(min=0)
        shown = torch.poisson((exposure * rate).cpu(), generator=batch.generator).to(signal)
        noisy, features = as_image(net, shown, exposure)
        return supervised_loss(net, batch, noisy, flat(offset + gain * rate), features)

    def _hidden_photons_loss(self, net: Denoiser, batch: Batch) -> Tensor:
        """Poisson deviance of the photons that were not shown, and the likelihood of the variance."""
        photons = count_photons(net, batch.noisy)
        fraction = exposures(photons, self.faintest, MOST_SHOWN, batch.generator)
        shown = torch.binomial(photons.cpu(), fraction.cpu().expand_as(photons), generator=batch.generator).to(photons)
        rate, variance = expected_photons(net, shown, fraction)
        hidden, left = 1 - fraction, photons - shown
        expected = (hidden * rate).clamp(min=FAINTEST)
        # Below the least rate the logarithm continues as a line, so that a photon there still has a gradient.
        log = expected.log() + (hidden * rate - expected) / expected
        deviance = expected - left * log + torch.xlogy(left, left) - left
        # Where few photons are shown many unexpected ones are left, and the other way round: weighted to count alike.
        weight = fraction * hidden**-0.5
        if not batch.held_out:
            log_prob = negative_binomial(left, expected.detach(), hidden**2 * variance)
            deviance = deviance - STD_WEIGHT * log_prob
        return masked_mean(weight * deviance, batch.valid)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        rate, variance = expected_photons(net, count_photons(net, noisy), self._exposure_of(noisy))
        gain, offset = photon_scale(net)
        return Normal(offset + gain * self.exposure * rate.clamp(min=0), gain * self.exposure * variance.sqrt())

    def _exposure_of(self, noisy: Tensor, growth: float = 1.0) -> Tensor:
        """The exposure of images to be denoised, with `growth` times their photons: (1, 1, ...)."""
        return noisy.new_full((1, 1, *[1] * (noisy.ndim - 2)), self.exposure * growth)

    def sampler(
        self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        where = (grid_coordinates(noisy) if coordinates is None else coordinates)[0]
        photons, (gain, offset) = count_photons(net, noisy), photon_scale(net)

        def draw(numbers: Sequence[int]) -> Tensor:
            grown, random = photons.repeat(len(numbers), *[1] * (photons.ndim - 1)), MODE not in numbers
            keys = [(seed, n, c) for n in numbers for _ in noisy for c in range(noisy.shape[1])]
            source = CounterNoise(where, [(1,) * net.dims] * self.rounds, keys)
            for level in range(self.rounds):
                exposure = self._exposure_of(noisy, (1 + self.step) ** level)
                added = self.step * exposure * expected_photons(net, grown, exposure)[0].clamp(min=0)
                if random:
                    normal = source(level, torch.Size([len(keys), 1, *grown.shape[2:]])).to(grown)
                    added = poisson_quantile(added, normal.reshape(grown.shape))
                grown = grown + added
            exposure = self._exposure_of(noisy, (1 + self.step) ** self.rounds)
            signal = self.exposure * expected_photons(net, grown, exposure)[0].clamp(min=0)
            return (offset + gain * signal).reshape(len(numbers), *noisy.shape)

        return draw


# -- images as photon counts -------------------------------------------------------------------------


def photon_scale(net: Denoiser) -> tuple[Tensor, Tensor]:
    """Gain (ADU a photon) and offset (ADU) of each channel: (C, 1, ...). Errors: `UserError` for other noise."""
    pairs = [gain_and_offset(net.noise_model(c), *net.input_statistics(c)) for c in range(len(net.mean))]
    gain, offset = (torch.tensor(part).reshape(net.mean.shape).to(net.mean) for part in zip(*pairs, strict=True))
    return gain, offset


def count_photons(net: Denoiser, noisy: Tensor) -> Tensor:
    """Numbers of photons in images, image units."""
    gain, offset = photon_scale(net)
    return ((noisy.float() - offset) / gain).round().clamp(min=0)


def photon_features(net: Denoiser, copies: int) -> NoiseFeatures:
    """Pure photon noise of every channel: counts have no quantization step of their own."""
    pairs = zip(*(part.flatten().tolist() for part in photon_scale(net)), strict=True)
    found = [
        noise_features(PoissonGaussian(gain, offset, 0.0), *net.input_statistics(c))
        for c, (gain, offset) in enumerate(pairs)
    ]
    return stack_features(found, copies).of_dims(net.dims)


def as_image(net: Denoiser, photons: Tensor, exposure: Tensor) -> tuple[Tensor, NoiseFeatures]:
    """Photons (N, C, *S) of a relative exposure (N or 1, 1, ...), scaled to exposure 1: images and their noise."""
    (gain, offset), dims = photon_scale(net), [1] * net.dims
    exposure = exposure.expand(len(photons), len(gain), *dims)
    features = photon_features(net, len(photons)).thinned(1 - exposure.reshape(-1, 1, *dims))
    return flat(offset + gain * photons / exposure), features


def expected_photons(net: Denoiser, photons: Tensor, exposure: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the photons of exposure 1, (N, C, *S), given those of a relative exposure."""
    (gain, offset), (noisy, features) = photon_scale(net), as_image(net, photons, exposure)
    mean, width = moments(net, noisy, features)
    variance = width**2 * features.stabilizer.variance(mean.detach())
    return (net.unfold(mean) - offset) / gain, net.unfold(variance) / gain**2


# -- distributions -----------------------------------------------------------------------------------


def exposures(images: Tensor, least: float, most: float, generator: torch.Generator) -> Tensor:
    """One for each image, (N, 1, ...), any order of magnitude as likely as another."""
    lots = torch.rand((len(images), *[1] * (images.ndim - 1)), generator=generator).to(images)
    return least * (most / least) ** lots


def negative_binomial(count: Tensor, mean: Tensor, excess: Tensor) -> Tensor:
    """log p of counts with this mean, and a variance that exceeds it: Poisson numbers of gamma rates."""
    shape = mean**2 / excess
    return (
        torch.lgamma(count + shape) - torch.lgamma(shape) - torch.lgamma(count + 1)
        - shape * torch.log1p(mean / shape) + torch.xlogy(count, mean / (mean + shape))
    )  # fmt: skip


def poisson_quantile(rate: Tensor, normal: Tensor) -> Tensor:
    """Poisson numbers of these rates, each the quantile that a standard normal number is: same lots, same photons."""
    few = rate.clamp(max=MANY).double()
    lots, number = torch.special.ndtr(normal.double()), torch.zeros_like(few)
    mass = torch.exp(-few)
    below = mass.clone()
    for count in range(1, math.ceil(MANY + 8 * MANY**0.5)):
        number += lots > below
        mass = mass * few / count
        below += mass
    many = (rate + rate.sqrt() * normal).round().clamp(min=0)
    return torch.where(rate < MANY, number.to(rate), many)
