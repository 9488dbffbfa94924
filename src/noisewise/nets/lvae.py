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

RECENT = 0.05  # weight of the last step in the mean of what was told
COLLAPSED, RESTARTS = 1e-3, 3  # nats a pixel, below which all is lost; and how often it is tried again

FARTHEST = 10.0  # standard deviations of p(z) between its mean and that of q(z)

Lots = Callable[[int, torch.Size], Tensor]
"""Standard normal numbers for a level (0 is the finest) in a shape (N, latent, *size)."""


@dataclass(frozen=True)
class Drawn:
    """What a walk down the ladder yields.

    output: (N, out_channels, *spatial). divergence: of each level that the image informs, finest first, (N,): nats
    that q(z_l | x, z_>l) is away from p(z_l | z_>l), summed over the image.
    """

    output: Tensor
    divergence: list[Tensor]


class LadderVAE(nn.Module):
    """p(z_L) Π p(z_l | z_>l) with q(z_l | x, z_>l), and a map from all of z to (N, out_channels, *spatial).

    q is told relative to p: with p = N(μ, σ²), q = N(μ + σ Δ, σ² e^{2δ}), so that their divergence is
    ½ (Δ² + e^{2δ} − 1) − δ whatever μ and σ are. What the image says is read once (`read`), by a network that may be
    large; all draws (`draw`) share it and walk down a light one, which ends a pool short of where reading begins: each
    position of the finest variables stands for a block of pixels. The topmost prior is a number a channel, the same
    everywhere: images may have any size. Borders are repeated, so that no frame of zeros is learned.

    stem: space-to-depth factor in front, the stride at which reading begins. pools: between one level of reading and
    the next, finest first, with variables after each of them. features: of reading. width: of drawing. latent:
    variables a position. quiet: so many of the finest levels are never informed by the image, and cannot carry its
    noise.

    Sources: Sønderby et al. 2016 (ladder VAE), Vahdat and Kautz 2020 (relative posteriors), Prakash et al. 2021
    (DivNoising) and 2022 (HDN, quiet levels).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stem: Factor, pools: Sequence[Factor], features: int = 64,
        width: int = 32, latent: int = 8, blocks: int = 2, quiet: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dims, self.stem, self.pools = len(stem), tuple(stem), tuple(pools)
        self.in_channels = in_channels
        self.stride = tuple(prod(factors) for factors in zip(stem, *pools, strict=True))
        self.block = tuple(map(prod, zip(stem, pools[0], strict=True)))
        self.quiet, self.width = quiet, width
        levels = range(len(pools))
        self.front = EXACT_CONV[self.dims](in_channels * prod(stem), features, 3, padding=1, padding_mode="replicate")
        self.readers = nn.ModuleList(stack(self.dims, features, blocks) for _ in range(len(pools) + 1))
        self.downs = nn.ModuleList(make_pool("conv", features, factor) for factor in pools)
        self.ups = nn.ModuleList(CONV[self.dims](features, features, 1) for _ in pools[1:])
        told = width + 2 * latent
        self.tellers = nn.ModuleList(
            nn.Sequential(*stack(self.dims, features, 1), CONV[self.dims](features, told, 1)) for _ in levels[quiet:]
        )
        self.rungs = nn.ModuleList(Rung(self.dims, width, latent, told=level >= quiet) for level in levels)
        self.top = nn.Parameter(torch.zeros(1, width, *[1] * self.dims))
        self.tail = nn.Sequential(
            *stack(self.dims, width, 1),
            conv(self.dims, width, out_channels * prod(self.block), "replicate"),
        )

    @property
    def strides(self) -> list[Factor]:
        """Pixels between the variables of each level, finest first."""
        return strides((self.block, *self.pools[1:]))

    def read(self, x: Tensor) -> list[Tensor]:
        """What the image (N, in_channels, *spatial) says at each level, finest first: (N, width + 2 latent, *size).

        For a state on the way down to take in, and of Δ and δ themselves. Nothing, (N, 0, *size), at the quiet levels.
        """
        x = self.front(space_to_depth(pad_to_multiple(x, self.stride), self.stem))
        seen: list[Tensor] = []
        for level, reader in enumerate(self.readers):
            x = reader(x if level == 0 else self.downs[level - 1](x))
            seen.append(x)
        seen = seen[1:]  # nothing is drawn at the finest
        # Coarse levels help to read the finer ones.
        for level in reversed(range(len(self.ups))):
            seen[level] = seen[level] + upsampled(self.ups[level](seen[level + 1]), seen[level].shape[2:])
        return [part[:, :0] for part in seen[: self.quiet]] + [
            teller(part) for teller, part in zip(self.tellers, seen[self.quiet :], strict=True)
        ]

    def draw(self, said: Sequence[Tensor], lots: Lots, size: Sequence[int] | None = None) -> Drawn:
        """One walk down the ladder, from what the image said; cut to a spatial size."""
        state = self.top.expand(len(said[-1]), -1, *said[-1].shape[2:])
        divergence: list[Tensor] = []
        for level in reversed(range(len(self.rungs))):
            if level < len(self.rungs) - 1:
                state = upsampled(state, said[level].shape[2:])
            state, nats = self.rungs[level](state, said[level], lots, level)
            if nats is not None:
                divergence.insert(0, nats)
        output = depth_to_space(self.tail(state), self.block)
        return Drawn(output if size is None else crop(output, size), divergence)

    def signal(self, output: Tensor) -> Tensor:
        """What a walk's output says of the signal: it is the signal."""
        return output

    def forward(self, x: Tensor) -> Tensor:
        """The signal of the walk on which each variable takes its likeliest value."""
        return self.signal(self.draw(self.read(x), likeliest(x), x.shape[2:]).output)


