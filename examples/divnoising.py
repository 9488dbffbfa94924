"""DivNoising and HDN learn what cells look like from noisy images alone: training, and testing.

An encoder says which hidden variables may lie behind a noisy image, a decoder draws the scene that they stand for, and
the noise model says how well the noisy image fits that scene. What is to be made large is a lower bound of the
likelihood of the noisy images: no clean image is ever seen. While it trains, what the direct network says of pixels
that were held out comes nearer to them (above). Afterwards, each walk from the noisy image through the hidden
variables ends at another scene that could lie behind it (below): their mean has the least error, and their spread tells
how sure it is.

    python examples/divnoising.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.workflow.demo import draw_cells
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

PHOTONS = 6.0  # a pixel, on average
PART = (slice(120, 248), slice(270, 398))  # (Y, X)
LAW = PoissonGaussian(1.0, 0.0, 0.0)
SETTINGS = {
    "divnoising": {"network": "fast", "reading": 32, "blocks": 1},
    "hdn": {"levels": 3, "network": "fast", "reading": 32, "blocks": 1},
}
STEPS = 200


def main(path: Path) -> None:
    """Draw the figure into a file."""
    scene = draw_cells(seed=0)
    scene *= PHOTONS / scene.mean()
    noisy = np.random.default_rng(0).poisson(scene).astype(np.float32)
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.7))
    curve, panels = upper.subplots(), lower.subplots(2, 6)
    for row, (method, settings) in zip(panels, SETTINGS.items(), strict=True):
        model = nw.train(method, noisy, noise=LAW, steps=STEPS, batch_size=4, **settings)
        steps, validation_losses = zip(*model.run.validation_losses, strict=True)
        curve.plot(steps, validation_losses, label=method)
        post = model.predict(noisy[PART])
        shown = [scene[PART], noisy[PART], post.mean, *post.sample(2), post.std]
        titles = ["scene", "noisy", "mean", "sample 1", "sample 2", "standard deviation"]
        for panel, image, title in zip(row, shown, titles, strict=True):
            top = np.percentile(scene[PART], 99.8) if title != "standard deviation" else post.std.max()
            panel.imshow(image, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            panel.set(xticks=[], yticks=[], title=title)
        row[0].set_ylabel(method)
    curve.set(xlabel="training step", ylabel="squared error of held-out pixels")
    curve.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
