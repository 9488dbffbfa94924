"""Neighbouring planes of a scene, in time or in depth: moving, changing, flickering, and some that are unrelated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.scenes.rng import Rng

UNRELATED, CUT = 0.22, 0.16  # share of sequences: of planes that have nothing in common; with a cut
FLASHES, MOST_FLASHES = 0.6, 30  # share of sequences with spots that light up in one plane; spots
STILL, FASTEST = 0.25, 8.0  # share of scenes at rest; pixels from plane to plane
Still = Callable[[], Tensor]


def sequence(still: Still, planes: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw neighbouring planes (planes, Y, X) of a scene.

    still: draws a single scene, larger than `shape`. The scene moves, bends, turns and grows from plane to plane, or
    rests; parts of it appear and vanish; it flickers, bleaches and blinks; single spots light up in one plane. Some
    sequences have a cut, or planes that have nothing in common.
    """
    kind = rng.uniform(0, 1)
    if kind < UNRELATED:
        return unrelated(still, planes, shape, rng)
    scene = changing(still, planes, shape, rng)
    if kind < UNRELATED + CUT and planes > 1:
        first = rng.integer(1, planes - 1)
        scene = torch.cat([scene[:first], changing(still, planes, shape, rng)[first:]])
    scene = scene * brightness(planes, rng)[:, None, None]
    return with_flashes(scene, rng) if rng.bernoulli(FLASHES) else scene


def unrelated(still: Still, planes: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """Planes of different scenes, or from different places of one."""
    scene = still() if rng.bernoulli(0.5) else None
    return torch.cat([moving(still() if scene is None else scene, 1, shape, rng) for _ in range(planes)])


def changing(still: Still, planes: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """One or two layers that move on their own; parts of the second appear, vanish or blink."""
    scene = moving(still(), planes, shape, rng)
    if rng.bernoulli(0.5):
        return scene
    other = moving(still(), planes, shape, rng)
    if rng.bernoulli(0.6):
        along = torch.arange(float(planes)) - (planes - 1) / 2
        level = rng.uniform(-1.5, 1.5) * along if rng.bernoulli(0.6) else 3 * rng.normal(planes)
        where = smooth_map(shape, rng) + level[:, None, None]
        mask = torch.sigmoid(rng.log_uniform(2, 20) * where)
        if rng.bernoulli(0.5):
            return torch.lerp(scene, other, mask)
        other = other * mask
    return scene + rng.uniform(0.2, 1.5) * other


def moving(scene: Tensor, planes: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """A window (planes, *shape) of a scene (Y, X) that moves over it, with cubic interpolation."""
    size = torch.tensor([float(side) for side in scene.shape])
    window = torch.tensor([float(side) for side in shape])
    corner = rng.uniforms(2) * (size - window)
    y, x = (torch.arange(side, dtype=torch.float32) for side in shape)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1) + corner
    time = torch.arange(float(planes))[:, None, None, None] - planes // 2
    if planes > 1 and not rng.bernoulli(STILL):
        grid = grid + time * velocity(shape, rng)
        if rng.bernoulli(0.3):
            grid = grid + rng.log_uniform(0.02, 0.5) * rng.normal(planes, 1, 1, 2)
        if rng.bernoulli(0.1):  # some planes lie elsewhere
            jumps = rng.uniform(1, FASTEST) * rng.normal(planes, 1, 1, 2)
            grid = grid + torch.where(rng.uniforms(planes, 1, 1, 1) < 0.4, jumps, 0.0)
    if rng.bernoulli(0.5):
        grid = grid.flip(-1)  # exchanges the axes
    place = (2 * grid + 1) / size - 1
    place = place.expand(planes, *place.shape[-3:]).flip(-1)
    return F.grid_sample(
        scene[None, None].expand(planes, -1, -1, -1), place, mode="bicubic", padding_mode="reflection",
        align_corners=False,
    )[:, 0].clamp(min=0)  # fmt: skip


def velocity(shape: Sequence[int], rng: Rng) -> Tensor:
    """A smooth field (Y, X, 2) of velocities, pixels from plane to plane: drift, rotation, growth and deformation."""
    speed = rng.log_uniform(0.02, FASTEST)
    field = speed * torch.tensor(rng.direction(2)).expand(*shape, 2)
    if rng.bernoulli(0.4):
        y, x = (torch.linspace(-1, 1, side) for side in shape)
        axes = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)
        turn, growth = rng.log_uniform(0.05, 3) * rng.normal(2)
        field = field + turn * axes.flip(-1) * torch.tensor([1.0, -1.0]) + growth * axes
    if rng.bernoulli(0.4):
        field = field + rng.log_uniform(0.05, 3) * torch.stack([smooth_map(shape, rng) for _ in range(2)], -1)
    return field


def smooth_map(shape: Sequence[int], rng: Rng) -> Tensor:
    """A smooth random map (Y, X) of about unit variance, with a few bumps along each side."""
    count = rng.integer(3, 12)
    coarse = rng.normal(1, 1, count, count)
    return F.interpolate(coarse, tuple(shape), mode="bicubic", align_corners=True)[0, 0]


def brightness(planes: int, rng: Rng) -> Tensor:
    """A factor for each plane: bleaching, flicker, or neither."""
    factor = torch.ones(planes)
    if rng.bernoulli(0.2):
        factor = factor * torch.exp(-rng.log_uniform(0.01, 0.5) * torch.arange(float(planes)))
    if rng.bernoulli(0.2):
        factor = factor * torch.exp(rng.log_uniform(0.01, 0.5) * rng.normal(planes))
    return factor.flip(0) if rng.bernoulli(0.5) else factor


def with_flashes(scene: Tensor, rng: Rng) -> Tensor:
    """Spots that light up, or go dark, in one plane each."""
    planes, height, width = scene.shape
    y, x = torch.arange(float(height))[:, None], torch.arange(float(width))
    scene, level = scene.clone(), float(scene.mean()) + 0.3 * float(scene.amax())
    for _ in range(round(rng.log_uniform(1, MOST_FLASHES))):
        plane = planes // 2 if rng.bernoulli(0.5) else rng.integer(0, planes - 1)
        radius = rng.log_uniform(0.8, 8)
        away = ((y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2) / (2 * radius**2)
        if rng.bernoulli(0.5):
            scene[plane] += rng.log_uniform(0.05, 2) * level * torch.exp(-away)
        else:  # what is there lights up or goes dark
            scene[plane] *= 1 + rng.uniform(-1, 2) * torch.exp(-away)
    return scene
