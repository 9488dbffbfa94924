"""Unchanged: the image as it is; what every other method must improve on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from noisewise.methods.base import Batch, Denoiser, ImageSpec, Method, Traits
from noisewise.noise.base import Noise
from noisewise.posterior import Point, Posterior


@dataclass(frozen=True, kw_only=True)
class Unchanged(Method):
    """Unchanged: returns the image as it is; for images without noise, and where no other method improves the image.

    f(x) = x, whose expected squared error is the variance of the noise. Nothing is trained.
    """

    @property
    def traits(self) -> Traits:
        return Traits(removes=("none",), usable_untrained=True)

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        return Denoiser(nn.Identity(), spec, noise_models)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        error: Tensor = net(batch.noisy) - batch.noisy
        return (error**2).mean()

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        return Point(noisy)
