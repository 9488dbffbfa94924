"""Planted images, small enough for one core."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import nn

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


def stirred(net: nn.Module) -> nn.Module:
    """No weight at zero, where a fresh residual block has some: all layers matter."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.normal_(0, 0.5 / max(1, weight[0].numel()) ** 0.5)
    return net


@pytest.fixture(scope="session")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """(signal, noisy): 96 x 96, Gaussian noise of standard deviation 15."""
    signal = blobs((96, 96))
    noise = np.random.default_rng(1).normal(0, 15, signal.shape)
    return signal, (signal + noise).astype(np.float32)
