"""Blind-spot loss: hidden pixels are the targets."""

from __future__ import annotations

from torch import Tensor

from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.losses.conditioned import moments, split_channels
from noisewise.methods.losses.reductions import masked_mean
from noisewise.nets.blind import blind_centres, hide
from noisewise.noise.ops.conditioning import NoiseFeatures

BLIND_PERCENT = 11.0  # of the pixels
MAX_INFLUENCE = 0.1  # Var[s|x] / v, up to which a hidden pixel is a target


def blind_spot_loss(net: Denoiser, batch: Batch, features: NoiseFeatures) -> tuple[Tensor, Tensor]:
    """Squared error at hidden pixels of little influence, in units of the noise; and the fraction of these (0 to 1).

    The influence of a pixel on its own estimate is ∂f/∂x = Var[s|x] / v, where v is the noise variance. Where it is
    small, the estimates with and without the pixel hardly differ, so that hiding it loses no information.

    Source: Miyasawa 1961, Bulletin of the International Statistical Institute 38:181.
    """
    noisy, blind = (
        split_channels(batch.noisy.float()),
        blind_centres(split_channels(batch.valid), BLIND_PERCENT, batch.generator),
    )
    mean, width = moments(net, hide(noisy, blind, "mean", 1, batch.generator), features)
    scored = blind & (width.detach() ** 2 < MAX_INFLUENCE)
    error = (mean - noisy) ** 2 / features.stabilizer.variance(mean.detach())
    return masked_mean(error, scored), scored.sum() / blind.sum().clamp(min=1)
