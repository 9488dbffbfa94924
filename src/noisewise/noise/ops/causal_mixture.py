"""Autoregressive Gaussian mixture: the distribution of a pixel given its causal context, by a small network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.noise.base import sample_component

Axis = Literal["X", "Y", "YX"]
CONTEXT_LENGTH, CONTEXT_RADIUS = 32, 3  # pixels along an axis; around the pixel, in raster order
LEAST_STD = 0.02  # of a component


def causal_offsets(axis: Axis, context_length: int = CONTEXT_LENGTH) -> list[tuple[int, int]]:
    """Offsets (Y, X) of the causal context: along one axis, or in raster order (left, above, and rows above nearby)."""
    left, above = [(0, -x) for x in range(1, context_length + 1)], [(-y, 0) for y in range(1, context_length + 1)]
    if axis != "YX":
        return left if axis == "X" else above
    columns = range(-CONTEXT_RADIUS, CONTEXT_RADIUS + 1)
    return left + above + [(-y, x) for y in range(1, CONTEXT_RADIUS + 1) for x in columns if x]


class CausalMixture(nn.Module):
    """p(z_i | z_j in the causal context, c_i) = Σ_k w_k N(μ_k, σ_k²); z (N, Y, X), conditions c (N, Y, X, conditions).

    The means are a linear prediction plus a correction by the network, which also predicts weights and standard
    deviations. Its inputs include a mask of the context inside the image.

    offsets: (Y, X) of the context. conditions: number of conditions of each pixel.
    """

    def __init__(
        self, offsets: Sequence[tuple[int, int]], conditions: int, features: int = 32, components: int = 3
    ) -> None:
        super().__init__()
        self.offsets = list(offsets)
        self.linear = nn.Linear(len(offsets), 1)
        self.head = nn.Linear(features, 3 * components)
        self.net = nn.Sequential(
            nn.Linear(2 * len(offsets) + conditions, features), nn.GELU(), nn.Linear(features, features), nn.GELU(),
        )  # fmt: skip
        with torch.no_grad():
            self.head.weight *= 0.1

    @property
    def padding(self) -> tuple[int, int, int]:
        """Pixels of context above, to the left and to the right."""
        rows, columns = zip(*self.offsets, strict=True)
        return -min(rows), -min(columns), max(0, *columns)

    def context_values(self, z: Tensor) -> Tensor:
        """Values of the causal context of each pixel, and the mask of those inside the image: (N, Y, X, 2 offsets)."""
        above, left, right = self.padding
        padded = F.pad(torch.stack([z, torch.ones_like(z)]), (left, right, above, 0))
        height, width = z.shape[-2:]
        parts = [padded[..., above + y : above + y + height, left + x : left + x + width] for y, x in self.offsets]
        return torch.cat(torch.stack(parts, -1).unbind(0), -1)

    def forward(self, context_values: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log w, μ and σ, (..., components), of context values (..., 2 offsets) and conditions (..., conditions)."""
        logits, correction, raw_std = self.head(self.net(torch.cat([context_values, condition], -1))).chunk(3, -1)
        linear = self.linear(context_values[..., : len(self.offsets)])
        return logits.log_softmax(-1), linear + correction, F.softplus(raw_std) + LEAST_STD

    def sample(self, condition: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw z (N, Y, X) in causal order; pixels outside each other's context are drawn in parallel."""
        above, left, right = self.padding
        count, height, width = condition.shape[:3]
        shape = (height + above, width + left + right)
        z, known = (condition.new_zeros(count, shape[0] * shape[1]) for _ in range(2))
        offsets = torch.tensor([y * shape[1] + x for y, x in self.offsets], device=condition.device)
        # In raster order, each row follows the one above with a delay, so that its context is complete (a wavefront).
        delay = (right + 1) if above and left else 0
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        step = (columns + delay * rows if left else rows).flatten().to(condition.device)
        order = step.argsort(stable=True)
        ends = step[order].bincount().cumsum(0).tolist()
        positions = ((rows + above) * shape[1] + columns + left).flatten().to(condition.device)
        condition = condition.flatten(1, 2)
        uniform, normal = (
            draw((count, height * width), generator=generator, dtype=z.dtype, device=z.device)
            for draw in (torch.rand, torch.randn)
        )
        for start, end in zip([0, *ends], ends, strict=False):
            pixels = order[start:end]
            context = positions[pixels][:, None] + offsets
            log_weight, mean, std = self(torch.cat([z[:, context], known[:, context]], -1), condition[:, pixels])
            chosen = sample_component(log_weight.exp(), uniform[:, pixels, None])
            value = mean.gather(-1, chosen)[..., 0] + std.gather(-1, chosen)[..., 0] * normal[:, pixels]
            z[:, positions[pixels]], known[:, positions[pixels]] = value, 1.0
        return z.reshape(count, *shape)[:, above:, left : left + width]
