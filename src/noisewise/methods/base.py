"""What a method is: a frozen dataclass of settings with `build`, `loss`, `posterior`, `sampler` and `traits`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from noisewise.axes import Symmetry
from noisewise.nets.standardized import Standardized
from noisewise.nets.unet import UNet, pooling_plan
from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import interpolate
from noisewise.posterior import MEAN_ALONE, Point, Posterior

POOLS: dict[str, Literal["max", "blur", "max_linear", "blur_linear"]] = {
    "classic": "max", "n2v2": "blur", "careamics": "max_linear", "careamics_n2v2": "blur_linear"
}  # fmt: skip
KNOTS = 16  # signals at which the share of the noisy pixel that is kept is known

Needs = Literal["noisy", "pairs", "clean"]
NoiseUse = Literal["none", "pixel", "correlated"]


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """Properties of the images that a network is built for.

    spatial: `YX`, `ZYX` or `TYX`. channels: number of channels. spacing: relative pixel size along each spatial axis.
    size: of the smallest training image, pixels. mean, std: of the noisy images, one number per channel, image units;
    target_mean, target_std: of the targets, likewise.
    """

    spatial: str
    channels: int
    spacing: tuple[float, ...]
    size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target_mean: tuple[float, ...]
    target_std: tuple[float, ...]

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.spatial)


@dataclass
class Batch:
    """Training patches, all of shape (N, C, *patch), in image units.

    noisy: the noisy image.
    valid: mask of the pixels that may be scored (finite, not saturated, not held out).
    target: the second image, for methods that need one.
    held_out: True for the fixed validation batch, in which exactly the `valid` pixels are scored.
    generator: random generator of this step.
    coordinates: (N, dims, *patch), of each pixel in its whole image.
    progress: fraction of the training that is done, 0 to 1; zero while its length is not known.
    background: for each channel, the most common brightness and the width of an interval around it that holds a quarter
    of the patches (image units); None where there is none.
    """

    noisy: Tensor
    valid: Tensor
    generator: torch.Generator
    target: Tensor | None = None
    held_out: bool = False
    coordinates: Tensor | None = None
    progress: float = 1.0
    background: tuple[tuple[float, float] | None, ...] = ()


def full_symmetry(noise_models: Sequence[Noise], dims: int) -> Symmetry:  # noqa: ARG001
    """All flips and rotations."""
    return Symmetry()


def noise_symmetry(noise_models: Sequence[Noise], dims: int) -> Symmetry:  # noqa: ARG001
    """The symmetry of the noise."""
    no_flip = "".join(axis for axis in "YX" if any(axis in model.no_flip_axes for model in noise_models))
    return Symmetry(not any(model.anisotropic for model in noise_models), no_flip)


def no_halo(noise_models: Sequence[Noise], dims: int) -> tuple[int, ...]:  # noqa: ARG001
    """No pixels."""
    return (0,) * dims


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a method with these settings needs, removes and gives.

    needs: `noisy` images alone, `pairs` of noisy images, or `clean` targets.
    removes: the kinds of noise it removes, as a check-up names them.
    noise: the noise model that `build` wants: `none`, that of single `pixel`s, or the `correlated` one.
    counts_only: whether it is for photon counts and nothing else.
    std, samples: whether the posterior has a standard deviation; whether whole images can be sampled from it.
    mean_from_samples: whether the posterior mean is computed from samples.
    pretrained: whether the network that gives the mean starts from packaged weights.
    usable_untrained: whether everything that the method gives is there before any training.
    by_position: whether the result of a pixel depends on where in the image it is.
    neighbours: whether the network sees single planes, and those before and behind them along one axis.
    patches_per_step: default batch size in 2D and in 3D.
    sampling_passes: how many times in succession a sample goes through the network.
    symmetry: (noise models, dims) -> the flips and rotations that training and averaging may use.
    halo: (noise models, dims) -> pixels beyond the receptive field of the network that a posterior depends on, by axis.
    """

    needs: Needs = "noisy"
    removes: tuple[str, ...] = ("white",)
    noise: NoiseUse = "none"
    counts_only: bool = False
    std: bool = False
    samples: bool = False
    mean_from_samples: bool = False
    pretrained: bool = False
    usable_untrained: bool = False
    by_position: bool = False
    neighbours: bool = False
    patches_per_step: tuple[int, int] = (8, 2)
    sampling_passes: int = 1
    symmetry: Callable[[Sequence[Noise], int], Symmetry] = full_symmetry
    halo: Callable[[Sequence[Noise], int], tuple[int, ...]] = no_halo

    @property
    def changes_nothing(self) -> bool:
        """Whether the result is the image itself."""
        return self.removes == ("none",)


