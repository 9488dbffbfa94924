"""Planted images and small networks, small enough for one core."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from noisewise.methods.base import Denoiser, ImageSpec
from noisewise.noise.base import Noise
from noisewise.scenes import pool

# Tests run side by side, a process for each core; what they start inherits this.
os.environ["OMP_NUM_THREADS"] = "1"


def blobs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """A smooth positive signal of 20 to 100, float32: sums of cosines with random directions."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    waves = sum(
        np.cos(sum(g * f for g, f in zip(grid, rng.uniform(-0.35, 0.35, len(shape)), strict=True)) + rng.uniform(0, 6))
        for _ in range(6)
    )
    waves = (waves - waves.min()) / np.ptp(waves)
    return (20 + 80 * waves).astype(np.float32)


def random_weights(net: nn.Module) -> nn.Module:
    """Random weights everywhere, also where a fresh residual block has zeros: all layers matter."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(0, 0.5 / max(1, weight[0].numel()) ** 0.5)
    return net


def image_spec(
    dims: int = 2, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,),
    target: tuple[Sequence[float], Sequence[float]] | None = None, *, size: tuple[int, ...] = (16, 64, 64),
    spacing: tuple[float, ...] = (3.0, 1.0, 1.0),
) -> ImageSpec:  # fmt: skip
    """Images of a mean and standard deviation a channel; target: those of the targets, if they differ."""
    target_mean, target_std = target or (mean, std)
    return ImageSpec(
        spatial="ZYX"[-dims:], channels=len(mean), spacing=spacing[-dims:], size=size[-dims:], mean=tuple(mean),
        std=tuple(std), target_mean=tuple(target_mean), target_std=tuple(target_std),
    )  # fmt: skip


def denoiser(
    backbone: nn.Module, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,),
    noise_models: Sequence[Noise] = (), *, dims: int = 2, heads: int = 1, independent: bool = True,
) -> Denoiser:  # fmt: skip
    """What a method's `build` returns, around a given backbone."""
    return Denoiser(backbone, image_spec(dims, mean, std), noise_models, heads=heads, independent=independent)


@pytest.fixture(scope="module")
def few_scenes() -> Iterator[None]:
    """Fewer different synthetic scenes: most of the time of a short training on them is spent on drawing them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "SCENES", 20)
        yield


@pytest.fixture(scope="session")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """(signal, noisy): 96 x 96, Gaussian noise of standard deviation 15."""
    signal = blobs((96, 96))
    noise = np.random.default_rng(1).normal(0, 15, signal.shape)
    return signal, (signal + noise).astype(np.float32)
