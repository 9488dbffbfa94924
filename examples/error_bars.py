"""The mean of a region errs by more than the standard deviations of its pixels say.

A drawn scene under few photons, and discs in it (left). Each disc's mean in the denoised image, minus the truth, with
90 % intervals: from the standard deviations of the pixels, as if these erred independently (middle), and from samples
of the posterior, measured one by one (right). Errors of neighbours are similar, and do not average out.

    python examples/error_bars.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import noisewise as nw
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.scenes.demonstration import draw_cells

PART = (slice(120, 280), slice(200, 360))  # (Y, X)
LIGHT = 0.5  # of the scene: three photons a pixel
RADIUS, APART = 7, 26  # pixels
Z90 = 1.645  # standard deviations of a normal distribution that enclose 90 %


def main(path: Path) -> None:
    """Draw the figure into a file."""
    truth, noise = LIGHT * draw_cells(seed=0)[PART], PoissonGaussian(1.0, 0.0, 1.0)
    noisy = noise.sample(truth, generator=0).astype(np.float32)
    found = nw.denoise(noisy, noise=noise, steps=0, samples=39)
    assert found.std is not None
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    centres = [(b, a) for b in range(APART // 2, len(y), APART) for a in range(APART // 2, len(y), APART)]
    discs = [(y - b) ** 2 + (x - a) ** 2 <= RADIUS**2 for b, a in centres]

    true = np.array([truth[disc].mean() for disc in discs])
    means = np.array([found.mean[disc].mean() for disc in discs])
    alone = Z90 * np.array([(found.std[disc] ** 2).sum() ** 0.5 / disc.sum() for disc in discs])
    measured = found.posterior.quantify(lambda image: [image[disc].mean() for disc in discs], n=39)
    intervals = {
        "pixels' standard deviations": (means - alone, means, means + alone),
        "samples": (measured.interval(0.9)[0], measured.median, measured.interval(0.9)[1]),
    }

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    picture, *panels = figure.subplots(1, 3, width_ratios=(1, 1.3, 1.3))
    picture.imshow(noisy, cmap="magma", vmin=0, vmax=np.percentile(noisy, 99.8), interpolation="nearest")
    picture.set(xticks=[], yticks=[], title="noisy image, and discs")
    for b, a in centres:
        picture.add_patch(Circle((a, b), RADIUS, fill=False, color="white", linewidth=1))
    for panel, (name, (low, middle, high)) in zip(panels, intervals.items(), strict=True):
        inside = (low <= true) & (true <= high)
        for which, colour in ((inside, "#3b6ea8"), (~inside, "#c8442d")):
            bars = [(middle - low)[which], (high - middle)[which]]
            panel.errorbar(np.flatnonzero(which), (middle - true)[which], bars, fmt="o", markersize=3, color=colour)
        panel.axhline(0, color="0.4", linewidth=0.8)
        panel.set(xlabel="disc", title=f"{name}: {inside.mean():.0%} hold the truth")
    panels[0].set_ylim(panels[1].get_ylim())
    panels[0].set_ylabel("mean − truth (photons)")
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