class Denoiser(Standardized):
    """What `Method.build` returns: a standardized network, the noise models of its channels, and all other state.

    backbone: the network, in normalised units. spec: the images that it is for. noise_models: none, one for all
    channels, or one per channel. independent: whether the backbone sees one channel at a time. inputs, heads: feature
    maps that the backbone takes and returns per channel. std_scale: factor on predicted standard deviations,
    (C, 1, ...), found after training. kept_level, kept_share: levels (C, K), ADU, and the share of the noisy pixel
    that a result keeps at each, found after training. spread: of samples that add light, (C, 1, ...), found after
    training; 0: not known. warnings: where the method does not suit such images, and what to do. no_light: the signal
    without light (C, 1, ...), of which no image has less, for photon counts; or None. pretrained_part: submodule whose
    parameters are pretrained, and trained at a reduced learning rate; or "".
    """

    std_scale: Tensor
    kept_level: Tensor
    kept_share: Tensor
    spread: Tensor

    def __init__(
        self, backbone: nn.Module, spec: ImageSpec, noise_models: Sequence[Noise] = (), *, independent: bool = True,
        inputs: int = 1, heads: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(
            backbone, spec.dims, spec.mean, spec.std, spec.target_mean, spec.target_std, independent, inputs, heads
        )
        self.noise_models = nn.ModuleList(noise_models)
        self.register_buffer("std_scale", self.per_channel([1.0] * spec.channels))
        self.register_buffer("kept_level", torch.zeros(spec.channels, KNOTS))
        self.register_buffer("kept_share", torch.zeros(spec.channels, KNOTS))
        self.register_buffer("spread", self.per_channel([0.0] * spec.channels))
        self.warnings: list[str] = []
        self.no_light: Tensor | None = None
        self.pretrained_part = ""

    @property
    def noise(self) -> tuple[Noise, ...]:
        """The noise models that the method was given."""
        return tuple(cast(Noise, model) for model in self.noise_models)

    def noise_model(self, channel: int) -> Noise:
        """The noise model of a channel."""
        return cast(Noise, self.noise_models[min(channel, len(self.noise_models) - 1)])

    def keep_noisy(self, channel: int, levels: Tensor, shares: Tensor) -> None:
        """Set the share of the noisy pixel that a channel's result keeps at some levels, from dark to bright.

        Levels between equal shares are not needed. Of more than `KNOTS`, the bright ones are kept: below, it is 0.
        """
        between = torch.zeros(len(shares), dtype=torch.bool)
        between[1:-1] = (shares[1:-1] == shares[:-2]) & (shares[1:-1] == shares[2:])
        levels, shares = levels[~between][-KNOTS:], shares[~between][-KNOTS:].clone()
        if int((~between).sum()) > KNOTS:
            shares[0] = 0.0
        positions = torch.arange(KNOTS).clamp(max=len(levels) - 1)
        self.kept_level[channel], self.kept_share[channel] = levels[positions], shares[positions]

    @property
    def keeps_noisy(self) -> bool:
        """Whether results keep a share of the noisy pixel anywhere."""
        return bool(self.kept_share.any())

    def kept_of(self, level: Tensor) -> Tensor:
        """The share of the noisy pixel to be kept where images (N, C, *S) have these levels."""
        parts = zip(level.unbind(1), self.kept_level, self.kept_share[..., None], strict=True)
        return torch.stack([interpolate(*part)[..., 0] for part in parts], 1)

    @property
    def sampled(self) -> nn.Module:
        """The part of the network that samples go through."""
        part: nn.Module = getattr(self.backbone, "sampled", self.backbone)
        return part

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Pretrained parameters, which are trained at a reduced learning rate."""
        return list(self.get_submodule(self.pretrained_part).parameters()) if self.pretrained_part else []

    @property
    def collapsed(self) -> bool:
        """Whether latent variables carry no information about the image after training (a collapsed posterior)."""
        return bool(getattr(self.backbone, "collapsed", False))


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """The settings that all methods share; a method adds its own and defines `loss`."""

    network: Literal["fast", "large", "classic", "n2v2", "careamics", "careamics_n2v2"] = "fast"
    """fast: residual U-Net behind a 2x2 space-to-depth stem; large: the same with ten times the weights; classic: the
    U-Net of N2V; n2v2: blur-pool and no top skip; careamics, careamics_n2v2: those of CAREamics"""
    features: Annotated[int, Interval(ge=0, le=1024)] = 0
    """feature maps at the finest level (0: the network's own default)"""
    depth: Annotated[int, Interval(ge=0, le=6)] = 0
    """number of poolings (0: the network's own default)"""
    joint_channels: bool = False
    """let the network see all channels at once instead of one at a time"""
    spatial: Literal["auto", "YX", "ZYX", "TYX"] = "auto"
    """axes that the network sees together (auto: ZYX for three slices or more)"""
    patch_size: Annotated[int, Interval(ge=8, le=4096)] = 64
    """pixels along Y and X of a training patch (along Z or T: up to 16, or 5 where neighbours are seen)"""
    batch_size: Annotated[int, Interval(ge=0, le=4096)] = 0
    """patches per step (0: what suits the method, 4 or 8 in 2D, 2 in 3D)"""
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 2e-3
    """peak of the schedule (AdamW, short warm-up, cosine to zero)"""
    default_steps: Annotated[int, Ge(1)] = 2000
    """training steps when neither a budget nor a number of steps is given"""

    @property
    def traits(self) -> Traits:
        """What the method needs, removes and gives with these settings."""
        return Traits()

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        """A new network for such images, with its normalisation and noise models.

        spec: the images that the network is for. noise_models: none, one for all channels, or one per channel.

        Errors: `ValueError` without noise models for a method that uses them.
        """
        return build_denoiser(self, spec, noise_models)

    @abstractmethod
    def loss(self, net: Any, batch: Batch) -> Tensor:
        """The training loss of a batch: a scalar, in normalised units.

        net: what `build` returned. batch: training patches; of a held-out batch the loss is the validation loss.
        """

    def posterior(self, net: Any, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        """p(s|x) for images (N, C, *spatial), image units.

        net: what `build` returned, trained. noisy: the images; mean and standard deviation have their shape.
        coordinates: (N, dims, *spatial), of each pixel in its whole image, for methods whose result would otherwise
        depend on where a tile begins; None: those of whole images.
        """
        return Point(net(noisy))

    def sampler(
        self, net: Any, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0,  # noqa: ARG002
    ) -> Callable[[Sequence[int]], Tensor]:  # fmt: skip
        """Samples of p(s|x) for images (N, C, *spatial), image units: sample numbers -> (numbers, N, C, *spatial).

        net, noisy, coordinates: as for `posterior`. seed: of the random numbers.

        What depends on the image alone is computed once. A sample is a function of its number, the seed and the
        coordinates, whatever tile it is computed in.

        Errors: `ValueError` where the method gives no samples.
        """
        raise ValueError(MEAN_ALONE.format("samples"))

    def fit_samples(self, net: Any, patches: Tensor) -> None:  # noqa: B027
        """Set what samples need to know of a network that was trained. Called once, with noisy patches (N, C, *S)."""


def build_denoiser(
    method: Method, spec: ImageSpec, noise_models: Sequence[Noise] = (), *, inputs: int = 1, heads: int = 1
) -> Denoiser:  # fmt: skip
    """The U-Net of a method's settings in a `Denoiser`.

    inputs, heads: feature maps taken and returned for each channel.

    Errors: `ValueError` without noise models for a method that uses them.
    """
    if method.traits.noise != "none" and not noise_models:
        raise ValueError(f"{type(method).__name__} is built with a noise model")
    channels = spec.channels if method.joint_channels else 1
    backbone = make_unet(method, spec, channels * inputs, channels * heads)
    return Denoiser(backbone, spec, noise_models, independent=not method.joint_channels, inputs=inputs, heads=heads)


def make_unet(method: Method, spec: ImageSpec, in_channels: int, out_channels: int) -> UNet:
    """The U-Net that a method's settings describe, in normalised units."""
    if method.network in ("fast", "large"):
        plan = pooling_plan(spec.spacing, spec.size, 1 + (method.depth or 2))
        large = method.network == "large"
        return UNet(
            in_channels, out_channels, stem=plan[0], pools=plan[1:], features=method.features or (64 if large else 32),
            growth=1.25 if large else 1.0, blocks=2 if large else 1, pool="conv", merge="add",
        )  # fmt: skip
    pools = pooling_plan(spec.spacing, spec.size, method.depth or 2)
    blur, pool = method.network.endswith("n2v2"), POOLS[method.network]
    return UNet(
        in_channels, out_channels, pools=pools, features=method.features or 32, pool=pool, top_skip=not blur,
    )  # fmt: skip
