"""Planted images, small enough for two cores, and one thread's worth of determinism."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _two_threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For tests whose tensors are so small that two threads wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture(scope="session")
def planted() -> tuple[np.ndarray, np.ndarray]:
    """(signal, noisy): 96 x 96, Gaussian noise of standard deviation 15."""
    signal = blobs((96, 96))
    noise = np.random.default_rng(1).normal(0, 15, signal.shape)
    return signal, (signal + noise).astype(np.float32)
