"""Blind-spot loss: pixels that the network did not see are its targets."""

from __future__ import annotations

from torch import Tensor

from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.losses.conditioned import flat, moments
from noisewise.methods.losses.reductions import masked_mean
from noisewise.nets.blind import blind_centres, hide
from noisewise.noise.ops.conditioning import NoiseFeatures

BLIND_PERCENT = 11.0  # of the pixels
LITTLE = 0.1  # of the noise variance: where less is left after denoising, a pixel says little about itself


def blind_spot_loss(net: Denoiser, batch: Batch, features: NoiseFeatures) -> tuple[Tensor, Tensor]:
    """Squared error at hidden pixels that say little about themselves, in units of the noise; and their share (0 to 1).

    A pixel moves its own estimate by ∂f/∂x = Var[s|x] / v, v the variance of the noise (Miyasawa 1961). Where that is
    small, hardly more is known with the pixel than without it: it can be a target, and the image loses no light.
    """
    noisy, blind = flat(batch.noisy.float()), blind_centres(flat(batch.valid), BLIND_PERCENT, batch.generator)
    mean, width = moments(net, hide(noisy, blind, "mean", 1, batch.generator), features)
    little = blind & (width.detach() ** 2 < LITTLE)
    error = (mean - noisy) ** 2 / features.stabilizer.variance(mean.detach())
    return masked_mean(error, little), little.sum() / blind.sum().clamp(min=1)
