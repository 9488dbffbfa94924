"""Structures thinner than a pixel: filaments, puncta and vesicles, as light distributed over the nearest pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisewise.scenes.fields import smooth_field, texture
from noisewise.scenes.optics import gaussian_blur
from noisewise.scenes.rng import Rng


def filaments(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw filaments with a persistence length, as in a cytoskeleton; brightness varies between and along them."""
    dims, size = len(shape), torch.tensor([float(side) for side in shape])
    count = max(2, int(rng.log_uniform(0.0002, 0.004) * math.prod(shape) ** (2 / 3 if dims == 3 else 1)))
    steps = int(rng.uniform(0.5, 2) * 2 * max(shape))
    persistence = rng.log_uniform(10, 400)
    start = rng.uniforms(count, dims) * size
    # The direction is a random walk on the sphere, in steps of half a pixel.
    change = rng.normal(count, steps, dims) * persistence**-0.5
    heading = rng.directions(count, dims)[:, None] + torch.cumsum(change, 1)
    heading = heading / heading.norm(dim=2, keepdim=True).clamp(min=1e-3)
    positions = start[:, None] + 0.5 * torch.cumsum(heading, 1)
    brightness = torch.exp(rng.uniform(0, 0.8) * rng.normal(count, 1)).expand(-1, steps)
    beads = 1 + rng.uniform(0, 0.5) * rng.normal(count, steps)
    return splat(shape, positions.reshape(-1, dims), (brightness * beads.clamp(min=0)).reshape(-1))


def tubes(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw worm-like bodies a few pixels thick, some with stripes or grains inside, as in mitochondria."""
    length, thickness = rng.log_uniform(6, 60), rng.log_uniform(0.8, 5)
    dims, size = len(shape), torch.tensor([float(side) for side in shape])
    count = max(3, int(rng.uniform(0.1, 0.6) * math.prod(shape) / (length * (2 * thickness) ** (dims - 1))))
    steps = max(4, int(2 * length))
    change = rng.normal(count, steps, dims) * rng.log_uniform(3, 60) ** -0.5
    heading = rng.directions(count, dims)[:, None] + torch.cumsum(change, 1)
    heading = heading / heading.norm(dim=2, keepdim=True).clamp(min=1e-3)
    positions = rng.uniforms(count, 1, dims) * size + 0.5 * torch.cumsum(heading, 1)
    brightness = torch.exp(rng.uniform(0, 0.6) * rng.normal(count, 1)).expand(-1, steps)
    light = gaussian_blur(splat(shape, positions.reshape(-1, dims), brightness.reshape(-1)), [thickness] * dims)
    middle = 1 / (math.sqrt(2 * math.pi) * thickness) ** (dims - 1)  # along the axis of a body, two lights a pixel
    body = torch.tanh(rng.uniform(0.5, 4) * light / middle)
    if rng.bernoulli(0.6):
        body = body * (1 + rng.uniform(0.2, 1.5) * (texture(shape, rng) - 0.5)).clamp(min=0)
    return body


def puncta(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw spots of random brightness, uniformly distributed or in clusters."""
    dims, size = len(shape), torch.tensor([float(side) for side in shape])
    count = max(3, int(rng.log_uniform(0.0005, 0.02) * math.prod(shape) ** (2 / 3 if dims == 3 else 1)))
    positions = rng.uniforms(count, dims) * size
    if rng.bernoulli(0.5):  # only where a smooth field is high
        density = smooth_field(shape, rng.log_uniform(8, max(shape) / 4 + 8), rng)
        inside = density[tuple(positions.long().unbind(1))] > rng.uniform(0, 1)
        positions = positions[inside] if inside.any() else positions
    brightness = torch.exp(rng.uniform(0, 1.2) * rng.normal(len(positions)))
    return splat(shape, positions, brightness)


def vesicles(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw small hollow spheres, rings in two dimensions."""
    dims, size = len(shape), torch.tensor([float(side) for side in shape])
    count = max(3, int(rng.log_uniform(0.0002, 0.004) * math.prod(shape) ** (2 / 3 if dims == 3 else 1)))
    radius = rng.log_uniform(1.5, 8)
    radii = radius * torch.exp(0.3 * rng.normal(count))
    dots = int(8 * radius ** (dims - 1)) + 8
    around = rng.directions(count * dots, dims).reshape(count, dots, dims)
    positions = rng.uniforms(count, 1, dims) * size + radii[:, None, None] * around
    brightness = torch.exp(0.5 * rng.normal(count, 1)).expand(-1, dots)
    return splat(shape, positions.reshape(-1, dims), brightness.reshape(-1))


def splat(shape: Sequence[int], positions: Tensor, brightness: Tensor) -> Tensor:
    """Add light at subpixel positions (N, dims), each distributed over the 2^dims pixels around it."""
    scene = torch.zeros(math.prod(shape))
    size = torch.tensor(list(shape))
    whole = positions.floor()
    part = positions - whole
    for corner in itertools.product((0, 1), repeat=len(shape)):
        offset = torch.tensor(corner)
        pixel = whole.long() + offset
        weight = torch.where(offset.bool(), part, 1 - part).prod(1) * brightness
        inside = ((pixel >= 0) & (pixel < size)).all(1)
        index = torch.zeros(int(inside.sum()), dtype=torch.long)
        for axis, side in enumerate(shape):
            index = index * side + pixel[inside, axis]
        scene.index_add_(0, index, weight[inside])
    return scene.reshape(tuple(shape))
