"""Hierarchical DivNoising: a hierarchy of latent variables learns what signals look like, and samples of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from noisewise.methods._latent import LatentMethod
from noisewise.nets.unet import Factor
from noisewise.noise.base import Noise
from noisewise.noise.reach import correlated_offsets


@dataclass(frozen=True, kw_only=True)
class HDN(LatentMethod):
    """HDN: learns signals and their noise apart, and draws diverse solutions from the posterior.

    Signals are s(z) of latent variables z in a hierarchy, each level at half the resolution of the one below:
    p(z) = p(z_L) Π p(z_l | z_>l). Given a noisy image, q(z | x) = Π q(z_l | x, z_>l) stands for the posterior.
    loss = −log p(x | s(z)) + Σ_l max(KL(q(z_l | x, z_>l) ‖ p(z_l | z_>l)), λ), nats a pixel, z drawn from q: the
    negative of a lower bound of log p(x).

    A U-Net beside it, told the law of the noise, learns mean and standard deviation of s given x, so that both take one
    pass: as `simulated` does, from drawn scenes and parts of the image, or without scenes (drawn = 0) from the draws of
    the training. Samples owe nothing to drawn scenes.

    Noise with structures of a few pixels would be taken for signal. Levels that resolve them can be kept from knowing
    the image (`quiet`, HDN3-6), and then signals are as coarse.

    Sources: Prakash et al. 2022 (HDN), Salmon and Krull 2024 (Direct Denoiser), Kingma et al. 2016 (free bits).
    """

    levels: Annotated[int, Interval(ge=1, le=8)] = 4
    """of latent variables, each at half the resolution of the one below"""
    quiet: Literal["auto"] | Annotated[int, Interval(ge=0, le=7)] = 0
    """so many of the finest levels are told nothing of the image (auto: those as fine as the noise is correlated)"""

    def silent(self, strides: Sequence[Factor], laws: Sequence[Noise]) -> int:
        if self.quiet != "auto":
            return min(self.quiet, len(strides) - 1)
        shared = correlated_offsets(tuple(laws), len(strides[0]))
        reach = max((abs(o) for offset in shared for o in offset), default=0)
        # A position of 16 variables and more tells a block of pixels from end to end: half a stride is resolved.
        return sum(max(stride) // 2 <= reach for stride in strides[:-1])
