"""What is thinner than a pixel: filaments and puncta, drawn as light that falls on the pixels around it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisewise.scenes.fields import smooth_field
from noisewise.scenes.rng import Rng


def filaments(shape: Sequence[int], rng: Rng) -> Tensor:
    """Filaments that bend over a persistence length, like a cytoskeleton; brightness per filament and along it."""
    dims, size = len(shape), torch.tensor([float(side) for side in shape])
    count = max(2, int(rng.log_uniform(0.0002, 0.004) * math.prod(shape) ** (2 / 3 if dims == 3 else 1)))
    steps = int(rng.uniform(0.5, 2) * 2 * max(shape))
    persistence = rng.log_uniform(10, 400)
    start = rng.uniforms(count, dims) * size
    # Unit vectors that wander: a random walk on the sphere with steps of half a pixel.
    wander = rng.normal(count, steps, dims) * persistence**-0.5
    heading = rng.directions(count, dims)[:, None] + torch.cumsum(wander, 1)
    heading = heading / heading.norm(dim=2, keepdim=True).clamp(min=1e-3)
    places = start[:, None] + 0.5 * torch.cumsum(heading, 1)
    bright = torch.exp(rng.uniform(0, 0.8) * rng.normal(count, 1)).expand(-1, steps)
    beads = 1 + rng.uniform(0, 0.5) * rng.normal(count, steps)
    return splat(shape, places.reshape(-1, dims), (bright * beads.clamp(min=0)).reshape(-1))


def puncta(shape: Sequence[int], rng: Rng) -> Tensor:
    """Spots: single ones, crowds, and their brightnesses."""
    dims, size = len(shape), torch.tensor([float(side) for side in shape])
    count = max(3, int(rng.log_uniform(0.0005, 0.02) * math.prod(shape) ** (2 / 3 if dims == 3 else 1)))
    places = rng.uniforms(count, dims) * size
    if rng.bernoulli(0.5):  # where a field is high
        chosen = smooth_field(shape, rng.log_uniform(8, max(shape) / 4 + 8), rng)
        whole = places.long()
        inside = chosen[tuple(whole.unbind(1))] > rng.uniform(0, 1)
        places = places[inside] if inside.any() else places
    bright = torch.exp(rng.uniform(0, 1.2) * rng.normal(len(places)))
    return splat(shape, places, bright)


def vesicles(shape: Sequence[int], rng: Rng) -> Tensor:
    """Small hollow spheres: rings in two dimensions."""
    dims, size = len(shape), torch.tensor([float(side) for side in shape])
    count = max(3, int(rng.log_uniform(0.0002, 0.004) * math.prod(shape) ** (2 / 3 if dims == 3 else 1)))
    radius = rng.log_uniform(1.5, 8)
    radii = radius * torch.exp(0.3 * rng.normal(count))
    dots = int(8 * radius ** (dims - 1)) + 8
    around = rng.directions(count * dots, dims).reshape(count, dots, dims)
    places = rng.uniforms(count, 1, dims) * size + radii[:, None, None] * around
    bright = torch.exp(0.5 * rng.normal(count, 1)).expand(-1, dots)
    return splat(shape, places.reshape(-1, dims), bright.reshape(-1))


def splat(shape: Sequence[int], places: Tensor, bright: Tensor) -> Tensor:
    """Light at places (N, dims) of any fraction of a pixel, shared among the 2^dims pixels around each."""
    scene = torch.zeros(math.prod(shape))
    size = torch.tensor(list(shape))
    whole = places.floor()
    part = places - whole
    for corner in itertools.product((0, 1), repeat=len(shape)):
        offset = torch.tensor(corner)
        pixel = whole.long() + offset
        weight = torch.where(offset.bool(), part, 1 - part).prod(1) * bright
        inside = ((pixel >= 0) & (pixel < size)).all(1)
        flat = torch.zeros(int(inside.sum()), dtype=torch.long)
        for axis, side in enumerate(shape):
            flat = flat * side + pixel[inside, axis]
        scene.index_add_(0, flat, weight[inside])
    return scene.reshape(tuple(shape))
