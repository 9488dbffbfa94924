"""Image formation: blur by a point-spread function, out-of-focus haze, background."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.scenes.fields import smooth_field
from noisewise.scenes.rng import Rng


def gaussian_blur(scene: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Convolve with a Gaussian with these standard deviations along each axis, pixels; borders are reflected."""
    for axis, sigma in enumerate(sigmas):
        if sigma < 0.05:
            continue
        radius = min(int(3.5 * sigma + 1), scene.shape[axis] - 1)
        kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
        moved = scene.movedim(axis, -1)
        rows = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (radius, radius), mode="reflect")
        scene = F.conv1d(rows, (kernel / kernel.sum())[None, None]).reshape(moved.shape).movedim(-1, axis)
    return scene


def apply_optics(scene: Tensor, sharpest: float, rng: Rng) -> Tensor:
    """Blur a scene (more along Z), add haze and a background, and scale it to a maximum of about 1, without negatives.

    sharpest: smallest standard deviation of the blur, pixels.
    """
    sigma = rng.log_uniform(sharpest, 1.0 if rng.bernoulli(0.65) else 2.5 if rng.bernoulli(0.85) else 5.0)
    stretch = rng.uniform(1, 3)
    widths = [sigma * stretch if scene.ndim == 3 and axis == 0 else sigma for axis in range(scene.ndim)]
    sharp = gaussian_blur(scene, widths)
    if rng.bernoulli(0.15):  # parts are out of focus
        where = torch.sigmoid(rng.log_uniform(1, 10) * smooth_field(scene.shape, rng.log_uniform(15, 100), rng))
        sharp = torch.lerp(sharp, gaussian_blur(sharp, [rng.log_uniform(1, 6)] * scene.ndim), where)
    if rng.bernoulli(0.3):  # as software of cameras and microscopes sharpens
        sharp = sharp + rng.log_uniform(0.2, 2) * (sharp - gaussian_blur(sharp, [rng.log_uniform(0.6, 3)] * scene.ndim))
        sharp = sharp.clamp(min=0)
    sharp = sharp / brightest(sharp)
    if rng.bernoulli(0.5):
        width = rng.log_uniform(4, 20)
        haze = gaussian_blur(sharp, [width] * scene.ndim)
        sharp = sharp + rng.uniform(0, 1) * haze
    if rng.bernoulli(0.5):
        sharp = sharp + rng.uniform(0, 0.3)
    return (sharp / brightest(sharp)).clamp(min=0)


def brightest(scene: Tensor) -> Tensor:
    """The 99.9th percentile of the pixels; at least 1e-6."""
    pixels = scene.reshape(-1)
    return pixels.kthvalue(max(1, round(0.999 * len(pixels)))).values.clamp(min=1e-6)
