"""GAP: learns where the next photon falls, from images whose pixels are counts of photons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
from annotated_types import Gt, Interval
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.methods.base import Batch, ImageSpec, Method, Needs, masked_mean
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.lots import AddressedLots
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.counts import gain_and_offset
from noisewise.posterior import LIKELIEST, Normal, Posterior

MOST_SHOWN = 0.9  # of the photons: the others are what is learned from
FAINTEST = 1e-4  # of the mean brightness: the least that is expected
NARROWEST = 1e-3  # posterior variance, in that of the pixel's own photons
WIDTH_WEIGHT = 0.1  # of the variance's likelihood beside that of the mean
ONE = math.log(math.e - 1)  # softplus of it is one: a network that puts out zero tells the mean brightness
LEVEL = 3.0  # logarithm of a share of the photons, which the network is told as one
EVEN = 3 / 8  # photons added before the square root, that variances be alike (Anscombe 1948)
MANY = 16.0  # photons, from which on numbers are drawn as Gaussian


@dataclass(frozen=True, kw_only=True)
class GAP(Method):
    """GAP: learns where the next photon falls (generative accumulation of photons); for counts of photons alone.

    Of the k photons in a pixel, y ~ Binomial(k, p) are shown, p drawn for each patch, and t = k − y are to be told.
    Given the signal, they are independent. A network tells λ(y, p), the photons expected at the exposure of y, and
    loss = Σ r λ(y, p) − t log λ(y, p), r = (1 − p) / p, is least at λ = E[p s | y]. The variance of p s given y is
    learned by the negative binomial likelihood of t, as if p(s | y) were a gamma density. Predicted is λ(k, 1), in one
    pass.

    A sample adds photons, little by little, where they are expected: y ← y + Poisson(β λ(y, p)), p ← (1 + β) p, until
    there are `growth` times as many. From hardly any photons, it makes new images. Up to p = 1 it is exact as far as
    λ is; beyond, λ has never been learned, and samples differ less than they should.

    Sources: Krull et al. 2023 (GAP), Monroy et al. 2025 (thinning and Poisson likelihoods).
    """

    needs: ClassVar[Needs] = "noisy"
    uses_noise: ClassVar[bool] = True
    counts_only: ClassVar[bool] = True

    faintest: Annotated[float, Interval(gt=0, lt=0.9)] = 0.3
    """smallest share of the photons that is shown in training; far smaller, and images can be made from nothing"""
    exposure: Annotated[float, Gt(0)] = 1.0
    """of images to be denoised, relative to those that were learned from"""
    growth: Annotated[float, Gt(1)] = 3.0
    """times as many photons as the image has, up to which a sample adds some; brighter than what was learned from,
    samples drift"""
    step: Annotated[float, Interval(gt=0, le=1)] = 0.1
    """share of the photons so far that is added at a time"""

    @property
    def gives_std(self) -> bool:
        return True

    @property
    def gives_samples(self) -> bool:
        return True

    @property
    def inputs(self) -> int:
        return 2

    @property
    def heads(self) -> int:
        return 2

    def build(self, spec: ImageSpec, laws: Sequence[Noise] = ()) -> Standardized:
        net = super().build(spec, laws)
        self.scale(net)  # refuses what is no count, before the work
        return net

    def scale(self, net: Standardized) -> tuple[Tensor, Tensor, Tensor]:
        """Gain and offset (ADU), and the mean photon number, of each channel: (C, 1, ...)."""
        pairs = [gain_and_offset(cast(Noise, net.law(c)), *net.about(c)) for c in range(len(net.mean))]
        gain, offset = (torch.tensor(part).reshape(net.mean.shape).to(net.mean) for part in zip(*pairs, strict=True))
        return gain, offset, ((net.mean - offset) / gain).clamp(min=1e-2)

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        photons = self.photons(net, batch.noisy)
        lots = torch.rand((len(photons), *[1] * (photons.ndim - 1)), generator=batch.generator)
        share = self.faintest * (MOST_SHOWN / self.faintest) ** lots
        shown = torch.binomial(photons.cpu(), share.expand_as(photons), generator=batch.generator).to(photons)
        left, share = photons - shown, share.to(photons)
        rate, variance = self.moments(net, shown, share)
        ratio = (1 - share) / share
        expected, teach = ratio * rate, batch.teach
        deviance = expected - torch.xlogy(left, expected) + torch.xlogy(left, left) - left
        # Where few are shown, many that were not expected are left, and where many are, few: none outvotes the others.
        weight = share * (1 - share) ** -0.5
        if batch.held_out:
            return masked_mean(weight * deviance, teach)
        spread = negative_binomial(left, expected.detach(), ratio**2 * variance)
        return masked_mean(weight * (deviance - WIDTH_WEIGHT * spread), teach)

    def photons(self, net: Standardized, noisy: Tensor) -> Tensor:
        """Numbers of photons, of images in their units."""
        gain, offset, _ = self.scale(net)
        return ((noisy.float() - offset) / gain).round().clamp(min=0)

    def moments(self, net: Standardized, photons: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the photons expected at the exposure of these: (N, C, *S); share p: (N, 1, ...)."""
        gain, _, every = self.scale(net)
        share = share.clamp(max=1)
        mean, contrast = share * every, net.std / gain / every
        seen = (((photons + EVEN) / (mean + EVEN)).sqrt() - 1) * 2 / contrast
        told = torch.stack([seen, share.log().expand_as(seen) / LEVEL], 2).reshape(-1, net.width, *seen.shape[2:])
        height, width = map(net.unfold, net.maps(net.backbone(told)))
        rate = mean * (F.softplus(contrast * height + ONE) ** 2 + FAINTEST)
        return rate, rate.detach() * (F.softplus(width) + NARROWEST)

    def posterior(self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        rate, variance = self.moments(net, self.photons(net, noisy), noisy.new_tensor(self.exposure))
        gain, offset, _ = self.scale(net)
        return Normal(offset + gain * rate, gain * variance.sqrt())

    @property
    def rounds(self) -> int:
        """How often a sample gets more photons."""
        return math.ceil(math.log(self.growth) / math.log1p(self.step))

    def sampler(
        self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        where = (grid_coordinates(noisy) if coordinates is None else coordinates)[0]
        photons, (gain, offset, _) = self.photons(net, noisy), self.scale(net)

        def draw(numbers: Sequence[int]) -> Tensor:
            grown, chance = photons.repeat(len(numbers), *[1] * (photons.ndim - 1)), LIKELIEST not in numbers
            keys = [(seed, n, c) for n in numbers for _ in noisy for c in range(noisy.shape[1])]
            lots = AddressedLots(where, [(1,) * net.dims] * self.rounds, keys)
            for level in range(self.rounds):
                share = noisy.new_tensor(self.exposure * (1 + self.step) ** level)
                added = self.step * self.moments(net, grown, share)[0]
                if chance:
                    normal = lots(level, torch.Size([len(keys), 1, *grown.shape[2:]])).to(grown)
                    added = poisson(added, normal.reshape(grown.shape))
                grown = grown + added
            growth = (1 + self.step) ** self.rounds
            signal = self.moments(net, grown, noisy.new_tensor(self.exposure * growth))[0] / growth
            return (offset + gain * signal).reshape(len(numbers), *noisy.shape)

        return draw

    def sampled_by(self, net: Standardized) -> tuple[nn.Module, int]:
        return net.backbone, 1 + self.rounds


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
