"""Synthetic cells of `noisewise demo`, whose truth is known; they need no file in the package."""

from __future__ import annotations

import numpy as np

from noisewise.axes import Array

SIZE = 512
PSF_SIGMA = 1.3  # pixels
BRIGHTEST = 34.0  # photons per pixel, at the 99.9th percentile of the scene


def draw_cells(seed: int) -> Array:
    """Expected photons per pixel, (512, 512): nuclei with chromatin, filaments, puncta and haze, blurred by the PSF."""
    rng = np.random.default_rng((seed, 0))
    centres = np.array([(135.0, 150.0), (215.0, 390.0), (390.0, 170.0)]) + rng.normal(0, 8, (3, 2))
    nuclei, filaments, puncta, haze = (np.zeros((SIZE, SIZE)) for _ in range(4))
    for centre in centres:
        nuclei += draw_nucleus(rng, centre)
        haze += np.exp(-0.5 * (distance(centre) / 85.0) ** 2)
        for _ in range(46):
            add_points(filaments, grow_filament(rng, centre), rng.uniform(0.35, 1.0))
        spots = centre + rng.normal(0, 62, (60, 2))
        for spot, brightness in zip(spots, rng.lognormal(0.0, 0.5, len(spots)), strict=True):
            add_points(puncta, spot[None], brightness)
    haze *= 0.6 + 0.8 * smooth_noise(rng, 14.0)
    scene = (
        blur(filaments, PSF_SIGMA) / 0.32
        + 1.5 * blur(nuclei, PSF_SIGMA)
        + blur(puncta, 1.2 * PSF_SIGMA) * 30.0
        + 0.55 * blur(haze, 4.0)
    )  # fmt: skip
    return 1.0 + (BRIGHTEST - 1.0) * np.clip(scene / np.percentile(scene, 99.9), 0, 1.6)


def draw_nucleus(rng: np.random.Generator, centre: Array) -> Array:
    """An ellipse with soft borders, clumpy chromatin and a few dark nucleoli."""
    angle, long, short = rng.uniform(0, np.pi), rng.uniform(50, 60), rng.uniform(36, 44)
    y, x = np.mgrid[:SIZE, :SIZE] - centre[:, None, None]
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = 1 / (1 + np.exp((np.sqrt((u / long) ** 2 + (v / short) ** 2) - 1) * 22))
    for _ in range(3):
        inside *= 1 - 0.7 * np.exp(-0.5 * (distance(centre + rng.normal(0, 17, 2)) / rng.uniform(4, 7)) ** 2)
    return np.asarray(inside * (0.55 + 0.75 * smooth_noise(rng, 2.5)))


def grow_filament(rng: np.random.Generator, centre: Array) -> Array:
    """Points (N, 2), half a pixel apart, along a path that starts at the nucleus and bends slowly."""
    start = rng.uniform(0, 2 * np.pi)
    length = int(2 * rng.uniform(90, 230))
    waves = np.arange(length)[:, None] / rng.uniform(60, 240, 3) + rng.uniform(0, 1, 3)
    heading = start + rng.normal(0, 0.55) + (np.sin(2 * np.pi * waves) * rng.normal(0, 0.24, 3)).sum(1)
    heading += rng.normal(0, 0.0016) * np.arange(length)
    steps = 0.5 * np.stack([np.sin(heading), np.cos(heading)], 1)
    rim = centre + rng.uniform(30, 62) * np.array([np.sin(start), np.cos(start)])
    return np.asarray(rim + np.cumsum(steps, 0))


def add_points(canvas: Array, points: Array, brightness: float) -> None:
    """Add points at subpixel positions, bilinearly distributed over the four pixels around each."""
    corner = np.floor(points).astype(int)
    part = points - corner
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = corner[:, 0] + dy, corner[:, 1] + dx
            weight = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            inside = (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
            np.add.at(canvas, (y[inside], x[inside]), brightness * weight[inside])


def distance(centre: Array) -> Array:
    """Distance of each pixel from a point."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.asarray(np.hypot(y - centre[0], x - centre[1]))


def smooth_noise(rng: np.random.Generator, sigma: float) -> Array:
    """Blurred white noise with mean 0.5, mostly between 0 and 1."""
    noise = blur(rng.normal(size=(SIZE, SIZE)), sigma)
    return np.asarray(np.clip(0.5 + 0.25 * noise / noise.std(), 0, 1.2))


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur with periodic borders."""
    frequency = np.fft.fftfreq(SIZE)
    taper = np.exp(-2 * (np.pi * sigma) ** 2 * (frequency[:, None] ** 2 + frequency[None, : SIZE // 2 + 1] ** 2))
    return np.fft.irfft2(np.fft.rfft2(image) * taper, s=image.shape)
