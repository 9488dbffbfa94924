"""An ambiguous image has several solutions, and their mean is none of them.

In a world of few figures all posterior probabilities are known. A noisy image may show one figure or another: samples
of the exact posterior are clear about it, each in its own way; their mean is a mixture that this world does not hold
(above). Of cells in the light of two photons a pixel nobody knows all that is possible. HDN learns it from the noisy
image alone: where samples agree, the image has said enough; five that stand for fifty are shown (below).

    python examples/diverse_solutions.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.workflow.demo import draw_cells
from noisewise.testing.worlds import FiniteWorld
from noisewise.noise.quantization import Quantization
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

LAW = PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0))
WORLD = FiniteWorld(LAW, brightnesses=(2.5,), background=1.0)
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
    """The image of the world whose kind of figure is least certain."""
    noisy = WORLD.draw(500, seed=3)[1]
    drawn = WORLD.sample(noisy, 200, seed=0)
    # Kinds of figures have different sums and squares; a place makes no difference to them.
    kinds = (drawn - WORLD.background).square().sum((-2, -1)).round()
    n = int(torch.tensor([float((image == image.mode().values).double().mean()) for image in kinds]).argmin())
    chosen = range(SHOWN)
    exact = WORLD.posterior(noisy[n : n + 1])
    return "exact", [part.numpy() for part in (noisy[n], exact.mean[0], exact.std[0], *drawn[n, chosen])]


def cells() -> tuple[str, list[np.ndarray]]:
    """A part of cells in little light."""
    scene = draw_cells(seed=0)
    noisy = np.random.default_rng(0).poisson(scene * PHOTONS / scene.mean()).astype(np.float32)
    model = nw.train("hdn", noisy, noise=LAW, steps=STEPS, **SETTINGS)
    post = model.predict(noisy[PART])
    return "HDN", [noisy[PART], post.mean, post.std, *post.diverse(SHOWN, of=50)]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
