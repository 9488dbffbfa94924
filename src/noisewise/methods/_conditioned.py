"""Settings, packaged weights and training losses of methods whose network is conditioned on the noise.

`simulated`, `gap`, `hdn`, `divnoising` and `cosdd` compose these functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor, hypot, lerp, nn

from noisewise.container import read_container, write_container
from noisewise.errors import UserError
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Method, Traits, build_denoiser, noise_symmetry
from noisewise.methods.losses.blind_spot import blind_spot_loss
from noisewise.methods.losses.conditioned import conditioning, moments, split_channels
from noisewise.methods.losses.supervised import add_noise, supervised_loss, synthetic_scenes
from noisewise.methods.losses.terms import Term, weighted_sum
from noisewise.methods.losses.thinning import thinning_loss
from noisewise.nets.planes import PlanesUNet
from noisewise.noise.base import Noise
from noisewise.noise.ops.conditioning import FEATURES, LAGS, NoiseFeatures, noise_features
from noisewise.noise.ops.correlation_length import correlated_offsets
from noisewise.noise.ops.specks import REACH, SMOOTH, WHITE, surround, without_specks
from noisewise.posterior import Normal

PRETRAINED = Path(__file__).with_name("pretrained.safetensors")
HOLDS = "pretrained network"
MORE_LIGHT = 0.25  # of the synthetic patches
WIDTH, GROWTH, BLOCKS, DEPTH = 32, 1.8, 2, 3  # of the packaged network
IMAGE_TO_SCENES = 3  # patches of the image for each synthetic scene: enough not to forget the scenes
# Limits of the noise that the pretrained network was trained on, with some room.
MAX_STEP, MAX_FAR_CORRELATION, MIN_CORRELATION, MAX_OFFSETS = 3.0, 0.75, -0.4, 3.0
MIN_PHOTONS = 0.4  # per pixel, including the 3/8 of the variance-stabilising transform


@dataclass(frozen=True, kw_only=True)
class ConditionedSettings(Method):
    """Settings of methods whose network is conditioned on the noise and trained on synthetic scenes and the image."""

    network: Literal["planes", "fast", "large", "classic", "n2v2", "careamics", "careamics_n2v2"] = "planes"  # type: ignore[assignment]
    """planes: the packaged network, which sees up to two planes before and behind; the others: U-Nets from random
    weights"""
    spatial: Literal["auto", "YX", "ZYX", "TYX"] = "auto"
    """axes that the network sees together (auto: YX and, where an image has them, planes along Z or T, whichever are
    more alike, if they are)"""
    neighbours: bool = True
    """see the planes before and behind; without them each plane is denoised on its own"""
    pretrained: bool = True
    """start from the packaged weights, where they fit the network"""
    scenes: str = "mixed"
    """synthetic scenes: mixed, one kind of scene, or a file of clean images in the units of the noisy ones"""
    split_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """fraction of the image that is taken out as target of the rest (thinning)"""
    synthetic_weight: Annotated[float, Interval(ge=0, le=100)] = 1.0
    """weight of the supervised loss on synthetic scenes (0: none)"""
    self_weight: Annotated[float, Interval(ge=0, le=100)] = 2.0
    """weight of the self-supervised loss on the image itself (0: none)"""


def conditioned_traits(settings: ConditionedSettings, **changes: Any) -> Traits:
    """Traits of these methods, and what differs."""
    common = Traits(
        removes=("white", "rows", "columns", "correlated"), noise="correlated", std=True,
        pretrained=starts_pretrained(settings), neighbours=handles_planes(settings) and settings.neighbours,
        patches_per_step=(4, 2), symmetry=noise_symmetry, halo=reach_of_specks,
    )  # fmt: skip
    return replace(common, **changes)


def build_conditioned(settings: ConditionedSettings, spec: ImageSpec, noise_models: Sequence[Noise]) -> Denoiser:
    """A U-Net that takes the stabilised image and the noise features, with the packaged weights where they fit."""
    if not handles_planes(settings):
        other = replace(settings, network="large") if settings.network == "planes" else settings
        return build_denoiser(other, spec, noise_models, inputs=2 + FEATURES, heads=2)
    pretrained = starts_pretrained(settings)
    with torch.device("meta" if pretrained else "cpu"):  # weights that are replaced need not be drawn
        backbone = make_backbone(spec.dims, settings.features or WIDTH, settings.depth or DEPTH)
    backbone.alone = not settings.neighbours
    net = Denoiser(backbone, spec, noise_models, inputs=2 + FEATURES, heads=2)
    if pretrained:
        weights = {name: tensor.clone() for name, tensor in pretrained_state().items()}
        backbone.load_state_dict(weights, assign=True)
        net.pretrained_part = "backbone"
        net.warnings = out_of_distribution_warnings(spec, noise_models)
    return net


def handles_planes(settings: ConditionedSettings) -> bool:
    """Whether the network of these settings is a `PlanesUNet`, which sees one channel at a time."""
    return settings.network == "planes" and not settings.joint_channels


def make_backbone(dims: int, width: int = WIDTH, depth: int = DEPTH) -> PlanesUNet:
    """The network of the packaged weights."""
    pools = ((2, 2),) * depth
    return PlanesUNet(2, FEATURES, 2, pools=pools, width=width, growth=GROWTH, blocks=BLOCKS, dims=dims)


# -- losses ------------------------------------------------------------------------------------------


def combined_loss(
    settings: ConditionedSettings, net: Denoiser, batch: Batch, synthetic: Callable[[Batch], Tensor],
    self_supervised: Callable[[Batch], Tensor] | None,
) -> Tensor:  # fmt: skip
    """Weighted sum of a loss on synthetic scenes and of one on the image itself.

    self_supervised: None where the image gives no training signal. On held-out patches this loss alone, if there is
    one.
    """
    if batch.held_out:
        return synthetic(batch) if self_supervised is None else self_supervised(batch)
    count = len(batch.noisy)
    if self_supervised is not None and starts_pretrained(settings):
        count = -(-count // IMAGE_TO_SCENES)
    terms: list[Term] = []
    if settings.synthetic_weight:
        terms.append((settings.synthetic_weight, synthetic, some_patches(batch, slice(count))))
    if self_supervised is not None:
        terms.append((settings.self_weight, self_supervised, batch))
    return weighted_sum(net, terms)


def synthetic_loss(settings: ConditionedSettings, net: Denoiser, batch: Batch, growth: float = 1.0) -> Tensor:
    """Supervised loss on synthetic scenes with the noise that was measured.

    growth: some patches have up to so many times the light, so that the network keeps what it knows of it.
    """
    noisy, signal = add_noise(net, synthetic_scenes(net, batch, settings.scenes), batch.generator)
    features = conditioning(net, len(batch.noisy))
    if growth > 1 and not batch.held_out:
        light = random_lights(noisy, growth, batch.generator)
        noisy, features = torch.lerp(signal, noisy, light.rsqrt()), features.with_light(light)
    return supervised_loss(net, batch, noisy, signal, features)


def random_lights(images: Tensor, growth: float, generator: torch.Generator) -> Tensor:
    """The light of each image, (N, 1, ...): of most 1, of the others up to `growth`, log-uniform."""
    chosen, power = torch.rand(2, len(images), *[1] * (images.ndim - 1), generator=generator).to(images)
    return torch.where(chosen < MORE_LIGHT, growth**power, 1.0)


def image_loss(settings: ConditionedSettings, net: Denoiser, batch: Batch) -> Tensor:
    """Self-supervised loss on the image: blind spots in half of the patches, thinning in the others."""

    def thinned(part: Batch) -> Tensor:
        return thinning_loss(net, part, conditioning(net, len(part.noisy)), settings.split_fraction)

    half = len(batch.noisy) // 2
    if batch.held_out or half == 0:
        return thinned(batch)
    blind, fraction = blind_spot_loss(net, some_patches(batch, slice(half)), conditioning(net, half))
    return (1 - fraction / 2) * thinned(some_patches(batch, slice(half, None))) + fraction / 2 * blind


def image_can_train(settings: ConditionedSettings, net: Denoiser) -> bool:
    """Whether the image itself gives a training signal: this requires spatially independent noise."""
    offsets = correlated_offsets(net.noise, net.dims)
    between_slices = any(any(offset[:-2]) for offset in offsets)
    return settings.self_weight > 0 and conditioning(net, 1).white and not between_slices


def refuse_without_signal(settings: ConditionedSettings, net: Denoiser) -> Denoiser:
    """The network itself. Errors: `UserError` where neither scenes nor the image give a training signal."""
    if not (settings.synthetic_weight > 0 or image_can_train(settings, net)):
        raise UserError(
            "with synthetic_weight = 0 only the image gives a training signal, and it gives none where self_weight is "
            "0 or the noise of neighbouring pixels is correlated; leave synthetic_weight at 1"
        )
    return net


def some_patches(batch: Batch, which: slice) -> Batch:
    """Some patches of a batch, for losses that do not need their coordinates."""
    return replace(batch, noisy=batch.noisy[which], valid=batch.valid[which], coordinates=None)


# -- prediction --------------------------------------------------------------------------------------


def conditioned_posterior(net: Denoiser, noisy: Tensor) -> Normal[Tensor]:
    """Mean, without specks, and standard deviation of images (N, C, *S), image units.

    Where the network is known to be worse than the noise, the mean keeps a share of the noisy pixel.
    """
    features = conditioning(net, len(noisy))
    mean, width = moments(net, split_channels(noisy.float()), features)
    noise_std = features.stabilizer.variance(mean).sqrt()
    planes, kinds = (len(mean) * prod(mean.shape[2:-2]), 1, *mean.shape[-2:]), SMOOTH if features.smooth else WHITE
    clean = without_specks(mean.reshape(planes), noise_std.reshape(planes), kinds).reshape(mean.shape)
    mean, std = net.unfold(clean), net.unfold(width * noise_std)
    if not net.keeps_noisy:
        return Normal(mean, std)
    level, noise_std = net.unfold(surround(clean.reshape(planes)).reshape(clean.shape)), net.unfold(noise_std)
    share = net.kept_of(level)
    return Normal(lerp(mean, noisy.to(mean), share), hypot((1 - share) * std, share * noise_std))


def reach_of_specks(noise_models: Sequence[Noise], dims: int) -> tuple[int, ...]:  # noqa: ARG001
    """Pixels beyond the receptive field of the network that the mean depends on: of specks, and of a pixel's level."""
    return (*[0] * (dims - 2), REACH + 1, REACH + 1)


