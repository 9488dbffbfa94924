"""Noise2Void: learns from one noisy image, by predicting pixels from their surroundings (N2V, N2V2)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from noisewise.methods.base import Batch, Method, Needs, masked_mean
from noisewise.nets.standardized import Standardized
from noisewise.nets.unet import crop

Masking = Literal["uniform", "mean", "median"]


@dataclass(frozen=True, kw_only=True)
class N2V(Method):
    """Noise2Void: predicts each pixel from its surroundings; for noise that is independent from pixel to pixel.

    Blind pixels B are replaced by something made of their neighbours, x̃, and only they are scored:
    loss = Σ_{i∈B} (f(x̃)_i − x_i)² / |B|, least at f(x̃)_i = E[s_i | x without x_i].
    N2V2 is `network="n2v2", masking="median"`.

    Sources: Krull et al. 2019 (N2V), Höck et al. 2022 (N2V2).
    """

    needs: ClassVar[Needs] = "noisy"

    masking: Masking = "mean"
    """what replaces a blind pixel: a random neighbour (uniform), or the mean or median of the neighbours"""
    mask_percent: Annotated[float, Interval(gt=0, le=50)] = 5.0
    """blind pixels a patch, in percent"""
    mask_radius: Annotated[int, Interval(ge=1, le=10)] = 1
    """neighbours are the (2 r + 1)² window without its centre"""

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        noisy = net.encode(batch.noisy)
        teach = net.fold(batch.teach)
        blind = (
            teach
            if batch.held_out
            else teach & draw_mask(noisy.shape, self.mask_percent, batch.generator).to(teach.device)
        )
        predicted = net.backbone(hide(noisy, blind, self.masking, self.mask_radius, batch.generator))
        return masked_mean((predicted.float() - noisy) ** 2, blind)


def draw_mask(shape: torch.Size, percent: float, generator: torch.Generator) -> Tensor:
    """Boolean mask (N, C, *S) with one random pixel in each box of a grid of 100/percent pixels a box.

    The grid keeps blind pixels apart from each other, so that their neighbours are mostly not blind.
    """
    dims = len(shape) - 2
    side = max(1, round((100 / percent) ** (1 / dims)))
    sides = [min(side, n) for n in shape[2:]]
    # A thin axis holds no whole box: the others then take what it cannot.
    sides[-1] = min(shape[-1], max(1, round(100 / percent / prod(sides[:-1]))))
    counts = [-(-n // s) for n, s in zip(shape[2:], sides, strict=True)]
    mask = torch.zeros((*shape[:2], *(c * s for c, s in zip(counts, sides, strict=True))), dtype=torch.bool)
    boxes = torch.cartesian_prod(*(torch.arange(n) for n in (*shape[:2], *counts)))
    corner = boxes[:, 2:] * torch.tensor(sides)
    jitter = torch.stack([torch.randint(s, (len(boxes),), generator=generator) for s in sides], 1)
    mask[(boxes[:, 0], boxes[:, 1], *(corner + jitter).T)] = True
    return crop(mask, shape[2:])


def hide(x: Tensor, blind: Tensor, masking: Masking, radius: int, generator: torch.Generator) -> Tensor:
    """x (N, C, *S) with its blind pixels replaced by a neighbour, or by the neighbours' mean or median.

    Neighbours are the window of this radius without its centre, cut at the border: no pixel can stand for itself.
    """
    positions = blind.nonzero()
    values, inside = neighbours(x, positions, radius)
    if masking == "uniform":
        lots = torch.rand(inside.shape, generator=generator).to(x.device)
        chosen = values.gather(1, torch.where(inside, lots, -1.0).argmax(1, keepdim=True))[:, 0]
    elif masking == "mean":
        chosen = (values * inside).sum(1) / inside.sum(1)
    else:
        chosen = torch.where(inside, values, torch.nan).nanmedian(1).values
    hidden = x.clone()
    hidden[tuple(positions.T)] = chosen
    return hidden


def neighbours(x: Tensor, positions: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Values (M, K) of the K window offsets around M positions, and which of them lie inside the image."""
    window = [o for o in product(range(-radius, radius + 1), repeat=x.ndim - 2) if any(o)]
    offsets = torch.tensor(window, device=x.device)
    size = torch.tensor(x.shape[2:], device=x.device)
    where = positions[:, None, 2:] + offsets
    inside = ((where >= 0) & (where < size)).all(-1)
    where = where.clamp(torch.zeros_like(size), size - 1)
    sample, channel = positions[:, :1], positions[:, 1:2]
    return x[(sample, channel, *where.unbind(-1))], inside
