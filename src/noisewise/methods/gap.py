"""GAP: learns where the next photon falls, from images whose pixels are counts of photons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn

from noisewise.methods._scenes import WIDTH_WEIGHT, SceneTaught, flat, moments
from noisewise.methods.base import Batch, ImageSpec, masked_mean
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.lots import AddressedLots
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.counts import gain_and_offset
from noisewise.noise.description import Description, describe, stack
from noisewise.noise.poisson_gaussian import PoissonGaussian
from noisewise.posterior import LIKELIEST, Normal, Posterior

MOST_SHOWN = 0.9  # of the photons: the others are what is learned from
MOST_LIGHT = 4.0  # exposure of drawn scenes, relative to the image's
FAINTEST = 1e-3  # photons a pixel: the least that is expected
MANY = 16.0  # photons, from which on numbers are drawn as Gaussian


@dataclass(frozen=True, kw_only=True)
class GAP(SceneTaught):
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

    uses_correlation: ClassVar[bool] = False
    counts_only: ClassVar[bool] = True

    faintest: Annotated[float, Interval(gt=0, lt=0.9)] = 0.3
    """smallest share of the photons that is shown in training; far smaller, and images can be made from nothing"""
    exposure: Annotated[float, Gt(0)] = 1.0
    """of images to be denoised, relative to those that were learned from"""
    growth: Annotated[float, Gt(1)] = 3.0
    """times as many photons as the image has, up to which a sample adds some"""
    step: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """share of the photons so far that is added at a time"""

    @property
    def removes(self) -> tuple[str, ...]:
        return ("white",)

    @property
    def gives_samples(self) -> bool:
        return True

    @property
    def ready_as_built(self) -> bool:
        return self.starts_from_prior

    def build(self, spec: ImageSpec, laws: Sequence[Noise] = ()) -> Standardized:
        net = super().build(spec, laws)
        self.scale(net)  # refuses what is no count, before the work
        return net

    def scale(self, net: Standardized) -> tuple[Tensor, Tensor]:
        """Gain and offset (ADU) of each channel: (C, 1, ...)."""
        pairs = [gain_and_offset(cast(Noise, net.law(c)), *net.about(c)) for c in range(len(net.mean))]
        gain, offset = (torch.tensor(part).reshape(net.mean.shape).to(net.mean) for part in zip(*pairs, strict=True))
        return gain, offset

    def told(self, net: Standardized, copies: int) -> Description:
        """Photons and nothing else: counts have no steps that rounding has made."""
        pairs = zip(*(part.flatten().tolist() for part in self.scale(net)), strict=True)
        laws = [describe(PoissonGaussian(gain, offset, 0.0), *net.about(c)) for c, (gain, offset) in enumerate(pairs)]
        return stack(laws, copies).of_dims(net.dims)

    def taught_by_itself(self, net: Standardized, batch: Batch) -> Tensor:
        """Poisson deviance of the photons that were not shown, and the likelihood of the variance."""
        photons = self.photons(net, batch.noisy)
        share = exposures(photons, self.faintest, MOST_SHOWN, batch.generator)
        shown = torch.binomial(photons.cpu(), share.cpu().expand_as(photons), generator=batch.generator).to(photons)
        rate, variance = self.expected(net, shown, share)
        hidden, left = 1 - share, photons - shown
        expected = (hidden * rate).clamp(min=FAINTEST)
        # Below the least rate the logarithm goes on as a line, so that a photon there pulls up.
        log = expected.log() + (hidden * rate - expected) / expected
        deviance = expected - left * log + torch.xlogy(left, left) - left
        # Where few are shown, many that were not expected are left, and where many are, few: none outvotes the others.
        weight = share * hidden**-0.5
        if not batch.held_out:
            told = negative_binomial(left, expected.detach(), hidden**2 * variance)
            deviance = deviance - WIDTH_WEIGHT * told
        return masked_mean(weight * deviance, batch.teach)

    def exposed(self, net: Standardized, batch: Batch) -> tuple[Tensor, Tensor, Description]:
        signal, (gain, offset) = self.scenes_like(net, batch), self.scale(net)
        share = exposures(signal, self.faintest, MOST_LIGHT, batch.generator)
        rate = ((signal - offset) / gain).clamp(min=0)
        shown = torch.poisson((share * rate).cpu(), generator=batch.generator).to(signal)
        noisy, law = self.seen(net, shown, share)
        return noisy, flat(offset + gain * rate), law

    def photons(self, net: Standardized, noisy: Tensor) -> Tensor:
        """Numbers of photons, of images in their units."""
        gain, offset = self.scale(net)
        return ((noisy.float() - offset) / gain).round().clamp(min=0)

    def seen(self, net: Standardized, photons: Tensor, share: Tensor) -> tuple[Tensor, Description]:
        """What photons (N, C, *S) of such a share of the exposure (N or 1, 1, ...) say of the whole: image and law."""
        (gain, offset), dims = self.scale(net), [1] * net.dims
        share = share.expand(len(photons), len(gain), *dims)
        law = self.told(net, len(photons)).thinned(1 - share.reshape(-1, 1, *dims))
        return flat(offset + gain * photons / share), law

    def expected(self, net: Standardized, photons: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the photons of a whole exposure, (N, C, *S), given those of a share of it."""
        (gain, offset), (noisy, law) = self.scale(net), self.seen(net, photons, share)
        mean, width = moments(net, noisy, law)
        variance = width**2 * law.stabilizer.variance(mean.detach())
        return (net.unfold(mean) - offset) / gain, net.unfold(variance) / gain**2

    def posterior(self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        rate, variance = self.expected(net, self.photons(net, noisy), self.share_of(noisy))
        gain, offset = self.scale(net)
        return Normal(offset + gain * self.exposure * rate.clamp(min=0), gain * self.exposure * variance.sqrt())

    def share_of(self, noisy: Tensor, growth: float = 1.0) -> Tensor:
        """The exposure of images that are to be denoised, with so many times their photons: (1, 1, ...)."""
        return noisy.new_full((1, 1, *[1] * (noisy.ndim - 2)), self.exposure * growth)

    @property
    def rounds(self) -> int:
        """How often a sample gets more photons."""
        return math.ceil(math.log(self.growth) / math.log1p(self.step))

    def sampler(
        self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        where = (grid_coordinates(noisy) if coordinates is None else coordinates)[0]
        photons, (gain, offset) = self.photons(net, noisy), self.scale(net)

        def draw(numbers: Sequence[int]) -> Tensor:
            grown, chance = photons.repeat(len(numbers), *[1] * (photons.ndim - 1)), LIKELIEST not in numbers
            keys = [(seed, n, c) for n in numbers for _ in noisy for c in range(noisy.shape[1])]
            lots = AddressedLots(where, [(1,) * net.dims] * self.rounds, keys)
            for level in range(self.rounds):
                share = self.share_of(noisy, (1 + self.step) ** level)
                added = self.step * share * self.expected(net, grown, share)[0].clamp(min=0)
                if chance:
                    normal = lots(level, torch.Size([len(keys), 1, *grown.shape[2:]])).to(grown)
                    added = poisson(added, normal.reshape(grown.shape))
                grown = grown + added
            share = self.share_of(noisy, (1 + self.step) ** self.rounds)
            signal = self.exposure * self.expected(net, grown, share)[0].clamp(min=0)
            return (offset + gain * signal).reshape(len(numbers), *noisy.shape)

        return draw

    def sampled_by(self, net: Standardized) -> tuple[nn.Module, int]:
        return net.backbone, 1 + self.rounds


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


def poisson(rate: Tensor, normal: Tensor) -> Tensor:
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
