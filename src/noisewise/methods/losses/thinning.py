"""Thinning (recorruption) loss: a part of the image is taken out as the target of the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.losses.conditioned import moments, split_channels
from noisewise.methods.losses.reductions import masked_mean
from noisewise.noise.ops.conditioning import NoiseFeatures
from noisewise.noise.ops.thinning import neighbour_mean, split_noisy


def thinned_pair(net: Denoiser, noisy: Tensor, fraction: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two images (N, C, *S), image units, with independent noise: the rest, and the fraction taken out."""
    parts = [
        split_noisy(net.noise_model(c), x, fraction, net.input_statistics(c), generator)
        for c, x in enumerate(noisy.float().chunk(noisy.shape[1], 1))
    ]
    rest, target = zip(*parts, strict=True)
    return torch.cat(rest, 1), torch.cat(target, 1)


def thinning_loss(net: Denoiser, batch: Batch, features: NoiseFeatures, fraction: float) -> Tensor:
    """Squared error of the rest of the image against the fraction taken out of it, in units of the noise."""
    rest, target = (split_channels(part) for part in thinned_pair(net, batch.noisy, fraction, batch.generator))
    mean, _ = moments(net, rest, features.thinned(fraction))
    # A validation loss must not depend on the prediction through its weights.
    level = neighbour_mean(rest) if batch.held_out else mean.detach()
    return masked_mean((mean - target) ** 2 / features.stabilizer.variance(level), split_channels(batch.valid))
