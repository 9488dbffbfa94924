"""Noise2Void on white noise, and how it fails on correlated noise: what neighbours share of the noise remains.

The same cells with white noise, and with noise of the same standard deviation that is partly shared by each row.
Noise2Void predicts a pixel from its neighbours. White noise cannot be predicted and is removed; the noise of rows can,
and remains as stripes. With a blind spot that covers the row (structN2V), the neighbours with the same noise are hidden
too.

    python examples/blind_spot.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.scenes.demonstration import draw_cells

PART = (slice(120, 248), slice(270, 398))  # (Y, X)
NOISE = 12.0  # photons
STEPS = 500


def main(path: Path) -> None:
    """Draw the figure into a file."""
    rng = np.random.default_rng(0)
    scene = 2 * draw_cells(seed=0)[PART]
    white = NOISE * rng.standard_normal(scene.shape)
    rows = NOISE * (0.8 * rng.standard_normal((len(scene), 1)) + 0.6 * rng.standard_normal(scene.shape))
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    columns = ("noisy", "Noise2Void", "structN2V, 1 x 11", "scene")
    for panels, (title, noise) in zip(
        figure.subplots(2, 4), (("white noise", white), ("noise shared by rows", rows)), strict=True
    ):
        noisy = (scene + noise).astype(np.float32)
        images = [noisy]
        for settings in ({}, {"blind_shape": "1x11", "blind_prediction": True}):
            model = nw.train("n2v", noisy, steps=STEPS, features=24, **settings)
            images.append(model.predict(noisy, average=False).mean)
        for panel, name, image in zip(panels, columns, [*images, scene], strict=True):
            panel.imshow(image, cmap="magma", vmin=-15, vmax=np.percentile(scene, 99.8), interpolation="nearest")
            error = np.sqrt(np.mean((image - scene) ** 2))
            panel.set(xticks=[], yticks=[], title=name, xlabel="" if image is scene else f"error {error:.1f}")
        panels[0].set_ylabel(title, fontsize=13)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
