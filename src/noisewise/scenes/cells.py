"""Synthetic cells: membranes of a packed tissue, and nuclei with internal structure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisewise.scenes.fields import smooth_field, texture
from noisewise.scenes.rng import Rng

MOST_CELLS = 60  # in one scene


def distances(shape: Sequence[int], rng: Rng) -> tuple[Tensor, Tensor, Tensor, float]:
    """Distances of each pixel to the two nearest cell centres, the nearest cell, and the spacing of the cells."""
    dims = len(shape)
    spacing = max(rng.log_uniform(8, max(max(shape) / 2, 16)), (math.prod(shape) / MOST_CELLS) ** (1 / dims))
    count = max(2, round(math.prod(size / spacing + 1 for size in shape)))
    centres = rng.uniforms(count, dims) * torch.tensor([size + 2 * spacing for size in shape]) - spacing
    bend, softness = rng.uniform(0, 0.5) * spacing, rng.uniform(0.5, 2) * spacing
    grid = torch.stack(torch.meshgrid(*(torch.arange(float(size)) for size in shape), indexing="ij"), -1)
    grid = grid + bend * torch.stack([smooth_field(shape, softness, rng) for _ in range(dims)], -1) * 0.5
    nearest = torch.cdist(grid.reshape(-1, dims), centres).topk(2, largest=False)
    first, second = (part.reshape(tuple(shape)) for part in nearest.values.unbind(1))
    return first, second, nearest.indices[:, 0].reshape(tuple(shape)), spacing


def membranes(shape: Sequence[int], rng: Rng) -> Tensor:
    """Membranes of packed cells; some cells are filled."""
    first, second, cell, spacing = distances(shape, rng)
    width = rng.log_uniform(0.7, max(spacing / 6, 1.4))
    wall = torch.exp(-(((second - first) / (2 * width)) ** 2))
    wall = wall * (1 + rng.uniform(0, 0.5) * smooth_field(shape, rng.log_uniform(2, 20), rng)).clamp(min=0)
    filling = rng.uniform(0, 0.5) * rng.uniforms(int(cell.max()) + 1)[cell]
    return wall + filling * texture(shape, rng)


def nuclei(shape: Sequence[int], rng: Rng) -> Tensor:
    """Textured nuclei of random brightness, with darker or brighter spots inside."""
    first, _, cell, spacing = distances(shape, rng)
    cells = int(cell.max()) + 1
    radius = spacing * (0.25 + 0.25 * rng.uniforms(cells)[cell])
    edge = rng.uniform(0.5, 2.0)
    body = torch.sigmoid((radius - first) / edge) * torch.exp(0.4 * rng.normal(cells))[cell]
    inner = 1 + rng.uniform(0.2, 1.0) * (texture(shape, rng) - 0.5)
    spots = smooth_field(shape, rng.log_uniform(2, max(spacing / 4, 3)), rng) > rng.uniform(1.2, 2.2)
    return body * inner * torch.where(spots, rng.uniform(0.2, 1.6), 1.0)
