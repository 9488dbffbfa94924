"""One ladder variational autoencoder, 2D and 3D: DivNoising is its one-level form, HDN the hierarchy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.nets.unet import (
    CONV,
    EXACT_CONV,
    Factor,
    Residual,
    conv,
    crop,
    depth_to_space,
    make_pool,
    pad_to_multiple,
    space_to_depth,
)

RECENT = 0.05  # weight of the last step in the running mean of the divergence
COLLAPSED, RESTARTS = 1e-3, 3  # nats per pixel, below which the posterior has collapsed; how often training restarts
FARTHEST = 10.0  # standard deviations of p(z) between its mean and that of q(z)

NormalSource = Callable[[int, torch.Size], Tensor]
"""Standard normal numbers for a level (0 is the finest) in a shape (N, latent, *size)."""


@dataclass(frozen=True)
class LadderDraw:
    """One sample from the ladder.

    output: (N, out_channels, *spatial). divergence: for each level that is conditioned on the image, finest first,
    (N,): KL(q(z_l | x, z_>l) ‖ p(z_l | z_>l)) in nats, summed over the image.
    """

    output: Tensor
    divergence: list[Tensor]


class LadderVAE(nn.Module):
    """p(z_L) Π p(z_l | z_>l) with q(z_l | x, z_>l), and a map from all of z to (N, out_channels, *spatial).

    q is parametrised relative to p: with p = N(μ, σ²), q = N(μ + σ Δ, σ² e^{2δ}), so that their divergence is
    ½ (Δ² + e^{2δ} − 1) − δ whatever μ and σ are. The image is encoded once (`read`), by a network that may be large;
    all samples (`draw`) share the encoding and run through a light decoder, which ends one pooling short of where the
    encoder begins: each position of the finest variables stands for a block of pixels. The topmost prior is one number
    per channel, the same everywhere, so images may have any size. Borders are replicated, so that no frame of zeros is
    learned.

    stem: space-to-depth factor in front, the stride at which the encoder begins. pools: between one level of the
    encoder and the next, finest first, with variables after each of them. features: of the encoder. width: of the
    decoder. latent: variables per position. unconditioned: number of the finest levels that never see the image, and so
    cannot carry its noise.

    Sources: Sønderby et al. 2016 (ladder VAE), arXiv:1602.02282; Vahdat and Kautz 2020 (relative posteriors),
    arXiv:2007.03898; Prakash et al. 2021 (DivNoising), arXiv:2006.06072, and 2022 (HDN, unconditioned levels),
    arXiv:2104.01374.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stem: Factor, pools: Sequence[Factor], features: int = 64,
        width: int = 32, latent: int = 8, blocks: int = 2, unconditioned: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dims, self.stem, self.pools = len(stem), tuple(stem), tuple(pools)
        self.in_channels = in_channels
        self.stride = tuple(prod(factors) for factors in zip(stem, *pools, strict=True))
        self.block = tuple(map(prod, zip(stem, pools[0], strict=True)))
        self.unconditioned, self.width = unconditioned, width
        levels = range(len(pools))
        self.front = EXACT_CONV[self.dims](in_channels * prod(stem), features, 3, padding=1, padding_mode="replicate")
        self.readers = nn.ModuleList(stack(self.dims, features, blocks) for _ in range(len(pools) + 1))
        self.downs = nn.ModuleList(make_pool("conv", features, factor) for factor in pools)
        self.ups = nn.ModuleList(CONV[self.dims](features, features, 1) for _ in pools[1:])
        encoded = width + 2 * latent
        self.heads = nn.ModuleList(
            nn.Sequential(*stack(self.dims, features, 1), CONV[self.dims](features, encoded, 1))
            for _ in levels[unconditioned:]
        )
        self.levels = nn.ModuleList(
            LadderLevel(self.dims, width, latent, conditioned=level >= unconditioned) for level in levels
        )
        self.top = nn.Parameter(torch.zeros(1, width, *[1] * self.dims))
        self.tail = nn.Sequential(
            *stack(self.dims, width, 1), conv(self.dims, width, out_channels * prod(self.block), "replicate")
        )

    @property
    def strides(self) -> list[Factor]:
        """Pixels between the variables of each level, finest first."""
        return strides((self.block, *self.pools[1:]))

    def read(self, x: Tensor) -> list[Tensor]:
        """Encode an image (N, in_channels, *spatial) at each level, finest first: (N, width + 2 latent, *size).

        The first `width` maps are added to the decoder's state, the others to Δ and δ. Empty, (N, 0, *size), at levels
        that are not conditioned on the image.
        """
        x = self.front(space_to_depth(pad_to_multiple(x, self.stride), self.stem))
        seen: list[Tensor] = []
        for level, reader in enumerate(self.readers):
            x = reader(x if level == 0 else self.downs[level - 1](x))
            seen.append(x)
        seen = seen[1:]  # there are no variables at the finest
        # Coarse levels inform the finer ones.
        for level in reversed(range(len(self.ups))):
            seen[level] = seen[level] + upsampled(self.ups[level](seen[level + 1]), seen[level].shape[2:])
        return [part[:, :0] for part in seen[: self.unconditioned]] + [
            head(part) for head, part in zip(self.heads, seen[self.unconditioned :], strict=True)
        ]

    def draw(self, encoded: Sequence[Tensor], source: NormalSource, size: Sequence[int] | None = None) -> LadderDraw:
        """One sample given the encoding of an image; cropped to a spatial size."""
        state = self.top.expand(len(encoded[-1]), -1, *encoded[-1].shape[2:])
        divergence: list[Tensor] = []
        for number in reversed(range(len(self.levels))):
            if number < len(self.levels) - 1:
                state = upsampled(state, encoded[number].shape[2:])
            state, nats = self.levels[number](state, encoded[number], source, number)
            if nats is not None:
                divergence.insert(0, nats)
        output = depth_to_space(self.tail(state), self.block)
        return LadderDraw(output if size is None else crop(output, size), divergence)

    def signal(self, output: Tensor) -> Tensor:
        """The signal from the output of a sample: here the output itself."""
        return output

    def forward(self, x: Tensor) -> Tensor:
        """The signal where each variable is at the mode of its density."""
        return self.signal(self.draw(self.read(x), mode_latents(x), x.shape[2:]).output)


