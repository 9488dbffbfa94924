"""Noise of many kinds for the pretraining: each image gets noise of its own, and the network is conditioned on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from noisewise.noise.models.correlated import filtered_noise
from noisewise.noise.ops.conditioning import LAGS, NoiseFeatures, kernel_correlation
from noisewise.scenes.rng import Rng

EVENTS, EVENTS_SINGLE = 0.5, 0.15  # share of stacks, and of single planes, with spots at the limit of detection
MOST_EVENTS, EVENT_SNR = 40, (2.0, 20.0)  # spots; their signal-to-noise ratio over all their pixels
EVENT_RADIUS = (0.7, 5.0)  # standard deviation, pixels


@dataclass
class PatchNoise:
    """Noise of one image, in photons: variance = slope · s + read_variance, row and column offsets, rounding.

    excess: standard deviation of the pulse of a photon. rows, columns: standard deviations of the offsets.
    """

    slope: float
    read_variance: float
    excess: float = 0.0
    kernel: Tensor | None = None
    rows: float = 0.0
    columns: float = 0.0
    step: float = 0.0
    clipped: bool = False


@dataclass(frozen=True)
class Exposure:
    """Signal and noisy image (Y, X) or (planes, Y, X), the noise, and the image mean that is an input."""

    signal: Tensor
    noisy: Tensor
    noise: PatchNoise
    mean: float


def random_photon_noise(rng: Rng, unit: float) -> PatchNoise:
    """Photon noise with read noise or excess noise. unit: about its standard deviation at the mean of the scene."""
    noise = PatchNoise(1.0, 0.0)
    if not rng.bernoulli(0.45):
        noise.read_variance = rng.log_uniform(0.2, 10) ** 2
    if rng.bernoulli(0.2):
        noise.excess = rng.uniform(0.2, 1.0)
        noise.slope = 1 + noise.excess**2
    return with_structure(noise, rng, unit)


def with_structure(noise: PatchNoise, rng: Rng, unit: float) -> PatchNoise:
    """The same with correlation, row offsets, column offsets and rounding, each at random."""
    if rng.bernoulli(0.33):
        noise.kernel = random_kernel(rng)
    if rng.bernoulli(0.12):
        noise.rows = rng.log_uniform(0.08, 2.5) * unit
    if rng.bernoulli(0.06):
        noise.columns = rng.log_uniform(0.08, 2.5) * unit
    if rng.bernoulli(0.3):
        noise.step = rng.log_uniform(0.1, 2.5) * (1.0 if noise.slope else unit)
        noise.clipped = rng.bernoulli(0.7) and noise.slope > 0
    return noise


def random_kernel(rng: Rng) -> Tensor:
    """Kernel that correlates white noise: Gaussian blur, mean of neighbours, weak random neighbours, or sharpening."""
    kind = rng.uniform(0, 1)
    if kind < 0.55:
        widths = [rng.log_uniform(0.3, 1.6)] * 2
        if rng.bernoulli(0.5):
            widths[1] = rng.log_uniform(0.3, 1.6)
        kernel = gaussian_kernel(widths)
    elif kind < 0.72:
        height, width = rng.integer(1, 3), rng.integer(1, 3)
        kernel = F.pad(torch.ones(height, width), (0, (width + 1) % 2, 0, (height + 1) % 2))
    elif kind < 0.92:
        kernel = 0.35 * (rng.uniforms(3, 3) - 0.3)
        kernel[1, 1] += 1
        kernel = (kernel + kernel.flip(0)) / 2
        kernel = (kernel + kernel.flip(1)) / 2
    else:
        blur = gaussian_kernel([rng.log_uniform(0.6, 1.5)] * 2)
        kernel = -rng.uniform(0.2, 0.8) * blur / blur.sum()
        kernel[4, 4] += 1
    return kernel / (kernel**2).sum().sqrt()


def gaussian_kernel(widths: Sequence[float]) -> Tensor:
    """A Gaussian (9, 9) with these standard deviations, pixels."""
    along = torch.arange(-4.0, 5.0)
    parts = [torch.exp(-0.5 * (along / width) ** 2) for width in widths]
    return parts[0][:, None] * parts[1]


def expose(scene: Tensor, rng: Rng) -> Exposure:
    """A scene (Y, X) or (planes, Y, X), from 0 to about 1, with random contrast, brightness and noise."""
    if rng.bernoulli(0.3):
        scene = scene.amax() - scene
    if rng.bernoulli(0.2):
        scene = scene * torch.linspace(rng.uniform(0.3, 1), rng.uniform(0.3, 1), scene.shape[-2])[:, None]
    if rng.bernoulli(0.3):  # Gaussian noise: contrast in its standard deviations
        contrast = rng.log_uniform(1, 100)
        signal = contrast * scene
        noise = with_structure(PatchNoise(0.0, 1.0), rng, 1.0)
        mean = float(signal.mean()) + 0.3 * min(contrast, 5) * float(rng.normal(1))
    else:  # photons in the brightest pixel
        peak, background = rng.log_uniform(0.3, 2000), rng.uniform(0, 0.5 if rng.bernoulli(0.5) else 0.05)
        signal = peak * (background + (1 - background) * scene)
        mean = float(signal.mean()) * math.exp(0.3 * float(rng.normal(1)))
        noise = random_photon_noise(rng, math.sqrt(mean + 0.4))
    if rng.bernoulli(EVENTS if signal.ndim == 3 else EVENTS_SINGLE):
        signal = with_events(signal, noise, rng)
    return Exposure(signal, add_noise(noise, signal, rng), noise, mean)


def with_events(signal: Tensor, noise: PatchNoise, rng: Rng) -> Tensor:
    """A signal with Gaussian spots that light up, or are missing, in single planes, some of them also in others.

    Their amplitudes are those of a signal-to-noise ratio, as a filter of their shape has it: such spots are what noise
    hides, and what a denoiser erases most easily.
    """
    planes = signal.expand(1, *signal.shape[-2:]) if signal.ndim == 2 else signal
    count = round(rng.log_uniform(1, MOST_EVENTS))
    radius = (rng.uniforms(count) * math.log(EVENT_RADIUS[1] / EVENT_RADIUS[0])).exp() * EVENT_RADIUS[0]
    along_y, along_x = (
        torch.exp(-(((torch.arange(float(side)) - side * rng.uniforms(count, 1)) / radius[:, None]) ** 2) / 2)
        for side in planes.shape[1:]
    )
    middle = torch.where(rng.uniforms(count) < 0.5, len(planes) // 2, (rng.uniforms(count) * len(planes)).long())
    on = F.one_hot(middle, len(planes)) + (rng.uniforms(count, len(planes)) < 0.5 * rng.uniforms(count, 1) ** 2)
    total = along_y.sum(1) * along_x.sum(1)
    around = torch.einsum("zyx,ny,nx->n", planes, along_y, along_x) / (total * len(planes))
    std = (noise.slope * (around + 0.3) + noise.read_variance).sqrt()
    snr = (rng.uniforms(count) * math.log(EVENT_SNR[1] / EVENT_SNR[0])).exp() * EVENT_SNR[0]
    snr = torch.where(rng.uniforms(count) < 0.2, -snr, snr)
    amplitude = snr * std / ((along_y**2).sum(1) * (along_x**2).sum(1)).sqrt()
    events = torch.einsum("n,nz,ny,nx->zyx", amplitude, on.clamp(max=1).float(), along_y, along_x)
    return (planes + events).clamp(min=0.0 if noise.slope else -math.inf).reshape(signal.shape)


def add_noise(noise: PatchNoise, signal: Tensor, rng: Rng) -> Tensor:
    """A noisy image of a signal."""
    *planes, height, width = signal.shape
    if noise.kernel is not None:
        std = (noise.slope * signal + noise.read_variance).sqrt()
        noisy = signal + filtered_noise(signal, noise.kernel, rng.generator) * std
    elif noise.slope:
        photons = torch.poisson(signal, generator=rng.generator)
        noisy = photons + (noise.read_variance + photons * noise.excess**2).sqrt() * rng.normal(*signal.shape)
    else:
        noisy = signal + noise.read_variance**0.5 * rng.normal(*signal.shape)
    if noise.rows:
        noisy = noisy + noise.rows * rng.normal(*planes, height, 1)
    if noise.columns:
        noisy = noisy + noise.columns * rng.normal(*planes, 1, width)
    if noise.step:
        noisy = (noisy / noise.step).round() * noise.step
    return noisy.clamp(min=0) if noise.clipped else noisy


def features_of(exposures: Sequence[Exposure]) -> NoiseFeatures:
    """What the network is conditioned on, for a batch of exposures."""
    noises = [one.noise for one in exposures]
    read = torch.tensor([noise.read_variance + noise.step**2 / 12 for noise in noises])
    white = torch.zeros(len(LAGS))
    return NoiseFeatures.make(
        torch.tensor([noise.slope for noise in noises]), read, read.clamp(min=1e-12),
        torch.tensor([one.mean for one in exposures]),
        step=torch.tensor([noise.step for noise in noises]), rows=torch.tensor([noise.rows for noise in noises]),
        columns=torch.tensor([noise.columns for noise in noises]),
        rho=torch.stack([white if noise.kernel is None else kernel_correlation(noise.kernel) for noise in noises]),
    )  # fmt: skip
