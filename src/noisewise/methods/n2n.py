"""Noise2Noise: training on pairs of noisy images of the same scene."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from noisewise.methods.base import Batch, Denoiser, Method, Traits
from noisewise.methods.losses.reductions import masked_mean


@dataclass(frozen=True, kw_only=True)
class N2N(Method):
    """Noise2Noise: trains on two or more noisy images of one scene, each the target of the others.

    loss = mean (f(x₁) − x₂)². If the noise of the images is independent and has mean zero,
    E (f(x₁) − x₂)² = E (f(x₁) − s)² + Var x₂: the minimiser is that of supervised training, E[s | x]. Each image is
    input once; its target x₂ is the mean of the others, in the units of the input.

    Source: Lehtinen et al. 2018, arXiv:1803.04189.
    """

    @property
    def traits(self) -> Traits:
        return Traits(needs="pairs")

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        assert batch.target is not None
        predicted = net.backbone(net.encode(batch.noisy))
        return masked_mean((predicted.float() - net.encode(batch.target)) ** 2, net.fold(batch.valid))
