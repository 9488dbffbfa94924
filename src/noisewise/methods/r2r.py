"""Recorrupted-to-Recorrupted: splits one noisy image into two whose noise is independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
from annotated_types import Interval
from torch import Tensor

from noisewise.methods.base import Batch, Method, Needs, masked_mean
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.splitting import split


@dataclass(frozen=True, kw_only=True)
class R2R(Method):
    """Recorrupted-to-Recorrupted: splits an image, by the law of its noise, into two with independent noise.

    Of the image a share α is taken out: photons by thinning, read noise by adding noise and taking it off again. The
    rest x₁ and the share x₂, both scaled back to mean s, are independent given s, so that
    loss = mean (f(x₁) − x₂)² is least at f(x₁) = E[s | x₁], as with Noise2Noise; every pixel teaches.
    Predicted is f(x): x is x₁ with a little less noise, by the factor 1 − α.

    Sources: Pang et al. 2021 (Gaussian), Monroy et al. 2025 (Poisson and others).
    """

    needs: ClassVar[Needs] = "noisy"
    uses_noise: ClassVar[bool] = True

    share: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    """of the image that becomes the target; a larger one teaches faster, from a noisier input"""

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        first, second = self.split(net, batch.noisy, batch.generator)
        predicted = net.backbone(net.encode(first)).float()
        return masked_mean((predicted - net.encode(second)) ** 2, net.fold(batch.teach))

    def split(self, net: Standardized, noisy: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """x₁ and x₂ (N, C, *S), image units."""
        parts = []
        for channel, x in enumerate(noisy.float().chunk(noisy.shape[1], 1)):
            parts.append(split(cast(Noise, net.law(channel)), x, self.share, net.about(channel), generator))
        first, second = zip(*parts, strict=True)
        return torch.cat(first, 1), torch.cat(second, 1)
