"""Hierarchical DivNoising: a hierarchy of latent variables learns a prior of signals and samples from the posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from noisewise.methods._ladder import LadderSettings, build_ladder
from noisewise.methods.base import Denoiser, ImageSpec
from noisewise.nets.unet import Factor
from noisewise.noise.base import Noise
from noisewise.noise.ops.correlation_length import correlated_offsets


@dataclass(frozen=True, kw_only=True)
class HDN(LadderSettings):
    """HDN: separates signal and noise with a hierarchy of latent variables, and samples diverse solutions.

    Signals are s(z) of latent variables z in a hierarchy, each level at half the resolution of the one below:
    p(z) = p(z_L) Π p(z_l | z_>l). Given a noisy image, q(z | x) = Π q(z_l | x, z_>l) approximates the posterior.
    loss = −log p(x | s(z)) + Σ_l max(KL(q(z_l | x, z_>l) ‖ p(z_l | z_>l)), λ), nats per pixel, z drawn from q: the
    negative of a lower bound of log p(x).

    A U-Net beside it, conditioned on the noise, gives mean and standard deviation of s given x in one pass. It is
    trained as in `simulated` on synthetic scenes and parts of the image, or without scenes (synthetic_weight = 0) on
    the samples of the ladder. Samples do not depend on synthetic scenes.

    Noise with structures of a few pixels would be taken for signal. The levels that resolve such structures can be
    left without access to the image (`unconditioned_levels`, HDN3-6); signals are then as coarse as well.

    Sources: Prakash et al. 2022 (HDN), arXiv:2104.01374; Salmon and Krull 2023 (Direct Denoiser), arXiv:2310.18116;
    Kingma et al. 2016 (free bits), arXiv:1606.04934.
    """

    levels: Annotated[int, Interval(ge=1, le=8)] = 4
    """levels of latent variables, each at half the resolution of the one below"""
    unconditioned_levels: Literal["auto"] | Annotated[int, Interval(ge=0, le=7)] = 0
    """number of the finest levels that are not conditioned on the image (auto: those as fine as the noise is
    correlated)"""

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        def unconditioned(strides: Sequence[Factor]) -> int:
            if self.unconditioned_levels == "auto":
                return levels_within_correlation(strides, noise_models)
            return min(self.unconditioned_levels, len(strides) - 1)

        return build_ladder(self, spec, noise_models, unconditioned=unconditioned)


def levels_within_correlation(strides: Sequence[Factor], noise_models: Sequence[Noise]) -> int:
    """How many of the finest levels are as fine as the noise is correlated; never all of them."""
    shared = correlated_offsets(tuple(noise_models), len(strides[0]))
    length = max((abs(o) for offset in shared for o in offset), default=0)
    # A position of 16 variables and more describes a block of pixels from end to end: half a stride is resolved.
    return sum(max(stride) // 2 <= length for stride in strides[:-1])
