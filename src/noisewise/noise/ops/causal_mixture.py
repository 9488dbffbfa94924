"""Memory: a pixel's value given those before it, a sum of Gaussians whose parts a small network tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.noise.base import drawn

Axis = Literal["X", "Y", "YX"]
FAR, NEAR = 32, 3  # pixels along the axis; about the pixel, in a raster
NARROWEST = 0.02  # standard deviations


def causal_offsets(axis: Axis, far: int = FAR) -> list[tuple[int, int]]:
    """Offsets (Y, X) of the pixels that are remembered: along one axis, or in a raster (left in the row, and above)."""
    left, above = [(0, -x) for x in range(1, far + 1)], [(-y, 0) for y in range(1, far + 1)]
    if axis != "YX":
        return left if axis == "X" else above
    near = [(-y, x) for y in range(1, NEAR + 1) for x in range(-NEAR, NEAR + 1) if x]
    return left + above + near


class CausalMixture(nn.Module):
    """p(z_i | z_j of offsets j, c_i) = Σ_k w_k N(μ_k, σ_k²); z (N, Y, X), contexts c (N, Y, X, context).

    The means are a linear prediction and a correction by the network, which also tells weights and widths; it is told
    which of the z_j are known, as those beyond the border are not.
    """

    def __init__(
        self, offsets: Sequence[tuple[int, int]], context: int, features: int = 32, components: int = 3
    ) -> None:
        super().__init__()
        self.offsets = list(offsets)
        self.linear = nn.Linear(len(offsets), 1)
        self.told = nn.Linear(features, 3 * components)
        self.net = nn.Sequential(
            nn.Linear(2 * len(offsets) + context, features), nn.GELU(), nn.Linear(features, features), nn.GELU(),
        )  # fmt: skip
        with torch.no_grad():
            self.told.weight *= 0.1

    @property
    def reach(self) -> tuple[int, int, int]:
        """Pixels that are remembered above, to the left and to the right."""
        rows, columns = zip(*self.offsets, strict=True)
        return -min(rows), -min(columns), max(0, *columns)

    def context_values(self, z: Tensor) -> Tensor:
        """Values (N, Y, X, offsets) before each pixel, and whether they are known: (N, Y, X, 2 offsets)."""
        above, left, right = self.reach
        both = F.pad(torch.stack([z, torch.ones_like(z)]), (left, right, above, 0))
        height, width = z.shape[-2:]
        parts = [both[..., above + y : above + y + height, left + x : left + x + width] for y, x in self.offsets]
        return torch.cat(torch.stack(parts, -1).unbind(0), -1)

    def forward(self, context_values: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log w, μ and σ, (..., components)."""
        logits, shift, width = self.told(self.net(torch.cat([context_values, context], -1))).chunk(3, -1)
        linear = self.linear(context_values[..., : len(self.offsets)])
        return logits.log_softmax(-1), linear + shift, F.softplus(width) + NARROWEST

    def walk(self, context: Tensor, generator: torch.Generator | None) -> Tensor:
        """z drawn pixel after pixel, (N, Y, X); those that do not remember each other at the same time."""
        above, left, right = self.reach
        count, height, width = context.shape[:3]
        shape = (height + above, width + left + right)
        z, known = (context.new_zeros(count, shape[0] * shape[1]) for _ in range(2))
        offsets = torch.tensor([y * shape[1] + x for y, x in self.offsets], device=context.device)
        # Down the rows, each begins as late as all that it remembers is there; or columns go together, row after row.
        slant = (right + 1) if above and left else 0
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        turn = (columns + slant * rows if left else rows).flatten().to(context.device)
        order = turn.argsort(stable=True)
        ends = turn[order].bincount().cumsum(0).tolist()
        places = ((rows + above) * shape[1] + columns + left).flatten().to(context.device)
        told = context.flatten(1, 2)
        lots = torch.rand((count, height * width), generator=generator, dtype=context.dtype, device=context.device)
        normal = torch.randn((count, height * width), generator=generator, dtype=context.dtype, device=context.device)
        for start, end in zip([0, *ends], ends, strict=False):
            pixels = order[start:end]
            seen = places[pixels][:, None] + offsets
            log_weight, mean, std = self(torch.cat([z[:, seen], known[:, seen]], -1), told[:, pixels])
            chosen = drawn(log_weight.exp(), lots[:, pixels, None])
            value = mean.gather(-1, chosen)[..., 0] + std.gather(-1, chosen)[..., 0] * normal[:, pixels]
            z[:, places[pixels]], known[:, places[pixels]] = value, 1.0
        return z.reshape(count, *shape)[:, above:, left : left + width]
