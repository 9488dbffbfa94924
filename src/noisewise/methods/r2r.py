"""Recorrupted-to-Recorrupted: splits one noisy image into two whose noise is independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval
from torch import Tensor

from noisewise.methods.base import Batch, Denoiser, Method, Traits
from noisewise.methods.losses.reductions import masked_mean
from noisewise.methods.losses.thinning import thinned_pair


@dataclass(frozen=True, kw_only=True)
class R2R(Method):
    """Recorrupted-to-Recorrupted: splits an image, by its noise model, into two images with independent noise.

    A fraction α of the image is taken out: photons by thinning, read noise by adding and subtracting noise. The
    rest x₁ and the fraction x₂, both scaled to mean s, are independent given s. Hence
    loss = mean (f(x₁) − x₂)² is minimised by f(x₁) = E[s | x₁], as with Noise2Noise, and every pixel is trained on.
    The prediction is f(x): x is x₁ with less noise, its variance smaller by the factor 1 − α.

    Sources: Pang et al. 2021 (Gaussian noise), doi:10.1109/CVPR46437.2021.00208; Monroy et al. 2025 (Poisson and other
    noise), arXiv:2412.04648.
    """

    split_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    """fraction of the image that becomes the target; a larger one trains faster, from a noisier input"""

    @property
    def traits(self) -> Traits:
        return Traits(noise="pixel")

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        first, second = thinned_pair(net, batch.noisy, self.split_fraction, batch.generator)
        predicted = net.backbone(net.encode(first)).float()
        return masked_mean((predicted - net.encode(second)) ** 2, net.fold(batch.valid))