# -- packaged weights --------------------------------------------------------------------------------


def starts_pretrained(settings: ConditionedSettings) -> bool:
    """Whether the packaged weights fit the network of these settings."""
    default = handles_planes(settings) and not (settings.features or settings.depth)
    return settings.pretrained and default and PRETRAINED.exists()


@lru_cache
def pretrained_state() -> dict[str, Tensor]:
    """The packaged weights."""
    return {name: tensor.float() for name, tensor in read_container(PRETRAINED, HOLDS)[1].items()}


def save_pretrained(path: Path, backbone: nn.Module, record: dict[str, Any]) -> None:
    """Save weights as a pretrained network, in half precision, with a record of their training."""
    weights = {name: tensor.half() for name, tensor in backbone.state_dict().items()}
    write_container(path, HOLDS, {"record": record}, weights)


def out_of_distribution_warnings(spec: ImageSpec, noise_models: Sequence[Noise]) -> list[str]:
    """One sentence for each respect in which the noise is unlike that of the pretrained network's training."""
    models = zip(cycle(noise_models), spec.mean, spec.std, strict=False)
    reasons = [reason for each in models for reason in out_of_distribution_reasons(noise_features(*each))]
    return [
        f"the packaged weights were not trained on such noise ({reason}) and are trained further here; give a budget "
        f"of 10min or more, and check the result"
        for reason in dict.fromkeys(reasons)
    ]


def out_of_distribution_reasons(features: NoiseFeatures) -> list[str]:
    """Reasons why this noise lies outside the pretrained network's training distribution (`training/pretrain.py`)."""
    step, *rho, rows, columns = features.features[0, 1:].tolist()
    stabilizer = features.stabilizer
    photons = (stabilizer.variance(stabilizer.mean).sqrt() / stabilizer.slope.abs().clamp(min=1e-30)) ** 2
    far = [r for r, (y, x) in zip(rho, LAGS, strict=True) if max(y, x) == 2]
    checks = [
        (step > MAX_STEP, f"a quantization step of {step:.2g} standard deviations"),
        (max(map(abs, far)) > MAX_FAR_CORRELATION, f"a correlation of {max(far, key=abs):.2f} over two pixels"),
        (min(rho) < MIN_CORRELATION, f"a negative correlation of neighbours, {min(rho):.2f}"),
        (max(rows, columns) > MAX_OFFSETS, f"row or column offsets of {max(rows, columns):.2g} standard deviations"),
        (float(photons) < MIN_PHOTONS, f"{float(photons):.2g} photons in a pixel of mean brightness"),
    ]
    return [reason for outside, reason in checks if outside]
