"""Specks: single pixels of a result that stick out of smooth surroundings by less than noisy pixels can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad


@dataclass(frozen=True)
class Speck:
    """What counts as a speck: it differs from the mean of the others in a square of `side` pixels by less than `most`
    standard deviations of the noise, and by more than `factor` times as much as the pixels around that square differ
    from theirs, within a square of `ring` pixels.
    """

    side: int
    ring: int
    factor: float
    most: float


WHITE = (Speck(3, 13, 4.0, 0.3),)
SMOOTH = (Speck(5, 13, 2.5, 0.5), Speck(3, 7, 4.0, 0.7))
REACH = max(sum(one.side // 2 + one.ring // 2 for one in kinds) for kinds in (WHITE, SMOOTH))  # pixels


def without_specks(image: Tensor, std: Tensor, kinds: Sequence[Speck]) -> Tensor:
    """Planes (N, 1, Y, X) with the median of their surroundings in place of specks. std: of the noise, in any shape
    that broadcasts.
    """
    for kind in kinds:
        inner, outer = kind.side**2, kind.ring**2
        away = (image - surround(image, kind.side)).abs() / std
        typical = (outer * around(away, kind.ring) - inner * around(away, kind.side)).clamp(min=0) / (outer - inner)
        speck = (away > kind.factor * typical) & (away < kind.most)
        if torch._C._get_tracing_state() or speck.any():  # an exported network has no branches
            image = torch.where(speck, median_along(median_along(image, kind.side, -1), kind.side, -2), image)
    return image


def around(image: Tensor, side: int, mode: str = "replicate") -> Tensor:
    """Mean of a square of pixels around each, with replicated (or mirrored) borders."""
    return avg_pool2d(pad(image, (side // 2,) * 4, mode=mode), side, 1)


def surround(image: Tensor, side: int = 3) -> Tensor:
    """Mean of the others in a square of pixels around each; borders are mirrored, so that no pixel is among them."""
    return (side**2 * around(image, side, "reflect") - image) / (side**2 - 1)


def median_along(image: Tensor, side: int, axis: int) -> Tensor:
    """Median of 3 or 5 pixels along Y (-2) or X (-1), with replicated borders.

    Of four of five numbers, neither the smaller minimum nor the larger maximum of two pairs is the median.
    """
    edge, size = (side // 2,) * 2, image.shape[axis]
    padded = pad(image, (*edge, 0, 0) if axis == -1 else (0, 0, *edge), mode="replicate")
    parts = [padded.narrow(axis, start, size) for start in range(side)]
    if side == 5:
        a, b, c, d, rest = parts
        low = torch.maximum(torch.minimum(a, b), torch.minimum(c, d))
        parts = [low, torch.minimum(torch.maximum(a, b), torch.maximum(c, d)), rest]
    a, b, c = parts
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
