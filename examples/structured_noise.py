"""Correlated noise: where Noise2Void fails, and methods that model the correlation.

A camera adds an offset to each row, and a part that is correlated over some pixels along it. Both can be predicted from
the neighbours of a pixel, so a method that predicts pixels from their neighbours keeps them (`n2v`). A longer blind
spot hides the correlated neighbours (structN2V), and with them what they contain of the scene. `simulated` is trained
on synthetic scenes with the measured noise; `cosdd` learns from the noisy image a code for the scene, and an
autoregressive model of the noise along the rows. Below: what each method removed. It should be the noise with all its
stripes, and nothing of the cells.

    python examples/structured_noise.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.signal import lfilter

import noisewise as nw
from noisewise.scenes.demonstration import draw_cells

CAMERA = nw.Camera(gain=2.2, read_noise=1.6, offset=100)
BRIGHTEST, STRENGTH, CORRELATION_LENGTH = 30.0, 2.0, 6.0  # photons; electrons rms; pixels
PART = (slice(120, 280), slice(240, 400))  # (Y, X)
METHODS = {
    "n2v": ("n2v", 250, {}),
    "structN2V": ("n2v", 250, {"blind_shape": "auto"}),
    "simulated": ("simulated", 0, {}),
    "cosdd": ("cosdd", 40, {"levels": 3, "reading": 32, "blocks": 1, "batch_size": 4}),
}


def lines(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """An offset for each row, and a part that is correlated along it, electrons."""
    ratio = np.exp(-1 / CORRELATION_LENGTH)
    fresh = (1 - ratio**2) ** 0.5 * rng.standard_normal((shape[0], shape[1] + 100))
    correlated = lfilter([1.0], [1.0, -ratio], fresh, axis=-1)[:, 100:]
    return STRENGTH * (correlated + rng.standard_normal((shape[0], 1)))


def main(path: Path) -> None:
    """Draw the figure into a file."""
    photons = draw_cells(seed=0)
    photons *= BRIGHTEST / np.percentile(photons, 99.9)
    noise = CAMERA.gain_adu_per_e * lines(photons.shape, np.random.default_rng(0))
    truth = CAMERA.signal(photons)
    noisy = (CAMERA.expose(photons) + np.round(noise)).astype(np.float32)
    figure = Figure(figsize=(14, 5.4), layout="constrained")
    panels = figure.subplots(2, 2 + len(METHODS))
    low, high = np.percentile(truth[PART], (0.5, 99.8))
    look = {"cmap": "magma", "vmin": low, "vmax": high, "interpolation": "nearest"}
    panels[0, 0].imshow(truth[PART], **look)
    panels[0, 0].set_title("scene")
    panels[0, 1].imshow(noisy[PART], **look)
    panels[0, 1].set_title("noisy")
    limit = 2.5 * np.std(noisy - truth)
    removed = {"cmap": "gray", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
    panels[1, 0].axis("off")
    panels[1, 1].imshow((noisy - truth)[PART], **removed)
    panels[1, 1].set_title("its noise")
    for column, (label, (method, steps, settings)) in zip(panels.T[2:], METHODS.items(), strict=True):
        found = nw.train(method, noisy, steps=steps, **settings).predict(noisy, average=False).mean
        error = np.sqrt(np.mean((found - truth) ** 2))
        column[0].imshow(found[PART], **look)
        column[0].set_title(f"{label}, error {error:.1f}")
        column[1].imshow((noisy - found)[PART], **removed)
        column[1].set_title("what it took away")
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
