"""Noise2Noise: learns from pairs of noisy images of the same scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from noisewise.methods.base import Batch, Method, Needs, masked_mean
from noisewise.nets.standardized import Standardized


@dataclass(frozen=True, kw_only=True)
class N2N(Method):
    """Noise2Noise: learns from pairs of noisy images of one scene, in both directions.

    loss = ½ mean (f(x₁) − x₂)² + ½ mean (f(x₂) − x₁)². Where the noise of the copies is independent and has mean
    zero, E (f(x₁) − x₂)² = E (f(x₁) − s)² + Var x₂: the minimiser is CARE's, E[s | x].

    Source: Lehtinen et al. 2018.
    """

    needs: ClassVar[Needs] = "pairs"

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        assert batch.target is not None
        first, second, teach = net.encode(batch.noisy), net.encode_target(batch.target), net.fold(batch.teach)
        there = masked_mean((net.backbone(first).float() - second) ** 2, teach)
        back = masked_mean((net.backbone(second).float() - first) ** 2, teach)
        return (there + back) / 2