class WithDirect(nn.Module):
    """A ladder, and beside it a network that tells in one pass what draws have in common."""

    def __init__(self, ladder: LadderVAE, direct: nn.Module, warm_up: float) -> None:
        super().__init__()
        self.ladder, self.direct, self.price = ladder, direct, Price(warm_up)
        others: Any = direct.stride
        self.stride = tuple(map(max, ladder.stride, others))

    def forward(self, x: Tensor) -> Tensor:
        """What the direct network puts out."""
        result: Tensor = self.direct(x)
        return result


class Price(nn.Module):
    """What a nat of divergence costs in training: nothing at first, so that the ladder learns to use what it is told.

    It rises to one within a share of the training. If the ladder is then told nothing (a collapsed posterior, from
    which no gradient leads back), it starts anew, a few times.
    """

    start: Tensor
    told: Tensor
    restarts: Tensor

    def __init__(self, warm_up: float) -> None:
        super().__init__()
        self.warm_up = warm_up
        for name in ("start", "told", "restarts"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, nats: Tensor, progress: float) -> Tensor:
        """The price when so much of the training is over (0 to 1), and so many nats a pixel were told."""
        price = ((progress - self.start) / self.warm_up).clamp(max=1)
        if self.training:
            self.told.lerp_(nats.detach(), RECENT)
            if price == 1 and self.collapsed and self.restarts < RESTARTS:
                self.restarts += 1
                self.start.fill_(progress)
        return price

    @property
    def collapsed(self) -> bool:
        """Whether nothing is told of the image."""
        return bool(self.told < COLLAPSED)


class Rung(nn.Module):
    """One level of the ladder: p(z | above), q(z | above, image), a draw of z, and the state below."""

    def __init__(self, dims: int, width: int, latent: int, told: bool = True) -> None:
        super().__init__()
        self.above = stack(dims, width, 1)
        self.prior = CONV[dims](width, 2 * latent, 1)
        if told:
            self.posterior = nn.Sequential(*stack(dims, width, 1), CONV[dims](width, 2 * latent, 1))
        self.join = CONV[dims](latent, width, 1)
        self.below = stack(dims, width, 1)
        # At the start p is N(0, 1), and q is what reading alone makes of it.
        heads: list[Any] = [self.prior, *([self.posterior[-1]] if told else [])]
        for head in heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, state: Tensor, told: Tensor, lots: Lots, level: int) -> tuple[Tensor, Tensor | None]:
        """State (N, width, *size) -> the state with z in it, and the divergence (N,) where an image told something."""
        state = self.above(state)
        mean, log_std = exactly(self.prior(state)).chunk(2, 1)
        log_std = bounded(log_std)
        nats = None
        if told.shape[1]:
            heard, said = told.tensor_split([state.shape[1]], 1)
            shift, stretch = exactly(self.posterior(state + heard) + said).chunk(2, 1)
            shift, stretch = bounded(shift, FARTHEST), bounded(stretch)
            nats = (0.5 * (shift**2 + torch.expm1(2 * stretch)) - stretch).flatten(1).sum(1)
            mean, log_std = mean + log_std.exp() * shift, log_std + stretch
        z = mean + log_std.exp() * lots(level, mean.shape)
        return self.below(state + self.join(z)), nats


def strides(plan: Sequence[Factor]) -> list[Factor]:
    """Pixels between the variables of each level, finest first, of stem and pools."""
    return [tuple(map(prod, zip(*plan[: level + 1], strict=True))) for level in range(len(plan))]


def upsampled(x: Tensor, size: Sequence[int]) -> Tensor:
    """Between the positions of a coarser level, linearly."""
    return F.interpolate(x, size=tuple(size), mode={4: "bilinear", 5: "trilinear"}[x.ndim], align_corners=False)


def exactly(x: Tensor) -> Tensor:
    """In 32 bits at least: divergences are small differences."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def bounded(x: Tensor, most: float = 4.0) -> Tensor:
    """Between -most and most, with unit slope at zero: no mean runs away, and no variance, and none vanishes."""
    return most * torch.tanh(x / most)


def fresh(like: Tensor, generator: torch.Generator | None = None) -> Lots:
    """Lots that are drawn as they are asked for."""
    return lambda _level, shape: torch.randn(shape, generator=generator).to(like.device)


def likeliest(like: Tensor) -> Lots:
    """All variables at the peak of their densities."""
    return lambda _level, shape: torch.zeros(shape, device=like.device)


def stack(dims: int, features: int, blocks: int) -> nn.Sequential:
    """Residual blocks that repeat what is at the border."""
    return nn.Sequential(*(Residual(dims, features, "replicate") for _ in range(blocks)))
