"""CARE: supervised training on noisy images and clean targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from noisewise.methods.base import Batch, Denoiser, ImageSpec, Method, Traits, build_denoiser
from noisewise.methods.losses.reductions import masked_mean
from noisewise.noise.base import Noise
from noisewise.posterior import Normal, Point, Posterior

MIN_STD = 1e-3  # predicted standard deviation, relative to that of the target images


@dataclass(frozen=True, kw_only=True)
class CARE(Method):
    """CARE: supervised training on noisy images and clean targets of the same scenes.

    loss = mean (f(x) − s)² is minimised by f(x) = E[s | x]. Input and target are each normalised by their own mean and
    standard deviation, so that the two may differ in exposure; predictions are in the units of the target.

    With `uncertainty`, a second map σ(x) is fitted to the residuals by a Gaussian likelihood:
    loss += mean ½ ((f(x) − s) / σ(x))² + log σ(x), where f is held fixed, so that the mean does not change.

    Sources: Weigert et al. 2018, doi:10.1038/s41592-018-0216-7; Nix and Weigend 1994 (σ), doi:10.1109/ICNN.1994.374138.
    """

    uncertainty: bool = False
    """also predict the standard deviation of each pixel"""

    @property
    def traits(self) -> Traits:
        return Traits(needs="clean", std=self.uncertainty)

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        return build_denoiser(self, spec, noise_models, heads=2 if self.uncertainty else 1)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        assert batch.target is not None
        mean, std = self.moments(net, batch.noisy)
        valid, error = net.fold(batch.valid), mean - net.encode_target(batch.target)
        squared = masked_mean(error**2, valid)
        if std is None or batch.held_out:
            return squared
        return squared + masked_mean(0.5 * (error.detach() / std) ** 2 + std.log(), valid)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        mean, std = self.moments(net, noisy)
        return Point(net.decode(mean)) if std is None else Normal(net.decode(mean), net.unfold(std) * net.target_std)

    def moments(self, net: Denoiser, noisy: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and, with `uncertainty`, standard deviation; normalised."""
        mean, *width = net.maps(net.backbone(net.encode(noisy)))
        return mean, F.softplus(width[0]) + MIN_STD if width else None