class LadderWithDirect(nn.Module):
    """A ladder, and beside it a direct network that gives in one pass what samples have in common."""

    def __init__(self, ladder: LadderVAE, direct: nn.Module, warm_up: float) -> None:
        super().__init__()
        self.ladder, self.direct, self.kl_weight = ladder, direct, KLWeight(warm_up)
        others: Any = direct.stride
        self.stride = tuple(map(max, ladder.stride, others))

    @property
    def sampled(self) -> nn.Module:
        """The part that samples go through."""
        return self.ladder

    def forward(self, x: Tensor) -> Tensor:
        """The output of the direct network."""
        result: Tensor = self.direct(x)
        return result

    @property
    def collapsed(self) -> bool:
        """Whether the posterior collapsed: the latent variables carry no information about the image."""
        return self.kl_weight.collapsed


class KLWeight(nn.Module):
    """The weight of the KL divergence in training: zero at first, so that the ladder learns to use the image.

    It rises to one within a fraction of the training. If the posterior has then collapsed (no divergence, from which
    no gradient leads back), the rise starts anew, a few times.
    """

    start: Tensor
    divergence: Tensor
    restarts: Tensor

    def __init__(self, warm_up: float) -> None:
        super().__init__()
        self.warm_up = warm_up
        for name in ("start", "divergence", "restarts"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, nats: Tensor, progress: float) -> Tensor:
        """The weight at a fraction of the training (0 to 1), for this divergence in nats per pixel."""
        weight = ((progress - self.start) / self.warm_up).clamp(max=1)
        if self.training:
            self.divergence.lerp_(nats.detach(), RECENT)
            if weight == 1 and self.collapsed and self.restarts < RESTARTS:
                self.restarts += 1
                self.start.fill_(progress)
        return weight

    @property
    def collapsed(self) -> bool:
        """Whether the latent variables carry no information about the image."""
        return bool(self.divergence < COLLAPSED)


class LadderLevel(nn.Module):
    """One level of the ladder: p(z | above), q(z | above, image), a sample of z, and the state below."""

    def __init__(self, dims: int, width: int, latent: int, conditioned: bool = True) -> None:
        super().__init__()
        self.above = stack(dims, width, 1)
        self.prior = CONV[dims](width, 2 * latent, 1)
        if conditioned:
            self.posterior = nn.Sequential(*stack(dims, width, 1), CONV[dims](width, 2 * latent, 1))
        self.join = CONV[dims](latent, width, 1)
        self.below = stack(dims, width, 1)
        # At the start p is N(0, 1), and q is what the encoder alone makes of it.
        heads: list[Any] = [self.prior, *([self.posterior[-1]] if conditioned else [])]
        for head in heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, state: Tensor, encoded: Tensor, source: NormalSource, level: int) -> tuple[Tensor, Tensor | None]:
        """State (N, width, *size) -> the state with z in it, and the divergence (N,) if conditioned on the image."""
        state = self.above(state)
        mean, log_std = exactly(self.prior(state)).chunk(2, 1)
        log_std = bounded(log_std)
        nats = None
        if encoded.shape[1]:
            for_state, for_posterior = encoded.tensor_split([state.shape[1]], 1)
            shift, stretch = exactly(self.posterior(state + for_state) + for_posterior).chunk(2, 1)
            shift, stretch = bounded(shift, FARTHEST), bounded(stretch)
            nats = (0.5 * (shift**2 + torch.expm1(2 * stretch)) - stretch).flatten(1).sum(1)
            mean, log_std = mean + log_std.exp() * shift, log_std + stretch
        z = mean + log_std.exp() * source(level, mean.shape)
        return self.below(state + self.join(z)), nats


def strides(plan: Sequence[Factor]) -> list[Factor]:
    """Pixels between the variables of each level, finest first, of stem and pools."""
    return [tuple(map(prod, zip(*plan[: level + 1], strict=True))) for level in range(len(plan))]


def upsampled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Linear interpolation of a coarser level to a spatial size."""
    return F.interpolate(x, size=tuple(size), mode={4: "bilinear", 5: "trilinear"}[x.ndim], align_corners=False)


def exactly(x: Tensor) -> Tensor:
    """At least float32: divergences are small differences."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def bounded(x: Tensor, most: float = 4.0) -> Tensor:
    """Limit values to ±most with unit slope at zero: means and variances neither diverge nor vanish."""
    return most * torch.tanh(x / most)


def fresh(like: Tensor, generator: torch.Generator | None = None) -> NormalSource:
    """Random numbers from a generator, drawn on demand."""
    return lambda _level, shape: torch.randn(shape, generator=generator).to(like.device)


def mode_latents(like: Tensor) -> NormalSource:
    """Zeros: each variable is at the mode of its density."""
    return lambda _level, shape: torch.zeros(shape, device=like.device)


def stack(dims: int, features: int, blocks: int) -> nn.Sequential:
    """Residual blocks with replicated borders."""
    return nn.Sequential(*(Residual(dims, features, "replicate") for _ in range(blocks)))
