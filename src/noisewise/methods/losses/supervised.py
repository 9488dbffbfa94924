"""Supervised loss of mean and standard deviation, and the synthetic scenes that it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.losses.conditioned import moments, split_channels
from noisewise.methods.losses.reductions import masked_mean
from noisewise.noise.base import Noise
from noisewise.noise.ops.conditioning import NoiseFeatures
from noisewise.noise.ops.thinning import neighbour_mean
from noisewise.scenes.pool import is_synthetic, patches

STD_WEIGHT = 0.1  # of the likelihood of the standard deviation beside the squared error of the mean
MIN_SQUARED_ERROR = 0.003  # of a patch, in units of the noise: below it all patches have the same weight
LOG_CONTRAST_STD = 0.5  # of the contrast of synthetic scenes, relative to the image
BACKGROUND_STDS = 4.0  # of patch means above the background, and of its darkest pixels below it
UNIFORM_STDS = 3.0  # of patch means: the greatest width of a uniform background
MEANS = 64  # patches from which the standard deviation of patch means is estimated
TINY = torch.finfo(torch.float32).tiny  # variance, ADU², in place of zero


def supervised_terms(
    net: Denoiser, noisy: Tensor, signal: Tensor, features: NoiseFeatures,
    apply: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Per-pixel squared error in units of the noise, and negative log-likelihood of the standard deviation.

    noisy, signal: (N·C, 1, *S), image units. apply: as for `moments`. The likelihood is that of Nix and Weigend 1994,
    doi:10.1109/ICNN.1994.374138, with the mean held fixed.
    """
    mean, width = moments(net, noisy, features, apply)
    error = (mean - signal) / features.stabilizer.variance(mean.detach()).sqrt()
    return error**2, 0.5 * (error.detach() / width) ** 2 + width.log()


def supervised_loss(net: Denoiser, batch: Batch, noisy: Tensor, signal: Tensor, features: NoiseFeatures) -> Tensor:
    """Squared error of the mean and likelihood of the std for known signals; on held-out patches the error alone.

    The error of a patch is divided by its own root mean square, so that homogeneous scenes contribute too.
    """
    usable = split_channels(batch.valid)
    seen = usable.flatten(1).any(1).reshape(-1, *[1] * (usable.ndim - 1)).expand_as(usable)
    squared, likelihood = supervised_terms(net, noisy, signal, features)
    rmse = patch_rmse(squared)
    if batch.held_out:
        return masked_mean(rmse.expand_as(squared), seen)
    return masked_mean(rmse.mean() * squared / rmse + STD_WEIGHT * likelihood, seen)


def patch_rmse(squared: Tensor) -> Tensor:
    """Root mean square error of each patch, (N, 1, ...), held fixed."""
    mean = squared.detach().mean(tuple(range(1, squared.ndim)), keepdim=True)
    return (mean + MIN_SQUARED_ERROR).sqrt()


# -- synthetic scenes --------------------------------------------------------------------------------


def add_noise(net: Denoiser, signal: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy images of signals (N, C, *S), and the signals, both (N·C, 1, *S)."""
    channels = enumerate(signal.chunk(signal.shape[1], 1))
    noisy = [net.noise_model(c).typical().sample(s, generator) for c, s in channels]
    return split_channels(torch.cat(noisy, 1)), split_channels(signal)


def synthetic_scenes(net: Denoiser, batch: Batch, kind: str) -> Tensor:
    """Signals (N, C, *S), image units: synthetic scenes at the brightness of the image's patches, or clean images.

    kind: a kind of scene, or a file of clean images.
    """
    scenes = []
    for channel, x in enumerate(batch.noisy.float().chunk(batch.noisy.shape[1], 1)):
        scene = patches(kind, x.shape[2:], len(x), batch.generator).to(x)
        if is_synthetic(kind):
            model = net.noise_model(channel).typical()
            background = batch.background[channel] if batch.background else None
            low, high = scene_range(x, model, batch.generator, background)
            # Signals outside of the recordable range cannot be inferred from an image.
            scene = model.quantization.clipped(low + (high - low) * scene)
        scenes.append(scene)
    return torch.cat(scenes, 1)


def scene_range(
    noisy: Tensor, noise_model: Noise, generator: torch.Generator, background: tuple[float, float] | None = None
) -> tuple[Tensor, Tensor]:
    """Minimum and maximum of each synthetic scene, (N, 1, ...), from one patch each, randomly varied.

    Patches are smoothed; the contrast is corrected for the noise that remains in them, by c² = 1 − Var[noise] / Var[x].
    Where the background is uniform apart from noise and a patch is as dark, the scene gets that background: a common
    background helps to distinguish row and column offsets from the signal.
    """
    smooth = neighbour_mean(noisy)
    noise = neighbour_mean(noise_model.sample(smooth, generator) - smooth).flatten(1)
    values = smooth.flatten(1).sort(dim=1).values
    middle = values.mean(1, keepdim=True)
    left = 1 - noise.var(1, keepdim=True) / values.var(1, keepdim=True).clamp(min=TINY)
    values = middle + left.clamp(min=0).sqrt() * (values - middle)
    uniform = torch.rand((2, len(noisy)), generator=generator).to(noisy)
    ranks = torch.stack([0.2 * uniform[0], 1 - 0.2 * uniform[1] ** 2], 1) * (values.shape[1] - 1)
    low, high = values.gather(1, ranks.long()).T.reshape(2, -1, *[1] * (noisy.ndim - 1))
    contrast = torch.exp(LOG_CONTRAST_STD * torch.randn(len(noisy), generator=generator)).to(noisy)
    if background is not None:
        level, width = background
        std = std_of_means(noise_model, level, noisy.shape[2:], noisy.device)
        as_dark = (low < level + BACKGROUND_STDS * std) & (low > level - BACKGROUND_STDS * noise.std())
        low = torch.where(as_dark & (width < UNIFORM_STDS * std), level, low)
        high = high.maximum(low)
    return low, low + (high - low) * contrast.reshape(low.shape)


@lru_cache(maxsize=16)
def std_of_means(noise_model: Noise, signal: float, patch: torch.Size, device: torch.device) -> float:
    """Standard deviation of the means of noisy patches of a constant signal, ADU."""
    constant = torch.full((MEANS, 1, *patch), signal, device=device)
    return float(noise_model.sample(constant, torch.Generator(device).manual_seed(0)).flatten(1).mean(1).std())
