"""Photon after photon, an image grows out of almost nothing.

A network that has learned where the next photon falls can go on with any image: add the photons that it expects, ask
again. From a few photons that fell anywhere it makes a new image, step by step, of the kind that it learned from: first
large structures, then small ones (above). From a noisy image it makes what could be its long exposure (below).

    python examples/photons_from_nothing.py [OUT.png]
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.workflow.demo import draw_cells
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

PHOTONS = 12.0  # a pixel, on average, in the image that is learned from
START = 0.02  # a pixel, where a new image begins
FEW = 0.03  # of them, in the image that is denoised
PART = (slice(100, 228), slice(90, 218))  # (Y, X)
SETTINGS = {"faintest": 0.001, "drawn": 0.0}
STEPS, SHOWN = 160, 5


def main(path: Path) -> None:
    """Draw the figure into a file."""
    scene = draw_cells(seed=0)
    scene *= PHOTONS / scene.mean()
    rng = np.random.default_rng(0)
    model = nw.train(
        "gap", rng.poisson(scene).astype(np.float32), noise=PoissonGaussian(1.0, 0.0, 0.0), steps=STEPS, **SETTINGS
    )  # fmt: skip
    beginnings = {
        "from nothing": (START / PHOTONS, rng.poisson(START, (128, 128))),
        "from few photons": (FEW, rng.poisson(scene[PART] * FEW)),
    }
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    for row, (name, (exposure, begun)) in zip(figure.subplots(2, SHOWN), beginnings.items(), strict=True):
        reach = np.geomspace(1, 1 / exposure, SHOWN)
        for panel, growth in zip(row, reach, strict=True):
            image = begun.astype(np.float32)
            if growth > 1:
                model.method = replace(model.method, growth=float(growth), exposure=exposure)
                image = model.predict(image).sample(1)[0]
            panel.imshow(image, cmap="magma", vmin=0, vmax=np.percentile(image, 99.8) or 1, interpolation="nearest")
            panel.set(xticks=[], yticks=[], title=f"{growth * begun.mean():.2g} photons a pixel")
        row[0].set_ylabel(name, fontsize=13)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
