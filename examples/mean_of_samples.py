"""One sample could be the scene; the mean of many is closer to it.

A sample of the posterior is as sharp as a scene, and has twice the squared error of the mean: its own distance to the
mean, and that of the scene. The mean of n samples has (1 + 1/n) times the smallest squared error. A direct network
learns the limit of many samples, and computes it in one pass.

    python examples/mean_of_samples.py [OUT.png]
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
SETTINGS = {"levels": 3, "network": "fast", "reading": 32, "blocks": 1, "batch_size": 4}
STEPS, COUNTS = 250, (1, 2, 4, 8, 16, 32, 64)


def main(path: Path) -> None:
    """Draw the figure into a file."""
    scene = draw_cells(seed=0)
    scene *= PHOTONS / scene.mean()
    noisy = np.random.default_rng(0).poisson(scene).astype(np.float32)
    noise_model = PoissonGaussian(1.0, 0.0, 0.0)
    model = nw.train("hdn", noisy, noise=noise_model, steps=STEPS, **SETTINGS)
    post, truth = model.predict(noisy[PART], average=False), scene[PART]
    samples = post.sample(max(COUNTS))
    errors = [float(np.mean((samples[:n].mean(0) - truth) ** 2)) for n in COUNTS]
    direct = float(np.mean((post.mean - truth) ** 2))
    figure = Figure(figsize=(13, 6.6), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    shown = {
        "noisy": noisy[PART], "one sample": samples[0], "mean of 4": samples[:4].mean(0), "mean of 64": samples.mean(0),
        "direct network": post.mean, "scene": truth,
    }  # fmt: skip
    for panel, (title, image) in zip(upper.subplots(1, len(shown)), shown.items(), strict=True):
        panel.imshow(image, cmap="magma", vmin=0, vmax=np.percentile(truth, 99.8), interpolation="nearest")
        panel.set(xticks=[], yticks=[], title=title)
    curve = lower.subplots()
    curve.loglog(COUNTS, errors, "o-", base=2, label="mean of n samples")
    least = errors[-1] / (1 + 1 / COUNTS[-1])
    curve.loglog(COUNTS, [least * (1 + 1 / n) for n in COUNTS], ":", base=2, label="least · (1 + 1/n)")
    curve.axhline(direct, color="k", lw=1, label="direct network, one pass")
    curve.set(xlabel="samples n", ylabel="mean squared error, photons²")
    curve.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
