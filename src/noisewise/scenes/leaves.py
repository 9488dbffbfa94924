"""Dead leaves: shapes of all sizes that hide one another, as things do in the world.

Source: Lee, Mumford and Huang 2001: with sizes distributed as r⁻³, such images have the statistics of natural ones
at every scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisewise.scenes.chance import Chance
from noisewise.scenes.fields import texture

MOST = 3000  # shapes of one scene


def dead_leaves(shape: Sequence[int], chance: Chance) -> Tensor:
    """Ellipses and boxes (in 3D ellipsoids and bricks), each plain, shaded, striped or textured; in [0, 1]."""
    smallest, largest = chance.log_uniform(1.5, 6), 0.5 * min(shape)
    greys = chance.uniforms(8)  # a scene has its own few greys, or all
    few, paper = chance.happens(0.4), texture(shape, chance) - 0.5
    scene = torch.full(tuple(shape), chance.uniform(0, 1))
    area, wanted = 0.0, 3.0 * math.prod(shape)
    for _ in range(MOST):
        radius = power_law(smallest, largest, chance)
        area += (2 * radius) ** len(shape)
        grey = float(greys[chance.integer(0, 7)]) if few else chance.uniform(0, 1)
        paint(scene, paper, radius, grey, chance)
        if area > wanted:
            break
    return scene


def power_law(low: float, high: float, chance: Chance) -> float:
    """r with density ∝ r⁻³ between two radii."""
    lot = chance.uniform(0, 1)
    return 1 / math.sqrt(low**-2 - lot * (low**-2 - high**-2))


def paint(scene: Tensor, paper: Tensor, radius: float, grey: float, chance: Chance) -> None:
    """One shape over what is there."""
    dims = scene.ndim
    centre = [chance.uniform(0, size) for size in scene.shape]
    box = tuple(
        slice(max(int(c - radius), 0), min(int(c + radius) + 2, size))
        for c, size in zip(centre, scene.shape, strict=True)
    )
    away = torch.meshgrid(
        *(torch.arange(part.start, part.stop) - c for part, c in zip(box, centre, strict=True)), indexing="ij"
    )
    axes = turned(away, chance)
    sizes = [radius * chance.uniform(0.3, 1.0) for _ in range(dims)]
    parts = torch.stack([along.abs() / size for along, size in zip(axes, sizes, strict=True)])
    inside = (parts**2).sum(0) < 1 if chance.happens(0.6) else parts.amax(0) < 0.7
    value = torch.full_like(scene[box], grey)
    kind = chance.uniform(0, 1)
    if kind < 0.2:
        value = value + chance.uniform(-0.5, 0.5) * axes[0] / radius
    elif kind < 0.3 and radius > 4:
        value = value + chance.uniform(0.1, 0.5) * torch.sin(2 * math.pi * axes[0] / chance.log_uniform(2.2, radius))
    elif kind < 0.5:
        value = value + chance.uniform(0.1, 0.8) * paper[box]
    scene[box] = torch.where(inside, value.clamp(0, 1), scene[box])


def turned(away: Sequence[Tensor], chance: Chance) -> list[Tensor]:
    """Coordinates in axes that are turned by chance about the last two."""
    angle = chance.uniform(0, math.pi)
    y, x = away[-2:]
    c, s = math.cos(angle), math.sin(angle)
    return [c * x + s * y, c * y - s * x, *away[:-2]]
