"""An ambiguous image has several solutions, and their mean is none of them.

In a world of few figures all posterior probabilities are known. A noisy image may show one figure or another: each
sample of the exact posterior shows one of them clearly; their mean is a mixture that does not exist in this world
(above). For cells with two photons per pixel the possible solutions are not known. HDN learns them from the noisy image
alone: where samples agree, the image determines the signal. Five samples that represent fifty are shown (below).

    python examples/diverse_solutions.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from noisewise.scenes.demonstration import draw_cells
from noisewise.testing.worlds import FiniteWorld

PHOTON_NOISE = PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0))
WORLD = FiniteWorld(PHOTON_NOISE, brightnesses=(2.5,), background=1.0)
PHOTONS, PART = 2.0, (slice(150, 214), slice(300, 364))  # a pixel, on average; (Y, X)
SETTINGS = {"levels": 3, "network": "fast", "reading": 32, "blocks": 1, "batch_size": 4}
STEPS, SHOWN = 250, 5


def main(path: Path) -> None:
    """Draw the figure into a file."""
    figure = Figure(figsize=(13.6, 4.5), layout="constrained")
    for panels, (name, images) in zip(figure.subplots(2, 3 + SHOWN), (figures(), cells()), strict=True):
        titles = ["noisy", "mean of all", "standard deviation", *(f"sample {k + 1}" for k in range(SHOWN))]
        for panel, image, title in zip(panels, images, titles, strict=True):
            top = np.percentile(images[3], 99.8) * (0.5 if title == "standard deviation" else 1)
            panel.imshow(image, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            panel.set(xticks=[], yticks=[], title=title)
        panels[0].set_ylabel(name, fontsize=12)
    figure.savefig(path, dpi=100)


def figures() -> tuple[str, list[np.ndarray]]:
    """The image of the world whose kind of figure is least certain, and exact samples."""
    noisy = WORLD.draw(500, seed=3)[1]
    samples = WORLD.sample(noisy, 200, seed=0)
    # The sum of squares differs between kinds of figures, and does not depend on the place.
    kinds = (samples - WORLD.background).square().sum((-2, -1)).round()
    n = int(torch.tensor([float((image == image.mode().values).double().mean()) for image in kinds]).argmin())
    exact = WORLD.posterior(noisy[n : n + 1])
    return "exact", [part.numpy() for part in (noisy[n], exact.mean[0], exact.std[0], *samples[n, :SHOWN])]


def cells() -> tuple[str, list[np.ndarray]]:
    """Part of an image of cells with few photons, and samples of HDN."""
    scene = draw_cells(seed=0)
    noisy = np.random.default_rng(0).poisson(scene * PHOTONS / scene.mean()).astype(np.float32)
    model = nw.train("hdn", noisy, noise=PHOTON_NOISE, steps=STEPS, **SETTINGS)
    post = model.predict(noisy[PART], average=False)
    return "HDN", [noisy[PART], post.mean, post.std, *post.diverse(SHOWN, of=50)]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
