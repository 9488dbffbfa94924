"""What `simulated`, `gap`, `divnoising` and `hdn` share: a network with packaged weights, taught by drawn scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.container import read_container, write_container
from noisewise.errors import UserError
from noisewise.methods.base import Batch, ImageSpec, Method, Needs, masked_mean
from noisewise.nets.blind import hide, some_of
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.description import FEATURES, LAGS, Description, describe, stack
from noisewise.noise.reach import correlated_offsets
from noisewise.noise.splitting import neighbour_mean, split
from noisewise.posterior import Normal, Posterior
from noisewise.scenes.pool import is_drawn, patches

PRIOR = Path(__file__).with_name("simulated.safetensors")
INPUT_SCALE = 0.25  # of the stabilised image, whose noise has unit variance, at the network's door
NARROWEST = 1e-3  # standard deviation, in those of the noise
WIDTH_WEIGHT = 0.1  # of the standard deviation's likelihood beside the squared error of the mean
FAR_APART = 1e6  # pixel sizes between slices
EASIEST = 0.003  # mean squared error of a patch, in units of the noise, below which it counts like any other
BESIDE = 3  # patches of the image to one of a scene: enough not to forget the scenes
COARSEST, FARTHEST, OPPOSED, UNEVEN = 3.0, 0.75, -0.4, 3.0  # of laws that the prior has seen, with some room
DARKEST = 0.4  # photons, the 3/8 of the transform included
CONTRAST = 0.5  # by how much (log) a drawn scene may be of more or less contrast than the image
BLIND = 11.0  # percent of the pixels, in lessons by blind spots
ALIKE = 4.0  # standard deviations: of the mean of a patch above the background, of its darkest pixels below
EVEN = 3.0  # of these, that a quarter of the means may spread where the background is even
MEANS = 64  # patches, that tell that
TINY = 1e-20  # variance, ADU²: of an image that has none
LITTLE = 0.1  # of the variance of the noise: where less is left after denoising, a pixel tells little of itself


@dataclass(frozen=True, kw_only=True)
class SceneTaught(Method):
    """A network told the law of the noise, that learns E[s | x] and σ(x) from scenes s and from the image.

    loss = mean (f(x) − s)² / v(f(x)), over drawn scenes and over shares and blind spots of the image (see `simulated`).
    """

    needs: ClassVar[Needs] = "noisy"
    uses_noise: ClassVar[bool] = True
    uses_correlation: ClassVar[bool] = True
    usual_batch: ClassVar[dict[int, int]] = {2: 4, 3: 2}

    network: Literal["fast", "large", "classic", "n2v2"] = "large"
    spatial: Literal["auto", "YX", "ZYX"] = "YX"
    """axes that the network sees together; the packaged weights know single planes"""
    prior: bool = True
    """start from the packaged weights, where they fit the network"""
    scenes: str = "mixed"
    """what is drawn: mixed, one kind of scene, or a file of clean images in the units of the noisy ones"""
    share: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """of the image that becomes a target"""
    drawn: Annotated[float, Interval(ge=0, le=100)] = 1.0
    """weight of what drawn scenes teach (0: nothing)"""
    own: Annotated[float, Interval(ge=0, le=100)] = 2.0
    """weight of what the image itself teaches (0: nothing)"""

    @property
    def removes(self) -> tuple[str, ...]:
        return ("white", "rows", "columns", "correlated")

    @property
    def gives_std(self) -> bool:
        return True

    @property
    def inputs(self) -> int:
        return 2 + FEATURES

    @property
    def heads(self) -> int:
        return 2

    def build(self, spec: ImageSpec, laws: Sequence[Noise] = ()) -> Standardized:
        net = super().build(spec, laws)
        if not self.taught(net):
            raise UserError(
                "with drawn = 0 only the image teaches, and it cannot where own is 0 or neighbouring pixels share "
                "their noise; leave drawn at 1"
            )
        if self.starts_from_prior:
            net.backbone.load_state_dict(prior_weights(spec.dims))
        return net

    @property
    def starts_from_prior(self) -> bool:
        own = self.network == "large" and not (self.features or self.depth or self.joint_channels)
        return self.prior and own and PRIOR.exists()

    def directional(self, laws: Sequence[Noise], dims: int) -> bool:  # noqa: ARG002
        return any(law.directional for law in laws)

    def one_way(self, laws: Sequence[Noise]) -> str:
        return "".join(axis for axis in "YX" if any(axis in law.one_way for law in laws))

    def learned_before(self, net: Standardized) -> list[nn.Parameter]:
        return list(net.backbone.parameters()) if self.starts_from_prior else []

    def backbone(self, spec: ImageSpec, channels: int) -> nn.Module:
        if spec.dims == 3 and self.starts_from_prior:  # slices are not pooled: the prior is for one at a time
            spec = replace(spec, spacing=(FAR_APART, *spec.spacing[1:]))
        return super().backbone(spec, channels)

    def caveats(self, spec: ImageSpec, laws: Sequence[Noise]) -> list[str]:
        """Laws beyond those that the packaged weights were trained for."""
        if not self.starts_from_prior:
            return []
        told = [describe(law, mean, std) for law, mean, std in zip(cycle(laws), spec.mean, spec.std, strict=False)]
        strange = dict.fromkeys(what for law in told for what in beyond(law))
        return [
            f"the noise is not of a kind that the packaged weights know ({what}): they are trained for it here; give "
            f"that minutes, and look at the result with care"
            for what in strange
        ]  # fmt: skip

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        own = self.own if self.taught_by_the_image(net) else 0.0
        if batch.held_out:
            return self.taught_by_itself(net, batch) if own else self.taught_by_scenes(net, batch)
        few = -(-len(batch.noisy) // BESIDE) if own and self.starts_from_prior else len(batch.noisy)
        lessons = [
            *([self.drawn * self.taught_by_scenes(net, some(batch, slice(few)))] if self.drawn else []),
            *([own * self.taught_by_itself(net, batch)] if own else []),
        ]
        return sum(lessons, batch.noisy.new_zeros(()))

    def taught(self, net: Standardized) -> bool:
        """Whether anything teaches."""
        return self.drawn > 0 or self.taught_by_the_image(net)

    def taught_by_the_image(self, net: Standardized) -> bool:
        """Whether the image teaches beside scenes: each pixel must have its noise for itself."""
        shared = correlated_offsets(cast(tuple[Noise, ...], tuple(net.laws)), net.dims)
        between_slices = any(any(offset[:-2]) for offset in shared)
        return self.own > 0 and self.told(net, 1).white and not between_slices

    def taught_by_scenes(self, net: Standardized, batch: Batch) -> Tensor:
        """Squared error and likelihood against drawn scenes, in units of the noise; held out: the error alone.

        A patch's error counts over its root, as in the training of the packaged weights: flat scenes count too.
        """
        usable = flat(batch.teach)
        seen = usable.flatten(1).any(1).reshape(-1, *[1] * (usable.ndim - 1)).expand_as(usable)
        squared, likelihood = learned(net, *self.exposed(net, batch))
        hard = hardness(squared)
        if batch.held_out:
            return masked_mean(hard.expand_as(squared), seen)
        return masked_mean(hard.mean() * squared / hard + WIDTH_WEIGHT * likelihood, seen)

    def taught_by_itself(self, net: Standardized, batch: Batch) -> Tensor:
        """Squared error of the image's rest against shares of it, and by blind spots, in units of the noise."""
        half = len(batch.noisy) // 2
        if batch.held_out or half == 0:
            return self.taught_by_shares(net, batch)
        blind, part = self.taught_by_blind_spots(net, some(batch, slice(half)))
        return (1 - part / 2) * self.taught_by_shares(net, some(batch, slice(half, None))) + part / 2 * blind

    def taught_by_blind_spots(self, net: Standardized, batch: Batch) -> tuple[Tensor, Tensor]:
        """Squared error of pixels that were not seen, where they tell little of themselves; and how many do (0 to 1).

        A pixel moves its own estimate by ∂f/∂x = Var[s|x] / v, v the variance of the noise (Miyasawa 1961): where that
        is little, hardly more is known with it than without it. So it is a target, and the image loses no light.
        """
        law = self.told(net, len(batch.noisy))
        noisy, blind = flat(batch.noisy.float()), some_of(flat(batch.teach), BLIND, batch.generator)
        mean, width = moments(net, hide(noisy, blind, "mean", 1, batch.generator), law)
        little = blind & (width.detach() ** 2 < LITTLE)
        error = (mean - noisy) ** 2 / law.stabilizer.variance(mean.detach())
        return masked_mean(error, little), little.sum() / blind.sum().clamp(min=1)

    def taught_by_shares(self, net: Standardized, batch: Batch) -> Tensor:
        """Squared error of the image's rest against the share that was taken out, in units of the noise."""
        law = self.told(net, len(batch.noisy))
        parts = [
            split(cast(Noise, net.law(c)), x, self.share, net.about(c), batch.generator)
            for c, x in enumerate(batch.noisy.float().chunk(batch.noisy.shape[1], 1))
        ]
        left, target = (flat(torch.cat(part, 1)) for part in zip(*parts, strict=True))
        mean, _ = moments(net, left, law.thinned(self.share))
        # What is compared with other networks must not count less where this one thinks it bright.
        bright = neighbour_mean(left) if batch.held_out else mean.detach()
        return masked_mean((mean - target) ** 2 / law.stabilizer.variance(bright), flat(batch.teach))

    def exposed(self, net: Standardized, batch: Batch) -> tuple[Tensor, Tensor, Description]:
        """Noisy images of drawn scenes, the scenes, both (N·C, 1, *S), and the law."""
        signal = self.scenes_like(net, batch)
        noisy = [
            cast(Noise, net.law(c)).sample(s, batch.generator) for c, s in enumerate(signal.chunk(signal.shape[1], 1))
        ]
        return flat(torch.cat(noisy, 1)), flat(signal), self.told(net, len(signal))

    def scenes_like(self, net: Standardized, batch: Batch) -> Tensor:
        """Scenes (N, C, *S); drawn ones are as bright as the image here and there."""
        scenes = []
        for channel, x in enumerate(batch.noisy.float().chunk(batch.noisy.shape[1], 1)):
            scene = patches(self.scenes, x.shape[2:], len(x), batch.generator).to(x)
            if is_drawn(self.scenes):
                law = cast(Noise, net.law(channel))
                low, high = brightness(x, law, batch.generator, batch.background[channel] if batch.background else None)
                # How far a signal is beyond what can be recorded, no image tells.
                scene = law.digital.clipped(low + (high - low) * scene)
            scenes.append(scene)
        return torch.cat(scenes, 1)

    def posterior(self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        law = self.told(net, len(noisy))
        mean, width = moments(net, flat(noisy.float()), law)
        std = width * law.stabilizer.variance(mean).sqrt()
        return Normal(net.unfold(mean), net.unfold(std))

    def told(self, net: Standardized, copies: int) -> Description:
        """The laws of the channels of so many images, for images (N·C, 1, *S)."""
        laws = [describe(cast(Noise, net.law(channel)), *net.about(channel)) for channel in range(len(net.mean))]
        return stack(laws, copies).of_dims(net.dims)


def some(batch: Batch, which: slice) -> Batch:
    """Some patches of a batch; enough for lessons that do not need their coordinates."""
    return replace(batch, noisy=batch.noisy[which], teach=batch.teach[which], coordinates=None)


@lru_cache
def prior_weights(dims: int) -> dict[str, Tensor]:
    """The packaged weights; for images with three axes, those of a network that takes each slice for itself."""
    weights = {name: tensor.float() for name, tensor in read_container(PRIOR, "prior")[1].items()}
    return weights if dims == 2 else {name: between_slices(tensor) for name, tensor in weights.items()}


def between_slices(weight: Tensor) -> Tensor:
    """A kernel (O, I, Y, X) as one of (O, I, Z, Y, X) that sees one slice alone."""
    if weight.ndim < 4:
        return weight
    if weight.shape[-1] != 3:  # pools and the tail do not reach beyond a slice
        return weight[:, :, None]
    return F.pad(weight[:, :, None], (0, 0, 0, 0, 1, 1))


def save_prior(path: Path, backbone: nn.Module, record: dict[str, Any]) -> None:
    """Keep weights as a prior, two bytes each, with a record of how they came about."""
    weights = {name: tensor.half() for name, tensor in backbone.state_dict().items()}
    write_container(path, "prior", {"record": record}, weights)


def beyond(law: Description) -> list[str]:
    """What of a law lies outside of those that the prior was trained on (`benchmarks/prior.py`)."""
    step, *rho, rows, columns = law.features[0, 1:].tolist()
    photons = law.stabilizer.variance(law.stabilizer.mean) / law.stabilizer.slope.clamp(min=1e-12) ** 2
    far = [r for r, (y, x) in zip(rho, LAGS, strict=True) if max(y, x) == 2]
    found = [
        (step > COARSEST, f"steps of {step:.2g} standard deviations between values"),
        (max(map(abs, far)) > FARTHEST, f"a correlation of {max(far, key=abs):.2f} over two pixels"),
        (min(rho) < OPPOSED, f"neighbours that are opposed to each other, {min(rho):.2f}"),
        (max(rows, columns) > UNEVEN, f"rows or columns with offsets of {max(rows, columns):.2g} standard deviations"),
        (float(photons) < DARKEST, f"{float(photons):.2g} photons in a pixel of mean brightness"),
    ]
    return [what for outside, what in found if outside]


def flat(images: Tensor) -> Tensor:
    """Every channel an image of its own: (N, C, *S) -> (N·C, 1, *S)."""
    return images.reshape(-1, 1, *images.shape[2:])


def moments(net: Standardized, noisy: Tensor, law: Description) -> tuple[Tensor, Tensor]:
    """Mean (ADU) and standard deviation (in those of the noise) of images (N·C, 1, *S)."""
    maps = law.maps(noisy)
    stable = maps[:, :1].clone()
    maps[:, :1] *= INPUT_SCALE
    correction, width = map(flat, net.maps(net.backbone(maps.reshape(-1, net.width, *noisy.shape[2:]))))
    return law.stabilizer.inverse(stable - correction), F.softplus(width) + NARROWEST


def learned(net: Standardized, noisy: Tensor, signal: Tensor, law: Description) -> tuple[Tensor, Tensor]:
    """Of each pixel of signals and their noisy images: squared error, in units of the noise, and the width's score."""
    mean, width = moments(net, noisy, law)
    error = (mean - signal) / law.stabilizer.variance(mean.detach()).sqrt()
    likelihood = 0.5 * (error.detach() / width) ** 2 + width.log()
    return error**2, likelihood


def hardness(squared: Tensor) -> Tensor:
    """Root of each patch's mean squared error, (N, 1, ...), held fixed."""
    mean = squared.detach().mean(tuple(range(1, squared.ndim)), keepdim=True)
    return (mean + EASIEST).sqrt()


def brightness(
    noisy: Tensor, law: Noise, generator: torch.Generator, background: tuple[float, float] | None = None
) -> tuple[Tensor, Tensor]:
    """Dark and bright level of each drawn scene, (N, 1, ...): those of a patch each, with some play.

    A patch is smoothed, and then of too much contrast by the noise that is left in it: c² = 1 − Var[noise] / Var[x].
    Where the background is even, but for noise, and the patch as dark, the scene is so too: what all images have in
    common teaches to tell lines, which brighten and darken patches as a whole.
    """
    smooth = neighbour_mean(noisy)
    noise = neighbour_mean(law.sample(smooth, generator) - smooth).flatten(1)
    values = smooth.flatten(1).sort(dim=1).values
    middle = values.mean(1, keepdim=True)
    left = 1 - noise.var(1, keepdim=True) / values.var(1, keepdim=True).clamp(min=TINY)
    values = middle + left.clamp(min=0).sqrt() * (values - middle)
    lots = torch.rand((2, len(noisy)), generator=generator).to(noisy)
    ranks = torch.stack([0.2 * lots[0], 1 - 0.2 * lots[1] ** 2], 1) * (values.shape[1] - 1)
    low, high = values.gather(1, ranks.long()).T.reshape(2, -1, *[1] * (noisy.ndim - 1))
    play = torch.exp(CONTRAST * torch.randn(len(noisy), generator=generator)).to(noisy)
    if background is not None:
        level, width = background
        spread = spread_of_means(law, level, noisy.shape[2:], noisy.device)
        alike = (low < level + ALIKE * spread) & (low > level - ALIKE * noise.std())
        low = torch.where(alike & (width < EVEN * spread), level, low)
        high = high.maximum(low)
    return low, low + (high - low) * play.reshape(low.shape)


@lru_cache(maxsize=16)
def spread_of_means(law: Noise, signal: float, patch: torch.Size, device: torch.device) -> float:
    """Standard deviation of the means of patches of an even signal, ADU."""
    even = torch.full((MEANS, 1, *patch), signal, device=device)
    return float(law.sample(even, torch.Generator(device).manual_seed(0)).flatten(1).mean(1).std())
