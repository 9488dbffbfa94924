"""What a method is: a frozen dataclass of settings with `build`, `loss` and `posterior`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from noisewise.nets.standardized import Standardized
from noisewise.nets.unet import UNet, pooling_plan
from noisewise.noise.base import Noise
from noisewise.posterior import Point, Posterior

Needs = Literal["noisy", "pairs", "clean"]


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What a network must know of the images it is for.

    spatial: `YX` or `ZYX`. spacing: relative pixel size of each spatial axis. size: of the smallest training image.
    mean, std, target_mean, target_std: one number a channel, in the image's units.
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
    """Patches to learn from, all of shape (N, C, *patch), in image units.

    teach: True where a pixel may be scored (finite, not saturated, not held out).
    target: the second image, for methods that need one.
    held_out: True for the fixed validation batch, in which exactly the `teach` pixels are scored.
    generator: the source of this step's randomness.
    coordinates: (N, dims, *patch), of each pixel in its whole image.
    progress: how much of the training is over, 0 to 1; zero while its length is not known.
    background: a channel, the brightness that most patches have, and its spread; None where there is none.
    """

    noisy: Tensor
    teach: Tensor
    generator: torch.Generator
    target: Tensor | None = None
    held_out: bool = False
    coordinates: Tensor | None = None
    progress: float = 1.0
    background: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """The settings that all methods share; a method adds its own, and what it does with them."""

    needs: ClassVar[Needs]
    uses_noise: ClassVar[bool] = False
    """whether `build` wants the law of the noise; it is measured where the user gives none"""
    uses_correlation: ClassVar[bool] = False
    """whether it asks the law how the noise of neighbouring pixels goes together"""
    counts_only: ClassVar[bool] = False
    """whether it is for pixels that count photons, and no others"""
    usual_batch: ClassVar[dict[int, int]] = {2: 8, 3: 2}
    """patches a step, by the number of spatial dimensions"""

    network: Literal["fast", "large", "classic", "n2v2"] = "fast"
    """fast: residual U-Net behind a 2x2 stem; large: the same with ten times the weights; classic: the N2V U-Net;
    n2v2: blur-pool and no top skip"""
    features: Annotated[int, Interval(ge=0, le=1024)] = 0
    """features of the finest level (0: the network's own default)"""
    depth: Annotated[int, Interval(ge=0, le=6)] = 0
    """number of poolings (0: the network's own default)"""
    joint_channels: bool = False
    """let the network see all channels at once, instead of one at a time"""
    spatial: Literal["auto", "YX", "ZYX"] = "auto"
    """axes that the network sees together (auto: ZYX for three slices or more)"""
    patch_size: Annotated[int, Interval(ge=8, le=4096)] = 64
    """pixels along Y and X of a training patch (Z: up to 16 slices)"""
    batch_size: Annotated[int, Interval(ge=0, le=4096)] = 0
    """patches a step (0: as many as suit the method, 4 or 8 in 2D, 2 in 3D)"""
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 2e-3
    """peak of the schedule (AdamW, short warm-up, cosine to zero)"""
    default_steps: Annotated[int, Ge(1)] = 2000
    """training steps when neither a budget nor a number of steps is given"""

    def patch_shape(self, dims: int) -> tuple[int, ...]:
        """Spatial size of a training patch."""
        return (16, self.patch_size, self.patch_size)[-dims:]

    def patches_per_step(self, dims: int) -> int:
        """The batch size."""
        return self.batch_size or self.usual_batch[dims]

    @property
    def removes(self) -> tuple[str, ...]:
        """Which kinds of noise, as a check-up calls them."""
        return ("white",)

    @property
    def wants_noise(self) -> bool:
        """Whether these settings make use of the law of the noise."""
        return self.uses_noise

    @property
    def gives_std(self) -> bool:
        """Whether the posterior has a standard deviation."""
        return False

    @property
    def gives_samples(self) -> bool:
        """Whether whole images can be drawn from the posterior."""
        return False

    @property
    def made_of_samples(self) -> bool:
        """Whether the posterior's mean is that of samples, and so goes where they go."""
        return False

    @property
    def starts_from_prior(self) -> bool:
        """Whether the network that gives the mean has learned before."""
        return False

    @property
    def ready_as_built(self) -> bool:
        """Whether all that the method gives is there before any training."""
        return False

    def learned_before(self, net: Any) -> list[nn.Parameter]:  # noqa: ARG002
        """Weights that come from a training elsewhere, and are not to forget it."""
        return []

    @property
    def inputs(self) -> int:
        """Maps that the network takes for each channel."""
        return 1

    @property
    def heads(self) -> int:
        """Maps that the network puts out for each channel."""
        return 1

    def directional(self, laws: Sequence[Noise], dims: int) -> bool:  # noqa: ARG002
        """Whether Y and X differ for this method, so that images may be mirrored but not turned."""
        return False

    def one_way(self, laws: Sequence[Noise]) -> str:  # noqa: ARG002
        """Axes (Y, X) along which an image is another one when mirrored, to this method."""
        return ""

    def margin(self, laws: Sequence[Noise], dims: int) -> int:  # noqa: ARG002
        """Pixels beyond the network's receptive field that a posterior depends on."""
        return 0

    def build(self, spec: ImageSpec, laws: Sequence[Noise] = ()) -> Standardized:
        """A fresh network with normalisation and laws of noise inside, for images like these.

        laws: none, one for all channels, or one a channel.

        Errors: `ValueError` without laws for a method that wants them.
        """
        if self.wants_noise and not laws:
            raise ValueError(f"{type(self).__name__} is built with a law of the noise")
        channels = spec.channels if self.joint_channels else 1
        return Standardized(
            self.backbone(spec, channels), spec.dims, spec.mean, spec.std, spec.target_mean, spec.target_std,
            independent=not self.joint_channels, inputs=self.inputs, heads=self.heads, laws=laws,
        )  # fmt: skip

    def backbone(self, spec: ImageSpec, channels: int) -> nn.Module:
        """The network itself, in normalised units."""
        taken, given = channels * self.inputs, channels * self.heads
        if self.network in ("fast", "large"):
            plan = pooling_plan(spec.spacing, spec.size, 1 + (self.depth or 2))
            large = self.network == "large"
            return UNet(
                taken, given, stem=plan[0], pools=plan[1:], features=self.features or (64 if large else 32),
                growth=1.25 if large else 1.0, block="residual", blocks=2 if large else 1, norm=False, pool="conv",
                merge="add",
            )  # fmt: skip
        pools = pooling_plan(spec.spacing, spec.size, self.depth or 2)
        blur = self.network == "n2v2"
        return UNet(
            taken, given, pools=pools, features=self.features or 32,
            pool="blur" if blur else "max", top_skip=not blur,
        )  # fmt: skip

    def caveats(self, spec: ImageSpec, laws: Sequence[Noise]) -> list[str]:  # noqa: ARG002
        """Sentences that warn where the method does not suit images of this kind, and say what does."""
        return []

    def remarks(self, net: Any) -> list[str]:  # noqa: ARG002
        """What the user should know of a network that was trained; empty if all is well."""
        return []

    @abstractmethod
    def loss(self, net: Any, batch: Batch) -> Tensor:
        """What training makes small: a scalar, in normalised units."""

    def posterior(self, net: Any, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        """p(s|x) for images (N, C, *spatial), in image units.

        coordinates: (N, dims, *spatial), of each pixel in its whole image, for methods whose answer would otherwise
        depend on where a tile begins; None: those of whole images.
        """
        return Point(net(noisy))

    def sampler(
        self, net: Any, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0,  # noqa: ARG002
    ) -> Callable[[Sequence[int]], Tensor]:  # fmt: skip
        """Draws of p(s|x) for images (N, C, *spatial), image units: numbers of samples -> (numbers, N, C, *spatial).

        What depends on the image alone is computed once. A sample is a function of its number, the seed and the
        coordinates, whatever tile is looked at.

        Errors: `ValueError` where the method knows no more than mean and standard deviation.
        """
        raise ValueError("this method gives one answer, not samples")

    def sampled_by(self, net: Any) -> tuple[nn.Module, int]:
        """The part of a network that samples go through, and how many times, one after the other."""
        return net.backbone, 1


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask is True; zero (with a gradient) where it never is."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def entropy_power(nats: Tensor) -> Tensor:
    """exp(2 h) / 2πe: the variance of a normal density with an entropy of h nats a pixel.

    What a likelihood's held-out loss is told as: positive, and in the units of a squared error.
    """
    return torch.exp(2 * nats) / (2 * math.pi * math.e)
