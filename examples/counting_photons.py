"""Counts of three pixels over many frames: the Poisson distribution, and what detectors make of it.

Ideally the counts of a pixel follow p(x|s) = sˣ·exp(−s)/x! (dots), with a standard deviation of √s. The read noise of a
scientific CMOS camera makes that nearly normal. The register of an EMCCD amplifies single electrons far above the read
noise by a random gain: the distribution is skewed and has twice the variance. A photomultiplier has less skew, but
detects only one photon in four, and its 8 bits saturate. Lines: normal distributions of the same mean and variance.

    python examples/counting_photons.py [OUT.png]
"""

import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from noisewise.noise.camera import Camera
from noisewise.scenes.demonstration import draw_cells

FRAMES = 20_000
CAMERAS = {  # with the width of a bin and the upper end of the vertical axis
    "photon counter": (Camera.photon_counter(), 1, 0.3),
    "scientific CMOS": (Camera.scmos(), 2, 0.1),
    "EMCCD, gain 200": (Camera.emccd(), 16, 0.019),
    "photomultiplier": (Camera.pmt(), 4, 0.036),
}


def main(path: Path) -> None:
    """Draw the figure into a file."""
    scene = draw_cells(seed=0).ravel()
    photons = np.array([[scene[abs(scene - wanted).argmin()] for wanted in (2, 8, 22)]])
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    panels = figure.subplots(2, 2)
    for panel, (name, (camera, width, top)) in zip(panels.flat, CAMERAS.items(), strict=True):
        counts = camera.expose(np.broadcast_to(photons, (FRAMES, 1, 3)))[:, 0].astype(int)
        x = np.arange(counts.min(), counts.max() + width, width)
        smooth = np.linspace(x[0], x[-1], 400)
        means, variances = camera.signal(photons)[0], camera.variance(photons)[0]
        for i, (s, mean, variance) in enumerate(zip(photons[0], means, variances, strict=True)):
            fraction = np.histogram(counts[:, i], np.append(x, x[-1] + width))[0] / FRAMES / width
            panel.bar(x + (width - 1) / 2, fraction, width, color=f"C{i}", alpha=0.45, label=f"{s:.0f} photons")
            normal = np.exp(-0.5 * (smooth - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)
            panel.plot(smooth, normal, color=f"C{i}")
            if name == "photon counter":
                near = x[abs(x - s) < 4 * s**0.5]
                panel.plot(near, [math.exp(k * math.log(s) - s - math.lgamma(k + 1)) for k in near], f"C{i}o")
            if fraction.max() > top:
                empty = 100 * math.exp((camera.offset_adu - mean) / camera.gain_adu_per_e)
                panel.text(x[0] + 3 * width, 0.92 * top, f"← {empty:.0f} % without an electron", color=f"C{i}")
        panel.set_title(name, fontsize=14, weight="bold")
        panel.set(ylim=(0, top), yticks=[], ylabel="frequency", xlabel="counts")
    panels[0, 0].legend(frameon=False, fontsize=13)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
