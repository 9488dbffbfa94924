"""Where the pretrained network fails: signals that are unlike the scenes of its training.

Rows: a random field, a fine lattice, and fast motion. Columns: noisy, denoised by the pretrained network as it is, what
does better, and the truth. Better are the Wiener filter that knows the spectrum (field, lattice), and five planes that
are shifted back before they are denoised (motion).

    python examples/where_it_fails.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

import noisewise as nw

SIDE, PART = 192, (slice(48, 144), slice(48, 144))  # (Y, X)
CAMERA = nw.Camera(gain=2.0, read_noise=1.0, offset=100)
STEP = 7  # pixels from plane to plane


def field(rng: np.random.Generator) -> np.ndarray:
    """Photons of a random field, blurred by two pixels."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2, mode="wrap")
    return np.maximum(20 * (1 + smooth / 3 / smooth.std()), 0)


def lattice() -> np.ndarray:
    """Photons of a lattice of six pixels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return 20 + 3 * np.cos(2 * np.pi * y / 6) * np.cos(2 * np.pi * x / 6)


def moving(rng: np.random.Generator) -> np.ndarray:
    """Photons of five planes of spots that move."""
    spots = ndimage.gaussian_filter((rng.random((SIDE, SIDE)) < 0.004).astype(float), 2, mode="wrap")
    return np.stack([2 + 14 * np.roll(spots, STEP * k, 1) / spots.max() for k in range(-2, 3)])


def wiener(noisy: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The best linear filter that knows the spectrum of the truth."""
    power = ndimage.gaussian_filter(np.abs(np.fft.fft2(truth - truth.mean())) ** 2, 1, mode="wrap") / truth.size
    change = np.fft.ifft2(power / (power + (noisy - truth).var()) * np.fft.fft2(noisy - noisy.mean())).real
    return np.asarray(noisy.mean() + change)


def shifted_back(noisy: np.ndarray) -> np.ndarray:
    """The mean of five planes, each shifted back, denoised."""
    still = np.mean([np.roll(plane, -STEP * k, 1) for k, plane in zip(range(-2, 3), noisy, strict=True)], 0)
    return nw.denoise(still, steps=0, method="simulated").mean


def main(path: Path) -> None:
    """Draw the figure into a file."""
    rng = np.random.default_rng(0)
    scenes = {"random field": field(rng), "lattice": lattice(), "fast motion": moving(rng)}
    figure = Figure(figsize=(8.6, 6.8), layout="constrained")
    panels = figure.subplots(len(scenes), 4)
    for line, (name, photons) in zip(panels, scenes.items(), strict=True):
        truth = CAMERA.signal(photons)
        noisy = CAMERA.expose(photons).astype(np.float32)
        found = nw.denoise(noisy, axes="TYX"[-noisy.ndim :], steps=0, method="simulated").mean
        if noisy.ndim == 3:
            better, noisy, found, truth = shifted_back(noisy), noisy[2], found[2], truth[2]
        else:
            better = wiener(noisy, truth)
        low, high = truth[PART].min() - 8, truth[PART].max() + 8
        for panel, image in zip(line, (noisy, found, better, truth), strict=True):
            panel.imshow(image[PART], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            error = np.sqrt(np.mean((image - truth) ** 2))
            panel.set_xlabel(f"error {error:.1f} ADU" if image is not truth else "")
        line[0].set_ylabel(name)
    for panel, title in zip(panels[0], ("noisy", "denoised", "better", "truth"), strict=True):
        panel.set_title(title)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
