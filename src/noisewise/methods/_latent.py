"""What `divnoising` and `hdn` share: latent variables that learn p(s) from noisy images, and draw from p(s|x)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from noisewise.methods._scenes import WIDTH_WEIGHT, SceneTaught, flat, learned, some
from noisewise.methods.base import Batch, ImageSpec, entropy_power, masked_mean
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.lots import AddressedLots
from noisewise.nets.lvae import LadderVAE, Lots, WithDirect, fresh, likeliest, strides
from noisewise.nets.standardized import Standardized
from noisewise.nets.unet import Factor, pooling_plan
from noisewise.noise.base import Noise
from noisewise.noise.robust import robust
from noisewise.posterior import LIKELIEST, Normal, Posterior

TOGETHER = 8  # draws at a time, where mean and standard deviation are made of them
OUTLYING = 10.0  # standard deviations of the image, within which a pixel that no law explains may lie


@dataclass(frozen=True, kw_only=True)
class LatentMethod(SceneTaught):
    """A ladder of latent variables z as prior and posterior, any law of noise as likelihood.

    loss = −log p(x | s(z)) + Σ_l max(KL(q(z_l | x, z_>l) ‖ p(z_l | z_>l)), λ), nats a pixel, z drawn from q: the
    negative of a lower bound of log p(x). Beside the ladder a U-Net learns mean and standard deviation of s given x, as
    in `simulated`; without scenes (drawn = 0) from the draws of the ladder, which takes longer to learn.
    """

    usual_batch: ClassVar[dict[int, int]] = {2: 8, 3: 2}

    levels: Annotated[int, Interval(ge=1, le=8)]
    """of latent variables"""
    reading: Annotated[int, Interval(ge=1, le=1024)] = 64
    """features of the part of the ladder that reads the image"""
    width: Annotated[int, Interval(ge=1, le=1024)] = 32
    """features of the part that is walked for each sample"""
    latent: Annotated[int, Interval(ge=1, le=1024)] = 16
    """latent variables at each position of each level"""
    blocks: Annotated[int, Interval(ge=1, le=16)] = 2
    """residual blocks a level, of the part that reads"""
    free_bits: Annotated[float, Ge(0)] = 0.0
    """nats a pixel that each level may tell of the image at no cost"""
    warm_up: Annotated[float, Interval(gt=0, le=1)] = 0.4
    """share of the training until what is told has its full price"""
    draws: Annotated[int, Interval(ge=0, le=100_000)] = 0
    """samples that mean and standard deviation are made of (0: they are those of the direct network, in one pass)"""

    @property
    def gives_samples(self) -> bool:
        return True

    @property
    def made_of_samples(self) -> bool:
        return self.draws > 0

    def silent(self, strides: Sequence[Factor], laws: Sequence[Noise]) -> int:  # noqa: ARG002
        """How many of the finest levels are told nothing of the image."""
        return 0

    def build(self, spec: ImageSpec, laws: Sequence[Noise] = ()) -> Standardized:
        net = super().build(spec, laws)
        plan = pooling_plan(spec.spacing, spec.size, self.levels + 1)
        channels = net.width // self.inputs
        ladder = self.ladder(
            laws, channels, stem=plan[0], pools=plan[1:], features=self.reading, width=self.width,
            latent=self.latent, blocks=self.blocks, quiet=self.silent(strides(plan)[1:], laws),
        )  # fmt: skip
        net.backbone = WithDirect(ladder, net.backbone, self.warm_up)
        return net

    def ladder(self, laws: Sequence[Noise], channels: int, **shape: Any) -> LadderVAE:  # noqa: ARG002
        """From normalised images to signals."""
        return LadderVAE(channels, channels, **shape)

    def learned_before(self, net: Standardized) -> list[nn.Parameter]:
        return list(parts(net).direct.parameters()) if self.starts_from_prior else []

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        if (batch.held_out and super().taught(net)) or not batch.teach.any():
            return super().loss(net, batch)
        backbone, x = parts(net), net.encode(batch.noisy)
        drawn = backbone.ladder.draw(backbone.ladder.read(x), fresh(x, batch.generator), x.shape[2:])
        output = drawn.output.float()
        told = torch.stack(drawn.divergence).mean(1) / x[0, 0].numel()
        price = backbone.price(told.sum(), batch.progress)
        surprise = masked_mean(self.surprise(net, batch, output), net.fold(batch.teach))
        if batch.held_out:
            return entropy_power(surprise + told.sum())
        cost = price * told.clamp(min=self.free_bits).sum()
        # The direct network has learned before, and the ladder has not: it gets less of each step.
        half = some(batch, slice(-(-len(batch.noisy) // 2)))
        total: Tensor = surprise + cost + super().loss(net, half)
        if not self.drawn:
            # At first the ladder's draws are worth little.
            with torch.no_grad():
                signal = net.decode(backbone.ladder.signal(output))
            total = total + price * self.taught_by_draws(net, half, signal)
        return total

    def taught(self, net: Standardized) -> bool:  # noqa: ARG002
        return True  # by draws, if by nothing else

    def taught_by_draws(self, net: Standardized, batch: Batch, signal: Tensor) -> Tensor:
        """The direct network's squared error and likelihood against draws of p(s|x), in units of the noise."""
        law = self.told(net, len(batch.noisy))
        noisy, drawn = flat(batch.noisy.float()), flat(signal[: len(batch.noisy)])
        squared, likelihood = learned(net, noisy, drawn, law)
        return masked_mean(squared + WIDTH_WEIGHT * likelihood, flat(batch.teach))

    def surprise(self, net: Standardized, batch: Batch, output: Tensor) -> Tensor:
        """−log p(x|s) of each pixel, s in normalised units; in the shape of the encoded image."""
        signal = net.decode(output)
        where = (grid_coordinates(batch.noisy) if batch.coordinates is None else batch.coordinates).movedim(1, -1)
        where = where.expand(len(signal), *where.shape[1:]).flatten(0, -2)
        nats = []
        for c, (x, s) in enumerate(zip(batch.noisy.float().unbind(1), signal.unbind(1), strict=True)):
            law: Any = net.law(c)
            if law.white:
                likely = law.at(where).tabulated(x.reshape(-1, 1), s.reshape(-1, 1), net.about(c)).reshape(x.shape)
            else:  # all pixels of a plane together
                likely = law.log_prob_image(x, s)
            nats.append(-robust(likely, OUTLYING * net.about(c)[1]))
        return net.fold(torch.stack(nats, 1))

    def posterior(self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:
        if self.draws == 0:
            return super().posterior(net, noisy, coordinates)
        draw = self.sampler(net, noisy, coordinates)
        middle = draw([LIKELIEST])[0]
        total, squares = torch.zeros((2, *middle.shape), dtype=torch.float64, device=middle.device)
        for start in range(0, self.draws, TOGETHER):
            off = (draw(range(start, min(start + TOGETHER, self.draws))) - middle).double()
            total += off.sum(0)
            squares += (off**2).sum(0)
        off = total / self.draws
        variance = (squares - self.draws * off**2) / (self.draws - 1 or torch.nan)
        return Normal((middle + off).float(), variance.clamp(min=0).sqrt().float())

    def sampler(
        self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None, seed: int = 0
    ) -> Callable[[Sequence[int]], Tensor]:
        ladder, x = parts(net).ladder, net.encode(noisy)
        said = ladder.read(x)
        where = (grid_coordinates(noisy) if coordinates is None else coordinates)[0]
        channels = len(x) // len(noisy)

        def draw(numbers: Sequence[int]) -> Tensor:
            lots: Lots = likeliest(x)
            if LIKELIEST not in numbers:
                keys = [(seed, n, c) for n in numbers for _ in noisy for c in range(channels)]
                lots = AddressedLots(where, ladder.strides, keys)
            shared = [part.expand(len(numbers), *part.shape).flatten(0, 1) for part in said]
            walked = ladder.draw(shared, lots, x.shape[2:])
            return net.decode(ladder.signal(walked.output)).reshape(len(numbers), *noisy.shape)

        return draw

    def remarks(self, net: Standardized) -> list[str]:
        price = parts(net).price
        if not price.collapsed:
            return []
        return [
            "the latent variables were told nothing of the image (a collapsed posterior), and the result is its mean: "
            "train longer, or see whether the noise model has too much noise (noisewise measure)"
        ]

    def sampled_by(self, net: Standardized) -> tuple[nn.Module, int]:
        return parts(net).ladder, 1


def parts(net: Standardized) -> WithDirect:
    """Ladder and direct network."""
    assert isinstance(net.backbone, WithDirect)
    return net.backbone
