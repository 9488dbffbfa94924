"""Settings, training loss and sampling of methods with latent variables: `divnoising`, `hdn` and `cosdd`.

A ladder of latent variables learns p(s) from noisy images and samples from p(s|x). Beside it a U-Net conditioned on the
noise, the direct network, gives mean and standard deviation in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from noisewise.errors import UserError
from noisewise.methods._conditioned import (
    ConditionedSettings,
    build_conditioned,
    combined_loss,
    conditioned_posterior,
    conditioned_traits,
    image_can_train,
    image_loss,
    some_patches,
    synthetic_loss,
)
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Traits
from noisewise.methods.losses.conditioned import conditioning, split_channels
from noisewise.methods.losses.reductions import entropy_power, masked_mean
from noisewise.methods.losses.supervised import STD_WEIGHT, supervised_terms
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.counter_noise import CounterNoise
from noisewise.nets.lvae import LadderVAE, LadderWithDirect, NormalSource, fresh, mode_latents, strides
from noisewise.nets.unet import Factor, pooling_plan
from noisewise.noise.base import Noise
from noisewise.noise.ops.outliers import with_outliers
from noisewise.posterior import MODE, Normal, Posterior

SAMPLES_AT_ONCE = 8  # where mean and standard deviation are computed from samples
OUTLIER_SPAN = 10.0  # standard deviations of the image, within which a pixel that no noise model explains may lie

Reconstruction = Callable[[Denoiser, Batch, Tensor], Tensor]
"""(net, batch, ladder output) -> −log p(x|z) of each pixel, in the shape of the encoded image"""


@dataclass(frozen=True, kw_only=True)
class LadderSettings(ConditionedSettings):
    """Settings of methods with a ladder of latent variables."""

    spatial: Literal["auto", "YX", "ZYX", "TYX"] = "YX"
    """axes that the network sees together; the ladder is then learned in three dimensions"""
    levels: Annotated[int, Interval(ge=1, le=8)]
    """levels of latent variables"""
    reading: Annotated[int, Interval(ge=1, le=1024)] = 64
    """feature maps of the encoder, which reads the image"""
    width: Annotated[int, Interval(ge=1, le=1024)] = 32
    """feature maps of the decoder, which is computed for each sample"""
    latent: Annotated[int, Interval(ge=1, le=1024)] = 16
    """latent variables at each position of each level"""
    blocks: Annotated[int, Interval(ge=1, le=16)] = 2
    """residual blocks per level in the encoder"""
    free_bits: Annotated[float, Ge(0)] = 0.0
    """nats per pixel that each level may encode at no cost"""
    warm_up: Annotated[float, Interval(gt=0, le=1)] = 0.4
    """fraction of the training until the KL divergence has its full weight"""
    mean_samples: Annotated[int, Interval(ge=0, le=100_000)] = 0
    """samples from which mean and standard deviation are computed (0: by the direct network, in one pass)"""

    @property
    def traits(self) -> Traits:
        from_samples = self.mean_samples > 0
        return conditioned_traits(self, samples=True, mean_from_samples=from_samples, patches_per_step=(8, 2))

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        return build_ladder(self, spec, noise_models)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        return ladder_loss(self, net, batch, noise_reconstruction)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:
        return ladder_posterior(self, net, noisy, coordinates)

    def sampler(
        self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        return ladder_sampler(net, noisy, coordinates, seed)


def plain_ladder(channels: int, **layout: Any) -> LadderVAE:
    """From normalised images to signals."""
    return LadderVAE(channels, channels, **layout)


def build_ladder(
    settings: LadderSettings, spec: ImageSpec, noise_models: Sequence[Noise],
    make: Callable[..., LadderVAE] = plain_ladder, unconditioned: Callable[[Sequence[Factor]], int] = lambda _: 0,
) -> Denoiser:  # fmt: skip
    """A direct network and a ladder beside it.

    make: channels, and the layout of a `LadderVAE` by name -> the ladder. unconditioned: strides of the levels, finest
    first -> how many of the finest are not conditioned on the image.
    """
    if settings.mean_samples == 1:
        raise UserError("one sample has no standard deviation; set mean_samples to 0, or to 2 or more")
    net = build_conditioned(settings, spec, noise_models)
    plan = pooling_plan(spec.spacing, spec.size, settings.levels + 1)
    ladder = make(
        net.width // net.inputs, stem=plan[0], pools=plan[1:], features=settings.reading, width=settings.width,
        latent=settings.latent, blocks=settings.blocks, unconditioned=unconditioned(strides(plan)[1:]),
    )  # fmt: skip
    net.backbone = LadderWithDirect(ladder, net.backbone, settings.warm_up)
    net.pretrained_part = "backbone.direct" if net.pretrained_part else ""
    return net


def parts(net: Denoiser) -> LadderWithDirect:
    """Ladder and direct network."""
    assert isinstance(net.backbone, LadderWithDirect)
    return net.backbone


# -- loss --------------------------------------------------------------------------------------------


def ladder_loss(settings: LadderSettings, net: Denoiser, batch: Batch, reconstruction: Reconstruction) -> Tensor:
    """−log p(x | s(z)) + Σ_l max(KL(q(z_l | x, z_>l) ‖ p(z_l | z_>l)), λ), nats per pixel; plus the direct loss.

    The direct loss is that of the network that gives mean and standard deviation.
    z is drawn from q: the first two terms are the negative of a lower bound of log p(x).
    """
    can_train = settings.synthetic_weight > 0 or image_can_train(settings, net)
    if (batch.held_out and can_train) or not batch.valid.any():
        return direct_loss(settings, net, batch)
    backbone, x = parts(net), net.encode(batch.noisy)
    drawn = backbone.ladder.draw(backbone.ladder.read(x), fresh(x, batch.generator), x.shape[2:])
    output = drawn.output.float()
    divergence = torch.stack(drawn.divergence).mean(1) / x[0, 0].numel()
    kl_weight = backbone.kl_weight(divergence.sum(), batch.progress)
    nats = masked_mean(reconstruction(net, batch, output), net.fold(batch.valid))
    if batch.held_out:
        return entropy_power(nats + divergence.sum())
    cost = kl_weight * divergence.clamp(min=settings.free_bits).sum()
    # The direct network may be pretrained, and the ladder is not: it gets fewer patches of each step.
    half = some_patches(batch, slice(-(-len(batch.noisy) // 2)))
    total: Tensor = nats + cost + direct_loss(settings, net, half)
    if not settings.synthetic_weight:
        # At first the ladder's samples are poor targets.
        with torch.no_grad():
            signal = net.decode(backbone.ladder.signal(output))
        total = total + kl_weight * loss_against_samples(net, half, signal)
    return total


def direct_loss(settings: LadderSettings, net: Denoiser, batch: Batch) -> Tensor:
    """The loss of the direct network on synthetic scenes and on the image."""
    self_supervised = partial(image_loss, settings, net) if image_can_train(settings, net) else None
    return combined_loss(settings, net, batch, partial(synthetic_loss, settings, net), self_supervised)


def loss_against_samples(net: Denoiser, batch: Batch, signal: Tensor) -> Tensor:
    """The direct network's squared error and likelihood against samples of p(s|x), in units of the noise."""
    noisy, target = split_channels(batch.noisy.float()), split_channels(signal[: len(batch.noisy)])
    squared, likelihood = supervised_terms(net, noisy, target, conditioning(net, len(batch.noisy)))
    return masked_mean(squared + STD_WEIGHT * likelihood, split_channels(batch.valid))


