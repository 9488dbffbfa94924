"""Adding the photons that a network expects grows an image from almost nothing.

A network that predicts where the next photons fall can continue any image: add the photons that it expects, and predict
again. From a few photons at random places it makes a new image, step by step, similar to those that it was trained on:
first large structures, then small ones (above). From a noisy image it makes a possible long exposure of it (below).

    python examples/photons_from_nothing.py [OUT.png]
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.scenes.demonstration import draw_cells

PHOTONS = 12.0  # a pixel, on average, in the training image
START = 0.02  # a pixel, where a new image begins
FEW = 0.03  # fraction of them in the image that is continued
PART = (slice(100, 228), slice(90, 218))  # (Y, X)
SETTINGS = {"faintest": 0.001, "synthetic_weight": 0.0}
STEPS, SHOWN = 160, 5


def main(path: Path) -> None:
    """Draw the figure into a file."""
    scene = draw_cells(seed=0)
    scene *= PHOTONS / scene.mean()
    rng = np.random.default_rng(0)
    model = nw.train(
        "gap", rng.poisson(scene).astype(np.float32), noise=PoissonGaussian(1.0, 0.0, 0.0), steps=STEPS, **SETTINGS
    )  # fmt: skip
    starts = {
        "from nothing": (START / PHOTONS, rng.poisson(START, (128, 128))),
        "from few photons": (FEW, rng.poisson(scene[PART] * FEW)),
    }
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    for row, (name, (exposure, first)) in zip(figure.subplots(2, SHOWN), starts.items(), strict=True):
        whole = replace(model.method, growth=1 / exposure, exposure=exposure)
        stages = np.linspace(0, whole.passes - 1, SHOWN).astype(int)  # of one sample
        for panel, stage in zip(row, stages, strict=True):
            image, growth = first.astype(np.float32), whole.lights()[stage]
            if stage > 0:
                model.method = replace(whole, growth=growth, passes=int(stage) + 1)
                image = model.predict(image, average=False).sample(1)[0]
            panel.imshow(image, cmap="magma", vmin=0, vmax=np.percentile(image, 99.8) or 1, interpolation="nearest")
            panel.set(xticks=[], yticks=[], title=f"{growth * first.mean():.2g} photons per pixel")
        row[0].set_ylabel(name, fontsize=13)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
