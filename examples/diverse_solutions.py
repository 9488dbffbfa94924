"""An ambiguous image has several solutions, and their mean is none of them.

In a world of few figures all posterior probabilities are known. A noisy image may well be a disc or a ring: samples of
the exact posterior are one or the other, the mean is a disc with a dim centre, which the world does not hold (above).
HDN has only ever seen noisy images of this world, knows none of its figures, and draws solutions of its own; few of
them that stand for fifty are shown (below).

    python examples/diverse_solutions.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.evaluate.bayes import FiniteWorld
from noisewise.noise.digital import Digital
from noisewise.noise.poisson_gaussian import PoissonGaussian

WORLD = FiniteWorld(PoissonGaussian(1.0, 0.0, 0.0, Digital(1.0)), brightnesses=(6.0,), ground=1.0)
SETTINGS = {"depth": 2, "features": 32, "width": 24, "latent": 12, "blocks": 1, "patch_size": 12, "batch_size": 64}
STEPS, SHOWN = 700, 5


def main(path: Path) -> None:
    """Draw the figure into a file."""
    training = WORLD.draw(20_000, seed=1)[1]
    model = nw.train("hdn", training.numpy(), noise=WORLD.noise, steps=STEPS, warm_up=STEPS // 2, **SETTINGS)
    noisy = WORLD.draw(400, seed=3)[1]
    exact = WORLD.posterior(noisy)
    # The image whose posterior is spread most evenly over two figures, by the variance of its pixels.
    n = int((exact.std**2).sum((1, 2)).argmax())
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    panels = figure.subplots(2, 3 + SHOWN)
    post = model.predict(noisy[n].numpy())
    rows = (
        ("exact posterior", exact.mean[n], exact.std[n], WORLD.sample(noisy[n : n + 1], SHOWN, seed=0)[0]),
        ("HDN", post.mean, post.std, post.diverse(SHOWN, of=50)),
    )
    for row, (name, mean, std, drawn) in zip(panels, rows, strict=True):
        shown = [noisy[n], mean, std, *drawn]
        titles = ["noisy", "mean", "standard deviation", *(f"sample {k + 1}" for k in range(SHOWN))]
        for panel, image, title in zip(row, shown, titles, strict=True):
            panel.imshow(np.asarray(torch.as_tensor(image)), cmap="magma", vmin=0, vmax=8, interpolation="nearest")
            panel.set(xticks=[], yticks=[], title=title)
        row[0].set_ylabel(name, fontsize=13)
    panels[0, 0].set_title("noisy")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
