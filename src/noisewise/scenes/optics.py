"""What a microscope makes of an object: the blur of its point-spread function, haze from out of focus, a background."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.scenes.rng import Rng


def gaussian_blur(scene: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Convolved with a Gaussian of these standard deviations along each axis, pixels; the borders go on as a mirror."""
    for axis, sigma in enumerate(sigmas):
        if sigma < 0.05:
            continue
        reach = min(int(3.5 * sigma + 1), scene.shape[axis] - 1)
        kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
        moved = scene.movedim(axis, -1)
        rows = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (reach, reach), mode="reflect")
        scene = F.conv1d(rows, (kernel / kernel.sum())[None, None]).reshape(moved.shape).movedim(-1, axis)
    return scene


def apply_optics(scene: Tensor, sharpest: float, rng: Rng) -> Tensor:
    """Through a microscope: blurred (more along Z), with haze and a background; brightest 1, never negative.

    sharpest: standard deviation of the sharpest blur, pixels.
    """
    sigma = rng.log_uniform(sharpest, 1.0 if rng.bernoulli(0.6) else 2.5)
    stretch = rng.uniform(1, 3)
    widths = [sigma * stretch if scene.ndim == 3 and axis == 0 else sigma for axis in range(scene.ndim)]
    sharp = gaussian_blur(scene, widths)
    sharp = sharp / brightest(sharp)
    if rng.bernoulli(0.5):
        far = rng.log_uniform(4, 20)
        haze = gaussian_blur(sharp, [far] * scene.ndim)
        sharp = sharp + rng.uniform(0, 1) * haze
    if rng.bernoulli(0.5):
        sharp = sharp + rng.uniform(0, 0.3)
    return (sharp / brightest(sharp)).clamp(min=0)


def brightest(scene: Tensor) -> Tensor:
    """What one pixel in a thousand exceeds; at least 1e-6."""
    flat = scene.reshape(-1)
    return flat.kthvalue(max(1, round(0.999 * len(flat)))).values.clamp(min=1e-6)
