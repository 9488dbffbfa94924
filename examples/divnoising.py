"""DivNoising and HDN learn a prior of cells from noisy images alone: training, and prediction.

An encoder infers latent variables from a noisy image, a decoder maps them to a scene, and the noise model gives the
likelihood of the noisy image under that scene. Training maximises a lower bound of the likelihood of the noisy images,
without any clean image. Meanwhile the error of the direct network at held-out pixels decreases (above). After training,
each sample of the latent variables leads to another possible scene (below): the mean of all has the smallest error, and
their standard deviation is the uncertainty.

    python examples/divnoising.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.scenes.demonstration import draw_cells

PHOTONS = 6.0  # a pixel, on average
PART = (slice(120, 248), slice(270, 398))  # (Y, X)
PHOTON_NOISE = PoissonGaussian(1.0, 0.0, 0.0)
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
        model = nw.train(method, noisy, noise=PHOTON_NOISE, steps=STEPS, batch_size=4, **settings)
        steps, validation_losses = zip(*model.train_state.validation_losses, strict=True)
        curve.plot(steps, validation_losses, label=method)
        post = model.predict(noisy[PART], average=False)
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
