"""CARE: learns from noisy images and their clean counterparts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from noisewise.methods.base import Batch, Method, Needs, masked_mean
from noisewise.nets.standardized import Standardized


@dataclass(frozen=True, kw_only=True)
class CARE(Method):
    """CARE: supervised, learns from noisy images and their clean counterparts.

    loss = mean (f(x) − s)², least at f(x) = E[s | x]. Input and target are each normalised by their own mean and
    standard deviation, so the two may differ in exposure; predictions are in the target's units.

    Source: Weigert et al. 2018.
    """

    needs: ClassVar[Needs] = "clean"

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        assert batch.target is not None
        predicted = net.backbone(net.encode(batch.noisy))
        return masked_mean((predicted.float() - net.encode_target(batch.target)) ** 2, net.fold(batch.teach))