def noise_reconstruction(net: Denoiser, batch: Batch, output: Tensor) -> Tensor:
    """−log p(x|s) of each pixel by the noise model; s = output in normalised units."""
    signal = net.decode(output)
    where = (grid_coordinates(batch.noisy) if batch.coordinates is None else batch.coordinates).movedim(1, -1)
    where = where.expand(len(signal), *where.shape[1:]).flatten(0, -2)
    nats = []
    for c, (x, s) in enumerate(zip(batch.noisy.float().unbind(1), signal.unbind(1), strict=True)):
        model, statistics = net.noise_model(c), net.input_statistics(c)
        if model.white:
            pairs = x.reshape(-1, 1), s.reshape(-1, 1)
            log_prob = model.at(where).tabulated(*pairs, statistics).reshape(x.shape)
        else:  # log p(x|s) of a plane is not a sum over independent pixels
            log_prob = model.log_prob_image(x, s)
        nats.append(-with_outliers(log_prob, OUTLIER_SPAN * statistics[1]))
    return net.fold(torch.stack(nats, 1))


# -- prediction --------------------------------------------------------------------------------------


def ladder_posterior(
    settings: LadderSettings, net: Denoiser, noisy: Tensor, coordinates: Tensor | None
) -> Posterior[Tensor]:
    """Mean and standard deviation by the direct network, or of samples if the settings ask for them."""
    if settings.mean_samples == 0:
        return conditioned_posterior(net, noisy)
    count, draw = settings.mean_samples, ladder_sampler(net, noisy, coordinates, 0)
    middle = draw([MODE])[0]
    total, squares = torch.zeros((2, *middle.shape), dtype=torch.float64, device=middle.device)
    for start in range(0, count, SAMPLES_AT_ONCE):
        off = (draw(range(start, min(start + SAMPLES_AT_ONCE, count))) - middle).double()
        total += off.sum(0)
        squares += (off**2).sum(0)
    off = total / count
    variance = (squares - count * off**2) / (count - 1)
    return Normal((middle + off).float(), variance.clamp(min=0).sqrt().float())


def ladder_sampler(
    net: Denoiser, noisy: Tensor, coordinates: Tensor | None, seed: int
) -> Callable[[Sequence[int]], Tensor]:
    """Samples of p(s|x) from the ladder; the image is encoded once."""
    ladder, x = parts(net).ladder, net.encode(noisy)
    encoded = ladder.read(x)
    where = (grid_coordinates(noisy) if coordinates is None else coordinates)[0]
    channels = len(x) // len(noisy)

    def draw(numbers: Sequence[int]) -> Tensor:
        source: NormalSource = mode_latents(x)
        if MODE not in numbers:
            keys = [(seed, n, c) for n in numbers for _ in noisy for c in range(channels)]
            source = CounterNoise(where, ladder.strides, keys)
        shared = [part.expand(len(numbers), *part.shape).flatten(0, 1) for part in encoded]
        output = ladder.draw(shared, source, x.shape[2:]).output
        return net.decode(ladder.signal(output)).reshape(len(numbers), *noisy.shape)

    return draw
