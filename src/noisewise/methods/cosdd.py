"""COSDD: for signal-dependent noise that is correlated along rows or columns; trained on noisy images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

from noisewise.axes import Symmetry
from noisewise.methods._ladder import LadderSettings, build_ladder, ladder_loss, parts
from noisewise.methods.base import Batch, Denoiser, ImageSpec, Traits
from noisewise.nets.lvae import LadderVAE
from noisewise.nets.unet import CONV, EXACT_CONV, Residual
from noisewise.noise.base import Noise
from noisewise.noise.ops.causal_mixture import Axis, CausalMixture, causal_offsets
from noisewise.noise.ops.correlation_length import noise_axis
from noisewise.noise.quantization import CONTINUOUS, log_mass


@dataclass(frozen=True, kw_only=True)
class COSDD(LadderSettings):
    """COSDD: for noise along rows or columns; encodes the signal, and models the noise with an autoregressive decoder.

    A ladder of latent variables z yields a code c(z), a few feature maps. Given the code, the value of a pixel depends
    on the pixels before it along the axis of the noise and on no others:
    p(x | c) = Π_i Σ_k w_k N(x_i; m_i(c) + μ_k, σ_k²), where w, μ and σ are functions of c_i and of x_j − m_j at the
    `context` pixels j before i. Structures that extend further, or across the axis, must be encoded. The signal is
    predicted from the code, ŝ(c), by (ŝ(c) − x)² with the code held fixed: E[x | c], without noise.
    loss = −log p(x | c) + Σ_l max(KL(q(z_l | x, z_>l) ‖ p(z_l | z_>l)), λ) + (ŝ(c) − x)² / 2, nats per pixel.

    The axis is that along which the noise was measured to be correlated (both: in raster order). A U-Net beside the
    ladder gives mean and standard deviation; it is trained on synthetic scenes with the measured noise, or without
    scenes (synthetic_weight = 0) on the samples of the ladder.

    Source: Salmon and Krull 2025 (COSDD), arXiv:2310.07887.
    """

    levels: Annotated[int, Interval(ge=1, le=8)] = 4
    """levels of latent variables, each at half the resolution of the one below"""
    axis: Literal["auto", "X", "Y", "YX"] = "auto"
    """axis along which the noise is correlated (auto: as measured; YX: both)"""
    context: Annotated[int, Interval(ge=1, le=256)] = 32
    """pixels along the axis that the noise of a pixel depends on (causal context)"""
    code: Annotated[int, Interval(ge=1, le=256)] = 16
    """feature maps of the code"""

    @property
    def traits(self) -> Traits:
        return replace(super().traits, symmetry=self._symmetry)

    def _symmetry(self, noise_models: Sequence[Noise], dims: int) -> Symmetry:  # noqa: ARG002
        return Symmetry(swap_yx=False, no_flip_axes=self.along(noise_models))

    def along(self, noise_models: Sequence[Noise]) -> Axis:
        """The axis of the noise."""
        return noise_axis(tuple(noise_models)) if self.axis == "auto" else self.axis

    def build(self, spec: ImageSpec, noise_models: Sequence[Noise] = ()) -> Denoiser:
        def make(channels: int, **layout: Any) -> LadderVAE:
            mixture = CausalMixture(causal_offsets(self.along(noise_models), self.context), self.code)
            return CodeLadder(channels, self.code, mixture, **layout)

        return build_ladder(self, spec, noise_models, make)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        return ladder_loss(self, net, batch, code_reconstruction)


def code_reconstruction(net: Denoiser, batch: Batch, output: Tensor) -> Tensor:
    """−log p(x|c) + (ŝ(c) − x)² / 2 of each pixel, in normalised units."""
    ladder, x = parts(net).ladder, net.encode(batch.noisy)
    assert isinstance(ladder, CodeLadder)
    error = ladder.signal(output.detach()) - x
    return 0.5 * error**2 - ladder.log_prob(x, output)


class CodeLadder(LadderVAE):
    """A ladder that yields a code; from the code follow the signal and the likelihood of a noisy image."""

    def __init__(self, channels: int, code: int, mixture: CausalMixture, **shape: Any) -> None:
        super().__init__(channels, channels * code, **shape)
        self.mixture = mixture
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
        """The code of each channel on its own: (N · C, code, *S)."""
        return output.reshape(len(output) * self.in_channels, -1, *output.shape[2:])

    def log_prob(self, x: Tensor, output: Tensor) -> Tensor:
        """log p(x | c) of each pixel of normalised images, in their shape."""
        code = self.codes(output)
        size = code.shape[-2:]
        off = (x.reshape(-1, 1, *x.shape[2:]) - self.middle(code)).reshape(-1, *size)
        context = code.movedim(1, -1).reshape(-1, *size, code.shape[1])
        with torch.autocast(x.device.type, enabled=False):
            log_weight, mean, std = self.mixture(self.mixture.context_values(off), context.float())
            nats = torch.logsumexp(log_weight + log_mass(off[..., None], mean, std, CONTINUOUS), -1)
        return nats.reshape(x.shape)
