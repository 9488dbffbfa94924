"""What `simulated`, `divnoising` and `hdn` share: a network with packaged weights, taught by drawn scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.container import read_container, write_container
from noisewise.methods.base import Batch, ImageSpec, Method, Needs, masked_mean
from noisewise.nets.blind import hide, some_of
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.description import FEATURES, LAGS, Description, describe, stack
from noisewise.noise.splitting import neighbour_mean
from noisewise.posterior import Normal, Posterior
from noisewise.scenes.pool import is_drawn, patches

PRIOR = Path(__file__).with_name("simulated.safetensors")
INPUT_SCALE = 0.25  # of the stabilised image, whose noise has unit variance, at the network's door
REFINING = 0.25  # of the learning rate, for weights that have learned before
NARROWEST = 1e-3  # standard deviation, in those of the noise
WIDTH_WEIGHT = 0.1  # of the standard deviation's likelihood beside the squared error of the mean
FAR_APART = 1e6  # pixel sizes between slices
BESIDE = 3  # patches of the image to one of a scene: enough not to forget the scenes
BLIND = 11.0  # percent of the image's pixels that are hidden at a time
COARSEST, FARTHEST, OPPOSED, UNEVEN = 3.0, 0.75, -0.4, 3.0  # of laws that the prior has seen, with some room
DARKEST = 0.4  # photons, the 3/8 of the transform included
CONTRAST = 0.5  # by how much (log) a drawn scene may be of more or less contrast than the image


@dataclass(frozen=True, kw_only=True)
class SceneTaught(Method):
    """A network that is told the law of the noise, and learns from drawn scenes s seen through it: f(x) = E[s | x].

    Let T be the transform under which the noise has unit variance, v the variance itself. The network corrects T(x),
    f(x) = T⁻¹(T(x) − g(x)), and is told the law: how few the photons are, read noise, rounding, correlation, rows.
    loss = mean (f(x) − s)² / v(f(x)) with the weight held fixed, so that the least is at E[s | x] in image units.
    A second map σ(x) is fitted to what remains, as in `care`.

    Where each pixel has its noise for itself, the image teaches too, by blind spots, as in `n2v`.

    Sources: Achddou et al. 2021 (drawn scenes); Mäkitalo and Foi 2011 (transforms and their inverses); for σ Nix and
    Weigend 1994; Krull et al. 2019 (blind spots).
    """

    needs: ClassVar[Needs] = "noisy"
    uses_noise: ClassVar[bool] = True
    uses_correlation: ClassVar[bool] = True
    usual_batch: ClassVar[dict[int, int]] = {2: 4, 3: 2}

    network: Literal["fast", "large", "classic", "n2v2"] = "large"
    spatial: Literal["auto", "YX", "ZYX"] = "YX"
    """axes that the network sees together; the packaged weights know single planes"""
    batch_size: Annotated[int, Interval(ge=0, le=4096)] = 0
    """patches a step (0: 4 in 2D, 2 in 3D)"""
    prior: bool = True
    """start from the packaged weights, where they fit the network"""
    scenes: str = "mixed"
    """what is drawn: mixed, one kind of scene, or a file of clean images in the units of the noisy ones"""
    own: Annotated[float, Interval(ge=0, le=100)] = 2.0
    """weight of what the image itself teaches beside the drawn scenes (0: nothing)"""

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
        if self.fits_prior:
            net.backbone.load_state_dict(prior_weights(spec.dims))
        return net

    @property
    def fits_prior(self) -> bool:
        """Whether the network is of the kind that the packaged weights are for."""
        own = self.network == "large" and not (self.features or self.depth or self.joint_channels)
        return self.prior and own and PRIOR.exists()

    @property
    def peak_rate(self) -> float:
        return self.learning_rate * (REFINING if self.fits_prior else 1.0)

    def backbone(self, spec: ImageSpec, channels: int) -> nn.Module:
        if spec.dims == 3 and self.fits_prior:  # slices are not pooled: the prior is for one at a time
            spec = replace(spec, spacing=(FAR_APART, *spec.spacing[1:]))
        return super().backbone(spec, channels)

    def caveats(self, spec: ImageSpec, laws: Sequence[Noise]) -> list[str]:
        """Laws beyond those that the packaged weights were trained for."""
        if not self.fits_prior:
            return []
        told = [describe(law, mean, std) for law, mean, std in zip(cycle(laws), spec.mean, spec.std, strict=False)]
        strange = dict.fromkeys(what for law in told for what in beyond(law))
        return [
            f"the noise is not of a kind that the packaged weights know ({what}): they are trained for it here; give "
            f"that minutes, and look at the result with care"
            for what in strange
        ]  # fmt: skip

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        if not (self.own and self.told(net, 1).white):
            return self.taught_by_scenes(net, batch)
        if batch.held_out:
            return self.taught_by_itself(net, batch)
        few = -(-len(batch.noisy) // BESIDE) if self.fits_prior else len(batch.noisy)
        part = replace(batch, noisy=batch.noisy[:few], teach=batch.teach[:few])
        return self.taught_by_scenes(net, part) + self.own * self.taught_by_itself(net, batch)

    def taught_by_scenes(self, net: Standardized, batch: Batch) -> Tensor:
        """Squared error and likelihood against drawn scenes, in units of the noise; held out: the error alone."""
        usable = flat(batch.teach)
        seen = usable.flatten(1).any(1).reshape(-1, *[1] * (usable.ndim - 1)).expand_as(usable)
        noisy, signal = self.exposed(net, batch)
        squared, likelihood = learned(net, noisy, signal, self.told(net, len(batch.noisy)))
        return masked_mean(squared if batch.held_out else squared + WIDTH_WEIGHT * likelihood, seen)

    def taught_by_itself(self, net: Standardized, batch: Batch) -> Tensor:
        """Squared error at the blind spots of the image, in units of the noise."""
        law, x, usable = self.told(net, len(batch.noisy)), flat(batch.noisy.float()), flat(batch.teach)
        blind = usable if batch.held_out else some_of(usable, BLIND, batch.generator)
        hidden = hide(x, blind, "mean", 1, batch.generator)
        mean, _ = moments(net, hidden, law)
        # What is compared with other networks must not count less where this one thinks it bright.
        bright = neighbour_mean(hidden) if batch.held_out else mean.detach()
        return masked_mean((mean - x) ** 2 / law.stabilizer.variance(bright), blind)

    def exposed(self, net: Standardized, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scenes, drawn ones as bright as the image here and there, and their noisy images; both (N·C, 1, *S)."""
        noisy, signal = [], []
        for channel, x in enumerate(batch.noisy.float().chunk(batch.noisy.shape[1], 1)):
            law = cast(Noise, net.law(channel))
            scene = patches(self.scenes, x.shape[2:], len(x), batch.generator).to(x)
            if is_drawn(self.scenes):
                low, high = brightness(x, batch.generator)
                # How far a signal is beyond what can be recorded, no image tells.
                scene = law.digital.clipped(low + (high - low) * scene)
            signal.append(scene)
            noisy.append(law.sample(scene, batch.generator))
        return flat(torch.cat(noisy, 1)), flat(torch.cat(signal, 1))

    def posterior(self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        law = self.told(net, len(noisy))
        mean, width = moments(net, flat(noisy.float()), law)
        std = width * law.stabilizer.variance(mean).sqrt()
        return Normal(net.unfold(mean), net.unfold(std))

    def told(self, net: Standardized, copies: int) -> Description:
        """The laws of the channels of so many images, for images (N·C, 1, *S)."""
        laws = [describe(cast(Noise, net.law(channel)), *net.about(channel)) for channel in range(len(net.mean))]
        return stack(laws, copies).of_dims(net.dims)


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


def brightness(noisy: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Dark and bright level of each drawn scene, (N, 1, ...): of the image, smoothed, with some play."""
    values = neighbour_mean(noisy).flatten().sort().values
    lots = torch.rand((2, len(noisy)), generator=generator).to(noisy)
    ranks = torch.stack([0.2 * lots[0], 1 - 0.2 * lots[1] ** 2]) * (len(values) - 1)
    low, high = values[ranks.long()].reshape(2, -1, *[1] * (noisy.ndim - 1))
    play = torch.exp(CONTRAST * torch.randn(len(noisy), generator=generator)).to(noisy)
    return low, low + (high - low) * play.reshape(low.shape)
