"""Random fields with various power spectra, and regions bounded by their level sets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisewise.scenes.rng import Rng


def frequencies(shape: Sequence[int]) -> list[Tensor]:
    """Cycles per pixel along each axis, for `rfftn` of this shape, shaped to broadcast."""
    last = len(shape) - 1
    found = []
    for axis, size in enumerate(shape):
        along = torch.fft.rfftfreq(size) if axis == last else torch.fft.fftfreq(size)
        found.append(along.reshape([-1 if i == axis else 1 for i in range(len(shape))]))
    return found


def along(direction: Sequence[float], axes: Sequence[Tensor]) -> Tensor:
    """Coordinates along a direction, from the coordinates along the axes."""
    return sum((part * axis for part, axis in zip(direction, axes, strict=True)), torch.zeros(()))


def gaussian_field(shape: Sequence[int], amplitude: Tensor, rng: Rng) -> Tensor:
    """Draw a stationary Gaussian field with mean 0, variance 1 and a given amplitude at each of `frequencies`."""
    spectrum = torch.fft.rfftn(rng.normal(*shape)) * amplitude
    spectrum[(0,) * len(shape)] = 0
    field: Tensor = torch.fft.irfftn(spectrum, s=tuple(shape))
    return field / field.std().clamp(min=1e-12)


def smooth_field(shape: Sequence[int], length: float, rng: Rng) -> Tensor:
    """Draw a Gaussian field with correlation length ℓ in pixels: power exp(−(2π f ℓ)² / 2)."""
    square = sum((f**2 for f in frequencies(shape)), torch.zeros(()))
    return gaussian_field(shape, torch.exp(-((math.pi * length) ** 2) * square), rng)


def rough_field(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw a field with power |A f|^(−2 β): β from noise-like to smooth, A possibly stretched along one direction."""
    exponent, cutoff = rng.uniform(0.6, 2.2), 1 / rng.log_uniform(4, 2 * max(shape))
    stretched = stretch(frequencies(shape), rng)
    square = sum((f**2 for f in stretched), torch.zeros(())) + cutoff**2
    return gaussian_field(shape, square ** (-exponent / 2), rng)


def waves(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw a field of one wavelength, along one direction (stripes) or along all directions (labyrinths)."""
    wavelength, width = rng.log_uniform(2.2, max(min(shape) / 4, 4.4)), rng.log_uniform(0.03, 0.3)
    grid = frequencies(shape)
    square = sum((f**2 for f in grid), torch.zeros(()))
    amplitude = torch.exp(-0.5 * ((square.sqrt() * wavelength - 1) / width) ** 2)
    if rng.bernoulli(0.5):
        direction = rng.direction(len(shape))
        aside = square.sqrt() - along(direction, grid).abs()
        amplitude = amplitude * torch.exp(-0.5 * (aside * wavelength / width**1.5) ** 2)
    return gaussian_field(shape, amplitude, rng)


def stretch(grid: list[Tensor], rng: Rng) -> list[Tensor]:
    """Stretch coordinates along a random direction by a factor of up to four, with probability 1/2."""
    if len(grid) == 1 or rng.bernoulli(0.5):
        return grid
    factor, direction = rng.log_uniform(1, 4), rng.direction(len(grid))
    projected = along(direction, grid)
    return [f + (factor - 1) * d * projected for d, f in zip(direction, grid, strict=True)]


def texture(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw a texture in [0, 1]: a rough field or waves, with symmetric contrast or with sparse bright spots."""
    field = waves(shape, rng) if rng.bernoulli(0.3) else rough_field(shape, rng)
    if rng.bernoulli(0.3):
        return torch.exp(rng.uniform(0.3, 1.2) * field).clamp(max=20) / 20
    return (0.5 + field / 6).clamp(0, 1)


def grains(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw a dense field of grains of one size, as optics leave them, in [0, 1]: symmetric, skewed or sparse contrast.

    Its density may vary.
    """
    field = smooth_field(shape, rng.log_uniform(0.7, 6), rng)
    kind = rng.uniform(0, 1)
    if kind < 0.5:
        scene = (rng.log_uniform(2.5, 8) + field).clamp(min=0)
    elif kind < 0.75:
        scene = torch.exp(rng.uniform(0.3, 1.2) * field)
    else:
        scene = (field + rng.uniform(-1, 1)).clamp(min=0) ** rng.log_uniform(0.6, 2)
    if rng.bernoulli(0.4):
        where = smooth_field(shape, rng.log_uniform(10, max(shape)), rng)
        scene = scene * torch.sigmoid(rng.log_uniform(1, 10) * (where + rng.uniform(-1, 1)))
    return scene / scene.amax().clamp(min=1e-6)


def regions(shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw overlapping level sets of smooth fields, each with its own brightness, as in tissue; in [0, 1]."""
    scene = torch.full(tuple(shape), rng.uniform(0, 1))
    for _ in range(rng.integer(2, 6)):
        length = rng.log_uniform(3, max(min(shape) / 3, 6))
        inside = smooth_field(shape, length, rng) > rng.uniform(-0.5, 1.5)
        value = torch.full_like(scene, rng.uniform(0, 1))
        if rng.bernoulli(0.4):
            value = (value + rng.uniform(0.1, 0.5) * (texture(shape, rng) - 0.5)).clamp(0, 1)
        scene = torch.where(inside, value, scene)
    return scene
