"""COSDD: for noise that runs along rows or columns and depends on the signal; learns both from noisy images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from noisewise.methods._latent import LatentMethod, parts
from noisewise.methods.base import Batch
from noisewise.nets.lvae import LadderVAE
from noisewise.nets.standardized import Standardized
from noisewise.nets.unet import CONV, EXACT_CONV, Residual
from noisewise.noise.base import Noise
from noisewise.noise.digital import CONTINUOUS, log_mass
from noisewise.noise.memory import Axis, Memory, before
from noisewise.noise.reach import axis_of


@dataclass(frozen=True, kw_only=True)
class COSDD(LatentMethod):
    """COSDD: a code that holds the signal, and a memory that holds what noise along one axis has in common.

    A ladder of latent variables z yields a code c(z), a few maps. Given the code, a pixel's value is told by those
    before it along the axis of the noise, and by no others: p(x | c) = Π_i Σ_k w_k N(x_i; m_i(c) + μ_k, σ_k²), parts
    told by c_i and the x_j − m_j of the `far` pixels j before i. What reaches further, or across, has to go through
    the code. The signal is learned from it, ŝ(c), by (ŝ(c) − x)² with the code held fixed: E[x | c], without noise.
    loss = −log p(x | c) + Σ_l max(KL(q(z_l | x, z_>l) ‖ p(z_l | z_>l)), λ) + (ŝ(c) − x)² / 2, nats a pixel.

    The axis is that along which noise was measured to go together (both: a raster). Beside the ladder a U-Net learns
    mean and standard deviation from drawn scenes with the noise that was measured, or without scenes (drawn = 0) from
    the draws of the training.

    Source: Salmon and Krull 2025 (COSDD).
    """

    levels: Annotated[int, Interval(ge=1, le=8)] = 4
    """of latent variables, each at half the resolution of the one below"""
    axis: Literal["auto", "X", "Y", "YX"] = "auto"
    """along which noise goes together (auto: as measured; YX: both)"""
    far: Annotated[int, Interval(ge=1, le=256)] = 32
    """pixels along the axis that a pixel's noise is told by"""
    code: Annotated[int, Interval(ge=1, le=256)] = 16
    """maps of the code"""

    def along(self, laws: Sequence[Noise]) -> Axis:
        """The axis of the noise."""
        return axis_of(tuple(laws)) if self.axis == "auto" else self.axis

    def directional(self, laws: Sequence[Noise], dims: int) -> bool:  # noqa: ARG002
        return True

    def one_way(self, laws: Sequence[Noise]) -> str:
        return self.along(laws)

    def ladder(self, laws: Sequence[Noise], channels: int, **shape: Any) -> LadderVAE:
        return CodedLadder(channels, self.code, Memory(before(self.along(laws), self.far), self.code), **shape)

    def surprise(self, net: Standardized, batch: Batch, output: Tensor) -> Tensor:
        ladder, x = parts(net).ladder, net.encode(batch.noisy)
        assert isinstance(ladder, CodedLadder)
        error = ladder.signal(output.detach()) - x
        return 0.5 * error**2 - ladder.likelihood(x, output)


class CodedLadder(LadderVAE):
    """A ladder to a code, and what is made of a code: signals, and the likelihood of noisy images."""

    def __init__(self, channels: int, code: int, memory: Memory, **shape: Any) -> None:
        super().__init__(channels, channels * code, **shape)
        self.memory = memory
        self.middle = EXACT_CONV[self.dims](code, 1, 1)
        self.decoder = nn.Sequential(
            CONV[self.dims](code, self.width, 3, padding=1, padding_mode="replicate"),
            *(Residual(self.dims, self.width, "replicate") for _ in range(2)), nn.ReLU(),
            EXACT_CONV[self.dims](self.width, 1, 3, padding=1, padding_mode="replicate"),
        )  # fmt: skip

    def signal(self, output: Tensor) -> Tensor:
        found: Tensor = self.decoder(self.codes(output))
        return found.reshape(len(output), self.in_channels, *output.shape[2:])

    def codes(self, output: Tensor) -> Tensor:
        """The code of each channel by itself: (N · C, code, *S)."""
        return output.reshape(len(output) * self.in_channels, -1, *output.shape[2:])

    def likelihood(self, x: Tensor, output: Tensor) -> Tensor:
        """log p(x | c) of each pixel of normalised images, in their shape."""
        code = self.codes(output)
        size = code.shape[-2:]
        off = (x.reshape(-1, 1, *x.shape[2:]) - self.middle(code)).reshape(-1, *size)
        context = code.movedim(1, -1).reshape(-1, *size, code.shape[1])
        with torch.autocast(x.device.type, enabled=False):
            log_weight, mean, std = self.memory(self.memory.remembered(off), context.float())
            nats = torch.logsumexp(log_weight + log_mass(off[..., None], mean, std, CONTINUOUS), -1)
        return nats.reshape(x.shape)
