"""DivNoising: one level of latent variables learns a prior of signals and samples from the posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval
from torch import Tensor

from noisewise.methods._ladder import (
    LadderSettings,
    build_ladder,
    ladder_loss,
    ladder_posterior,
    ladder_sampler,
    ladder_traits,
    noise_reconstruction,
)
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Traits
from noisewise.noise.base import Noise
from noisewise.posterior import Posterior


@dataclass(frozen=True, kw_only=True)
class DivNoising(LadderSettings):
    """DivNoising: a variational autoencoder whose decoder includes the noise model; samples diverse solutions.

    Signals are s(z) of latent variables z ~ N(μ, σ²), independent at each position.
    loss = −log p(x | s(z)) + KL(q(z | x) ‖ p(z)), nats per pixel, z drawn from q(z | x). The one-level form of `hdn`,
    which is better at structures larger than a few pixels.

    Source: Prakash et al. 2021, arXiv:2006.06072.
    """

    levels: Annotated[int, Interval(ge=1, le=8)] = 1
    """levels of latent variables"""

    @property
    def traits(self) -> Traits:
        return ladder_traits(self)

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        return build_ladder(self, spec, noise_models)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        return ladder_loss(self, net, batch, noise_reconstruction)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:
        return ladder_posterior(self, net, noisy, coordinates)

    def sampler(
        self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        return ladder_sampler(net, noisy, coordinates, seed)
