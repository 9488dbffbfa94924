"""Dead-leaves model: shapes of all sizes that occlude one another.

Sources: Lee, Mumford and Huang 2001, doi:10.1023/A:1011109015675: with sizes distributed as r⁻³, such images have the
statistics of natural images at every scale. Achddou et al. 2025, arXiv:2504.10201: leaves with textures and various
outlines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.scenes.fields import along, smooth_field, texture
from noisewise.scenes.rng import Rng

MOST_SHAPES = 3000  # in one scene
LEVELS = 8  # distinct pixel values of a scene with few
FACES = (3, 7)  # of a polygon or polyhedron
PATTERNED = 4.0  # radius of the smallest shape with a pattern, pixels


@dataclass(frozen=True)
class Material:
    """Pixel values and patterns of the shapes of one scene.

    levels: the only pixel values of shapes; empty for any in [0, 1]. textures: which shapes show a part of.
    deformation: a field that bends outlines and stripes.
    """

    levels: list[float]
    textures: list[Tensor]
    deformation: Tensor

    @classmethod
    def random(cls, shape: Sequence[int], rng: Rng) -> Material:
        """Draw the material of a scene."""
        levels = rng.uniforms(LEVELS).tolist() if rng.bernoulli(0.4) else []
        textures = [texture(shape, rng) - 0.5 for _ in range(rng.integer(1, 3))]
        return cls(levels, textures, smooth_field(shape, rng.log_uniform(4, 30), rng))

    def level(self, rng: Rng) -> float:
        """Draw the pixel value of one shape."""
        return self.levels[rng.integer(0, len(self.levels) - 1)] if self.levels else rng.uniform(0, 1)


def dead_leaves(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw ellipses, boxes, polygons or their 3D versions: uniform, shaded, striped, woven or textured; in [0, 1].

    Half of the planes are drawn at twice the size, then binned: more small shapes, with edges inside pixels.
    """
    if len(shape) == 2 and rng.bernoulli(0.5):
        return F.avg_pool2d(shapes([2 * side for side in shape], rng)[None], 2)[0]
    return shapes(shape, rng)


def shapes(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw shapes over one another until there are none behind them."""
    smallest, largest = rng.log_uniform(1.0, 8), 0.5 * min(shape)
    material = Material.random(shape, rng)
    scene = torch.full(tuple(shape), rng.uniform(0, 1))
    area, wanted = 0.0, 3.0 * math.prod(shape)
    for _ in range(MOST_SHAPES):
        radius = random_radius(smallest, largest, rng)
        area += (2 * radius) ** len(shape)
        add_shape(scene, material, radius, rng)
        if area > wanted:
            break
    return scene


def random_radius(low: float, high: float, rng: Rng) -> float:
    """Draw r with density ∝ r⁻³ between two radii, by inversion."""
    return 1 / math.sqrt(low**-2 - rng.uniform(0, 1) * (low**-2 - high**-2))


def add_shape(scene: Tensor, material: Material, radius: float, rng: Rng) -> None:
    """Draw one shape at a random position over a scene, in place."""
    centre = [rng.uniform(0, size) for size in scene.shape]
    box = tuple(
        slice(max(int(c - radius), 0), min(int(c + radius) + 2, size))
        for c, size in zip(centre, scene.shape, strict=True)
    )
    offsets = torch.meshgrid(
        *(torch.arange(part.start, part.stop) - c for part, c in zip(box, centre, strict=True)), indexing="ij"
    )
    axes = rotated(offsets, rng)
    inside = outline(axes, material.deformation[box], radius, rng)
    value = filling(axes, material, box, radius, rng)
    scene[box] = torch.where(inside, value.clamp(0, 1), scene[box])


def outline(axes: Sequence[Tensor], deformation: Tensor, radius: float, rng: Rng) -> Tensor:
    """Mask of a shape of about this radius: a box, a polygon, an ellipse, or a deformed ellipse."""
    kind = rng.uniform(0, 1)
    if kind < 0.25:
        faces = [along(rng.direction(len(axes)), axes) for _ in range(rng.integer(*FACES))]
        return torch.stack(faces).amax(0) < 0.5 * radius
    parts = torch.stack([axis.abs() / (radius * rng.uniform(0.3, 1.0)) for axis in axes])
    if kind < 0.5:
        return parts.amax(0) < 0.7
    bend = rng.uniform(0.1, 0.4) * deformation if kind < 0.7 else 0.0
    return (parts**2).sum(0) + bend < 1


def filling(axes: Sequence[Tensor], material: Material, box: tuple[slice, ...], radius: float, rng: Rng) -> Tensor:
    """Draw the pixel values of one shape."""
    value = torch.full_like(material.deformation[box], material.level(rng))
    kind = rng.uniform(0, 1)
    if kind < 0.2:
        return value + rng.uniform(-0.5, 0.5) * axes[0] / radius
    if kind < 0.35 and radius > PATTERNED:
        return value + rng.uniform(0.1, 0.5) * pattern(axes, material.deformation[box], radius, rng)
    if kind < 0.8:
        chosen = material.textures[rng.integer(0, len(material.textures) - 1)]
        return value + rng.log_uniform(0.1, 1.0) * chosen[box]
    return value


def pattern(axes: Sequence[Tensor], deformation: Tensor, radius: float, rng: Rng) -> Tensor:
    """Draw stripes or a woven pattern, in [-1, 1]: straight or bent, with soft or sharp edges."""
    bend = rng.uniform(0, 1.5) * deformation if rng.bernoulli(0.4) else 0.0
    wavelength = rng.log_uniform(2.2, max(min(radius, 16), 3))
    wave = torch.sin(2 * math.pi * axes[0] / wavelength + bend)
    if rng.bernoulli(0.4):
        wave = wave * torch.sin(2 * math.pi * axes[1] / (wavelength * rng.log_uniform(0.5, 2)) + bend)
    if rng.bernoulli(0.4):
        wave = torch.tanh(rng.log_uniform(1, 8) * (wave + rng.uniform(-0.6, 0.6)))
    return wave


def rotated(coordinates: Sequence[Tensor], rng: Rng) -> list[Tensor]:
    """Rotate coordinates by a random angle in the plane of the last two axes."""
    angle = rng.uniform(0, math.pi)
    y, x = coordinates[-2:]
    c, s = math.cos(angle), math.sin(angle)
    return [c * x + s * y, c * y - s * x, *coordinates[:-2]]
