"""Supervised loss of mean and standard deviation, and the synthetic scenes that it is trained on."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.losses.conditioned import flat, moments
from noisewise.methods.losses.reductions import masked_mean
from noisewise.noise.base import Noise
from noisewise.noise.ops.conditioning import NoiseFeatures
from noisewise.noise.ops.thinning import neighbour_mean
from noisewise.scenes.pool import is_synthetic, patches

STD_WEIGHT = 0.1  # of the likelihood of the standard deviation beside the squared error of the mean
EASIEST = 0.003  # mean squared error of a patch, in units of the noise, below which all count alike
CONTRAST = 0.5  # by how much (log) a synthetic scene may be of more or less contrast than the image
ALIKE = 4.0  # standard deviations: of the mean of a patch above the background, of its darkest pixels below
EVEN = 3.0  # of these, that a quarter of the means may spread where the background is even
MEANS = 64  # patches from which that is estimated
TINY = 1e-20  # variance, ADU²: of an image that has none


def supervised_terms(net: Denoiser, noisy: Tensor, signal: Tensor, features: NoiseFeatures) -> tuple[Tensor, Tensor]:
    """For each pixel: the squared error in units of the noise, and the negative log-likelihood of its std.

    noisy, signal: (N·C, 1, *S), image units. The likelihood is that of Nix and Weigend 1994, with the mean held fixed.
    """
    mean, width = moments(net, noisy, features)
    error = (mean - signal) / features.stabilizer.variance(mean.detach()).sqrt()
    return error**2, 0.5 * (error.detach() / width) ** 2 + width.log()


def supervised_loss(net: Denoiser, batch: Batch, noisy: Tensor, signal: Tensor, features: NoiseFeatures) -> Tensor:
    """Squared error of the mean and likelihood of the std against known signals; held out: the error alone.

    The error of a patch counts over its own root mean square, so that flat scenes count too.
    """
    usable = flat(batch.valid)
    seen = usable.flatten(1).any(1).reshape(-1, *[1] * (usable.ndim - 1)).expand_as(usable)
    squared, likelihood = supervised_terms(net, noisy, signal, features)
    rmse = patch_rmse(squared)
    if batch.held_out:
        return masked_mean(rmse.expand_as(squared), seen)
    return masked_mean(rmse.mean() * squared / rmse + STD_WEIGHT * likelihood, seen)


def patch_rmse(squared: Tensor) -> Tensor:
    """Root mean square error of each patch, (N, 1, ...), held fixed."""
    mean = squared.detach().mean(tuple(range(1, squared.ndim)), keepdim=True)
    return (mean + EASIEST).sqrt()


# -- synthetic scenes --------------------------------------------------------------------------------


def add_noise(net: Denoiser, signal: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy images of signals (N, C, *S), and the signals, both (N·C, 1, *S)."""
    noisy = [net.noise_model(c).sample(s, generator) for c, s in enumerate(signal.chunk(signal.shape[1], 1))]
    return flat(torch.cat(noisy, 1)), flat(signal)


def synthetic_scenes(net: Denoiser, batch: Batch, kind: str) -> Tensor:
    """Scenes (N, C, *S), image units; drawn ones have the brightness of the patches of the image.

    kind: a kind of scene, or a file of clean images.
    """
    scenes = []
    for channel, x in enumerate(batch.noisy.float().chunk(batch.noisy.shape[1], 1)):
        scene = patches(kind, x.shape[2:], len(x), batch.generator).to(x)
        if is_synthetic(kind):
            model = net.noise_model(channel)
            background = batch.background[channel] if batch.background else None
            low, high = scene_range(x, model, batch.generator, background)
            # No image tells how far a signal lies beyond what can be recorded.
            scene = model.quantization.clipped(low + (high - low) * scene)
        scenes.append(scene)
    return torch.cat(scenes, 1)


def scene_range(
    noisy: Tensor, noise_model: Noise, generator: torch.Generator, background: tuple[float, float] | None = None
) -> tuple[Tensor, Tensor]:
    """Darkest and brightest level of each synthetic scene, (N, 1, ...): those of a patch each, randomly varied.

    A patch is smoothed; the noise that is left in it raises its contrast, which is corrected by
    c² = 1 − Var[noise] / Var[x]. Where the background is even apart from noise, and the patch is as dark, the scene
    gets that background: what all images have in common helps to tell row and column offsets from the signal.
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
    contrast = torch.exp(CONTRAST * torch.randn(len(noisy), generator=generator)).to(noisy)
    if background is not None:
        level, width = background
        spread = spread_of_means(noise_model, level, noisy.shape[2:], noisy.device)
        alike = (low < level + ALIKE * spread) & (low > level - ALIKE * noise.std())
        low = torch.where(alike & (width < EVEN * spread), level, low)
        high = high.maximum(low)
    return low, low + (high - low) * contrast.reshape(low.shape)


@lru_cache(maxsize=16)
def spread_of_means(noise_model: Noise, signal: float, patch: torch.Size, device: torch.device) -> float:
    """Standard deviation of the means of noisy patches of a constant signal, ADU."""
    even = torch.full((MEANS, 1, *patch), signal, device=device)
    return float(noise_model.sample(even, torch.Generator(device).manual_seed(0)).flatten(1).mean(1).std())
