"""Scenes in time: what stands still, what drifts and shakes, and how it all bleaches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.scenes.rng import Rng

FASTEST = 3.0  # pixels a frame


def movie(still: Callable[[Sequence[int]], Tensor], frames: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """A movie (T, Y, X) of two layers, each drawn by `still` and moving by itself, dimmed by bleaching."""
    layers = [moving(still, frames, shape, rng) for _ in range(2)]
    scene = layers[0] + rng.uniform(0, 1) * layers[1]
    half_life = frames * rng.log_uniform(0.5, 20)
    fading = 2 ** (-torch.arange(float(frames)) / half_life)
    flicker = 1 + rng.uniform(0, 0.05) * rng.normal(frames)
    scene = scene * (fading * flicker.clamp(min=0.5))[:, None, None]
    return scene / scene.amax().clamp(min=1e-6)


def moving(still: Callable[[Sequence[int]], Tensor], frames: int, shape: Sequence[int], rng: Rng) -> Tensor:
    """One layer (T, Y, X) on its way: a steady drift, jitter from frame to frame, or rest."""
    speed = rng.log_uniform(0.02, FASTEST) if rng.bernoulli(0.7) else 0.0
    jitter = rng.log_uniform(0.02, 0.5) if rng.bernoulli(0.3) else 0.0
    drift = speed * torch.tensor(rng.direction(2))
    places = drift * torch.arange(float(frames))[:, None] + jitter * rng.normal(frames, 2)
    places = places - places.amin(0)
    margin = math.ceil(float(places.max())) + 2
    canvas = still([size + margin + 1 for size in shape])
    return torch.stack([window(canvas, place, shape) for place in places])


def window(canvas: Tensor, place: Tensor, shape: Sequence[int]) -> Tensor:
    """A window of the canvas at a place that need not be whole pixels (cubic interpolation)."""
    y, x = (torch.arange(float(size)) + float(start) + 1 for size, start in zip(shape, place, strict=True))
    across, down = 2 * x / (canvas.shape[1] - 1) - 1, 2 * y / (canvas.shape[0] - 1) - 1
    grid = torch.stack([across.expand(len(y), -1), down[:, None].expand(-1, len(x))], -1)[None]
    found = F.grid_sample(canvas[None, None], grid, mode="bicubic", padding_mode="border", align_corners=True)
    return found[0, 0].clamp(min=0)
