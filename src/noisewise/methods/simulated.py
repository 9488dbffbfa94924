"""Simulated: supervised training on synthetic scenes with the measured noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from noisewise.methods._adding_light import LightSettings, light_sampler
from noisewise.methods._conditioned import (
    build_conditioned,
    combined_loss,
    conditioned_posterior,
    conditioned_traits,
    image_can_train,
    image_loss,
    refuse_without_signal,
    starts_pretrained,
    synthetic_loss,
)
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Traits
from noisewise.methods.losses.conditioned import conditioning
from noisewise.noise.base import Noise
from noisewise.posterior import Posterior


@dataclass(frozen=True, kw_only=True)
class Simulated(LightSettings):
    """Simulated: trains on synthetic scenes with the measured noise, and on the image itself; for all kinds of noise.

    Scenes s are drawn from a wide prior p(s), noise from the measured p(x|s): f(x) = E[s | x]. Let T be the transform
    under which the noise has unit variance, and v the noise variance. The network corrects T(x),
    f(x) = T⁻¹(T(x) − g(x)), and is conditioned on the noise: photon numbers, read noise, quantization, correlation,
    row and column offsets. loss = mean (f(x) − s)² / v(f(x)) with the weight held fixed, whose minimiser is E[s | x]
    in image units. A second map σ(x) is fitted to the remaining error, as in `care`.

    Where the noise is spatially independent, the image itself is trained on too. In half of the patches a fraction α is
    taken out as target of the rest, as in `r2r`. In the others pixels are hidden, as in `n2v`, and are targets where,
    by σ, their own value has little influence: ∂f/∂x = Var[s|x] / v below 0.1.

    A sample adds exposures, drawn from the noise model at the estimate, and is denoised again, until it has `growth`
    times the light: what more light could have shown. The network knows E[s | x] at every light.

    Sources: Achddou et al. 2021 (synthetic scenes), https://hal.science/hal-03186499; Mäkitalo and Foi 2011 (transforms
    and their inverses), doi:10.1109/TIP.2010.2056693; Nix and Weigend 1994 (σ), doi:10.1109/ICNN.1994.374138; Pang et
    al. 2021, doi:10.1109/CVPR46437.2021.00208, and Monroy et al. 2025, arXiv:2412.04648 (thinning); Miyasawa 1961
    (∂f/∂x), Bulletin of the International Statistical Institute 38:181.
    """

    @property
    def traits(self) -> Traits:
        return conditioned_traits(
            self, samples=True, sampling_passes=self.passes, usable_untrained=starts_pretrained(self)
        )

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        return refuse_without_signal(self, build_conditioned(self, spec, noise_models))

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        self_supervised = partial(image_loss, self, net) if image_can_train(self, net) else None
        return combined_loss(self, net, batch, partial(synthetic_loss, self, net, growth=self.growth), self_supervised)

    def posterior(self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:  # noqa: ARG002
        return conditioned_posterior(net, noisy)

    def sampler(
        self, net: Denoiser, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        return light_sampler(net, noisy, conditioning(net, len(noisy)), self.lights(), coordinates, seed)
