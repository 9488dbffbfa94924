"""Dead leaves: shapes of all sizes that hide one another, as things do in the world.

Source: Lee, Mumford and Huang 2001: with sizes distributed as r⁻³, such images have the statistics of natural ones
at every scale. Achddou et al. 2025 for leaves with textures and outlines of many kinds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisewise.scenes.fields import along, smooth_field, texture
from noisewise.scenes.rng import Rng

MOST = 3000  # shapes of one scene
GREYS = 8  # of a scene that has few
FACES = (3, 7)  # of a polygon or polyhedron
STRIPED = 4.0  # radius of the smallest shape with a pattern, pixels


@dataclass(frozen=True)
class Material:
    """What the shapes of one scene are made of.

    greys: the only ones; none: all. papers: textures to be cut from. wobble: a field that bends outlines and stripes.
    """

    greys: list[float]
    papers: list[Tensor]
    wobble: Tensor

    @classmethod
    def chosen(cls, shape: Sequence[int], rng: Rng) -> Material:
        """By chance."""
        greys = rng.uniforms(GREYS).tolist() if rng.bernoulli(0.4) else []
        papers = [texture(shape, rng) - 0.5 for _ in range(rng.integer(1, 3))]
        return cls(greys, papers, smooth_field(shape, rng.log_uniform(4, 30), rng))

    def pixel_values(self, rng: Rng) -> float:
        """That of one shape."""
        return self.greys[rng.integer(0, len(self.greys) - 1)] if self.greys else rng.uniform(0, 1)


def dead_leaves(shape: Sequence[int], rng: Rng) -> Tensor:
    """Ellipses, boxes, polygons and their 3D kin; each plain, shaded, striped, woven or textured; in [0, 1]."""
    smallest, largest = rng.log_uniform(1.2, 10), 0.5 * min(shape)
    material = Material.chosen(shape, rng)
    scene = torch.full(tuple(shape), rng.uniform(0, 1))
    area, wanted = 0.0, 3.0 * math.prod(shape)
    for _ in range(MOST):
        radius = power_law(smallest, largest, rng)
        area += (2 * radius) ** len(shape)
        paint(scene, material, radius, rng)
        if area > wanted:
            break
    return scene


def power_law(low: float, high: float, rng: Rng) -> float:
    """r with density ∝ r⁻³ between two radii."""
    lot = rng.uniform(0, 1)
    return 1 / math.sqrt(low**-2 - lot * (low**-2 - high**-2))


def paint(scene: Tensor, material: Material, radius: float, rng: Rng) -> None:
    """One shape over what is there."""
    centre = [rng.uniform(0, size) for size in scene.shape]
    box = tuple(
        slice(max(int(c - radius), 0), min(int(c + radius) + 2, size))
        for c, size in zip(centre, scene.shape, strict=True)
    )
    away = torch.meshgrid(
        *(torch.arange(part.start, part.stop) - c for part, c in zip(box, centre, strict=True)), indexing="ij"
    )
    axes = turned(away, rng)
    inside = outline(axes, material.wobble[box], radius, rng)
    value = filling(axes, material, box, radius, rng)
    scene[box] = torch.where(inside, value.clamp(0, 1), scene[box])


def outline(axes: Sequence[Tensor], wobble: Tensor, radius: float, rng: Rng) -> Tensor:
    """Where a shape of about this radius is: a box, a polygon, an ellipse, or one whose outline wanders."""
    kind = rng.uniform(0, 1)
    if kind < 0.25:
        faces = [along(rng.direction(len(axes)), axes) for _ in range(rng.integer(*FACES))]
        return torch.stack(faces).amax(0) < 0.5 * radius
    parts = torch.stack([axis.abs() / (radius * rng.uniform(0.3, 1.0)) for axis in axes])
    if kind < 0.5:
        return parts.amax(0) < 0.7
    bend = rng.uniform(0.1, 0.4) * wobble if kind < 0.7 else 0.0
    return (parts**2).sum(0) + bend < 1


def filling(axes: Sequence[Tensor], material: Material, box: tuple[slice, ...], radius: float, rng: Rng) -> Tensor:
    """The grey values of one shape."""
    value = torch.full_like(material.wobble[box], material.pixel_values(rng))
    kind = rng.uniform(0, 1)
    if kind < 0.2:
        return value + rng.uniform(-0.5, 0.5) * axes[0] / radius
    if kind < 0.4 and radius > STRIPED:
        return value + rng.uniform(0.1, 0.5) * pattern(axes, material.wobble[box], radius, rng)
    if kind < 0.65:
        paper = material.papers[rng.integer(0, len(material.papers) - 1)]
        return value + rng.log_uniform(0.1, 1.0) * paper[box]
    return value


def pattern(axes: Sequence[Tensor], wobble: Tensor, radius: float, rng: Rng) -> Tensor:
    """Stripes or a weave, in [-1, 1]: even or bent, of soft or of hard edges."""
    bend = rng.uniform(0, 1.5) * wobble if rng.bernoulli(0.4) else 0.0
    wavelength = rng.log_uniform(2.2, max(min(radius, 16), 3))
    wave = torch.sin(2 * math.pi * axes[0] / wavelength + bend)
    if rng.bernoulli(0.4):
        wave = wave * torch.sin(2 * math.pi * axes[1] / (wavelength * rng.log_uniform(0.5, 2)) + bend)
    if rng.bernoulli(0.4):
        wave = torch.tanh(rng.log_uniform(1, 8) * (wave + rng.uniform(-0.6, 0.6)))
    return wave


def turned(away: Sequence[Tensor], rng: Rng) -> list[Tensor]:
    """Coordinates in axes that are turned by chance about the last two."""
    angle = rng.uniform(0, math.pi)
    y, x = away[-2:]
    c, s = math.cos(angle), math.sin(angle)
    return [c * x + s * y, c * y - s * x, *away[:-2]]
