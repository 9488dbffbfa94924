"""Random fields: textures of every spectrum, and the regions that their level sets bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisewise.scenes.chance import Chance


def frequencies(shape: Sequence[int]) -> list[Tensor]:
    """Cycles a pixel along each axis, for `rfftn` of this shape, broadcastable."""
    last = len(shape) - 1
    found = []
    for axis, size in enumerate(shape):
        along = torch.fft.rfftfreq(size) if axis == last else torch.fft.fftfreq(size)
        found.append(along.reshape([-1 if i == axis else 1 for i in range(len(shape))]))
    return found


def along(direction: Sequence[float], axes: Sequence[Tensor]) -> Tensor:
    """Coordinates along a direction, from those along the axes."""
    return sum((part * axis for part, axis in zip(direction, axes, strict=True)), torch.zeros(()))


def gaussian_field(shape: Sequence[int], amplitude: Tensor, chance: Chance) -> Tensor:
    """A stationary Gaussian field, mean 0 and variance 1, with this amplitude at each of `frequencies`."""
    spectrum = torch.fft.rfftn(chance.normal(*shape)) * amplitude
    spectrum[(0,) * len(shape)] = 0
    field: Tensor = torch.fft.irfftn(spectrum, s=tuple(shape))
    return field / field.std().clamp(min=1e-12)


def smooth_field(shape: Sequence[int], length: float, chance: Chance) -> Tensor:
    """A field that changes over so many pixels: power exp(−(2π f ℓ)² / 2)."""
    square = sum((f**2 for f in frequencies(shape)), torch.zeros(()))
    return gaussian_field(shape, torch.exp(-((math.pi * length) ** 2) * square), chance)


def rough_field(shape: Sequence[int], chance: Chance) -> Tensor:
    """A field with a power law, |A f|^(−2 β): β from noise-like to smooth, A stretched along a direction by chance."""
    exponent, cutoff = chance.uniform(0.6, 2.2), 1 / chance.log_uniform(4, 2 * max(shape))
    stretched = stretch(frequencies(shape), chance)
    square = sum((f**2 for f in stretched), torch.zeros(())) + cutoff**2
    return gaussian_field(shape, square ** (-exponent / 2), chance)


def waves(shape: Sequence[int], chance: Chance) -> Tensor:
    """A field of one wavelength, in one direction (stripes) or in all (a maze)."""
    wavelength, width = chance.log_uniform(2.2, max(min(shape) / 4, 4.4)), chance.log_uniform(0.03, 0.3)
    grid = frequencies(shape)
    square = sum((f**2 for f in grid), torch.zeros(()))
    amplitude = torch.exp(-0.5 * ((square.sqrt() * wavelength - 1) / width) ** 2)
    if chance.happens(0.5):
        direction = chance.direction(len(shape))
        aside = square.sqrt() - along(direction, grid).abs()
        amplitude = amplitude * torch.exp(-0.5 * (aside * wavelength / width**1.5) ** 2)
    return gaussian_field(shape, amplitude, chance)


def stretch(grid: list[Tensor], chance: Chance) -> list[Tensor]:
    """The same axes, turned and stretched by up to four."""
    if len(grid) == 1 or chance.happens(0.5):
        return grid
    factor, direction = chance.log_uniform(1, 4), chance.direction(len(grid))
    projected = along(direction, grid)
    return [f + (factor - 1) * d * projected for d, f in zip(direction, grid, strict=True)]


def texture(shape: Sequence[int], chance: Chance) -> Tensor:
    """A texture in [0, 1]: a rough field or waves, with the contrast of haze or of sparks."""
    field = waves(shape, chance) if chance.happens(0.3) else rough_field(shape, chance)
    if chance.happens(0.3):
        return torch.exp(chance.uniform(0.3, 1.2) * field).clamp(max=20) / 20
    return (0.5 + field / 6).clamp(0, 1)


def regions(shape: Sequence[int], chance: Chance) -> Tensor:
    """Level sets of smooth fields, one over the other, each with a grey value: like tissue, in [0, 1]."""
    scene = torch.full(tuple(shape), chance.uniform(0, 1))
    for _ in range(chance.integer(2, 6)):
        length = chance.log_uniform(3, max(min(shape) / 3, 6))
        inside = smooth_field(shape, length, chance) > chance.uniform(-0.5, 1.5)
        value = torch.full_like(scene, chance.uniform(0, 1))
        if chance.happens(0.4):
            value = (value + chance.uniform(0.1, 0.5) * (texture(shape, chance) - 0.5)).clamp(0, 1)
        scene = torch.where(inside, value, scene)
    return scene
