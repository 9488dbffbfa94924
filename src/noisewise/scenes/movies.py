"""Synthetic movies: layers that rest, drift or jitter, with bleaching."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.scenes.rng import Rng

FASTEST = 3.0  # pixels per frame


def movie(still: Callable[[Sequence[int]], Tensor], frames: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw a movie (T, Y, X) of two layers, each drawn by `still`, with independent motion and common bleaching."""
    layers = [moving(still, frames, shape, rng) for _ in range(2)]
    scene = layers[0] + rng.uniform(0, 1) * layers[1]
    half_life = frames * rng.log_uniform(0.5, 20)
    fading = 2 ** (-torch.arange(float(frames)) / half_life)
    flicker = 1 + rng.uniform(0, 0.05) * rng.normal(frames)
    scene = scene * (fading * flicker.clamp(min=0.5))[:, None, None]
    return scene / scene.amax().clamp(min=1e-6)


def moving(still: Callable[[Sequence[int]], Tensor], frames: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw one layer (T, Y, X) with a constant drift, jitter from frame to frame, both, or none."""
    speed = rng.log_uniform(0.02, FASTEST) if rng.bernoulli(0.7) else 0.0
    jitter = rng.log_uniform(0.02, 0.5) if rng.bernoulli(0.3) else 0.0
    drift = speed * torch.tensor(rng.direction(2))
    positions = drift * torch.arange(float(frames))[:, None] + jitter * rng.normal(frames, 2)
    positions = positions - positions.amin(0)
    border = math.ceil(float(positions.max())) + 2
    canvas = still([size + border + 1 for size in shape])
    return torch.stack([window(canvas, position, shape) for position in positions])


def window(canvas: Tensor, position: Tensor, shape: Sequence[int]) -> Tensor:
    """A window of the canvas at a subpixel position (cubic interpolation)."""
    y, x = (torch.arange(float(size)) + float(start) + 1 for size, start in zip(shape, position, strict=True))
    across, down = 2 * x / (canvas.shape[1] - 1) - 1, 2 * y / (canvas.shape[0] - 1) - 1
    grid = torch.stack([across.expand(len(y), -1), down[:, None].expand(-1, len(x))], -1)[None]
    found = F.grid_sample(canvas[None, None], grid, mode="bicubic", padding_mode="border", align_corners=True)
    return found[0, 0].clamp(min=0)
