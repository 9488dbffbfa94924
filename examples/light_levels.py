"""Less light, more noise: one scene at 100, 50 and 25 % of the light.

The number of photons in a pixel has a Poisson distribution: its mean is s, its standard deviation √s, so the
signal-to-noise ratio (SNR) is √s. Half the light makes the image darker (upper row), and reduces the SNR by a factor of
√2, which no scaling of the brightness restores (lower row, divided by the fraction of the light). All images have the
same display range.

    python examples/light_levels.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from noisewise.noise.camera import Camera
from noisewise.scenes.demonstration import draw_cells

LIGHTS = (1.0, 0.5, 0.25)
PART = (slice(120, 248), slice(270, 398))  # (Y, X)


def main(path: Path) -> None:
    """Draw the figure into a file."""
    photons = draw_cells(seed=0)[PART]
    brightest = float(np.percentile(photons, 99.8))
    figure = Figure(figsize=(10.4, 7.2), layout="compressed")
    panels = figure.subplots(2, len(LIGHTS))
    for i, light in enumerate(LIGHTS):
        counts = Camera.photon_counter().expose(light * photons, seed=i)
        for panel, image in ((panels[0, i], counts), (panels[1, i], counts / light)):
            shown = panel.imshow(image, cmap="magma", vmin=0, vmax=brightest, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
        panels[0, i].set_title(f"{100 * light:.0f} % of the light", fontsize=16, weight="bold")
        s = light * brightest
        panels[1, i].set_xlabel(f"brightest: {s:.0f} ± {s**0.5:.1f} photons\nSNR {s**0.5:.1f}", fontsize=13)
    panels[0, 0].set_ylabel("as recorded", fontsize=15)
    panels[1, 0].set_ylabel("brightened", fontsize=15)
    figure.colorbar(shown, ax=panels, shrink=0.6).set_label("photons per pixel", fontsize=13)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
