"""Short exposures add up to a long one, except for the read noise of each.

The sum of Poisson numbers is a Poisson number: two exposures at half the light, added, have the same distribution as
one at full light, and so have four at a quarter. Photons carry no information on how they were collected (upper row). A
camera adds read noise of variance σ² at each readout, so that n exposures have the variance s + n·σ² (lower row): only
because of the camera does it matter how the light is divided.

    python examples/adding_exposures.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from noisewise.noise.camera import Camera
from noisewise.scenes.demonstration import draw_cells

EXPOSURES = (1, 2, 4)
CAMERAS = {
    "photons only": Camera.photon_counter(),
    "read noise of 4 electrons": Camera(gain=2.2, read_noise=4.0, offset=100, bits=16),
}
PART = (slice(120, 248), slice(270, 398))  # (Y, X)


def main(path: Path) -> None:
    """Draw the figure into a file."""
    photons = draw_cells(seed=0)[PART]
    top = float(np.percentile(photons, 99.8))
    figure = Figure(figsize=(10.4, 7.2), layout="compressed")
    panels = figure.subplots(2, len(EXPOSURES))
    for row, (name, camera) in zip(panels, CAMERAS.items(), strict=True):
        row[0].set_ylabel(name, fontsize=15)
        for panel, n in zip(row, EXPOSURES, strict=True):
            frames = camera.expose(photons / n, frames=n, seed=n).reshape(n, *photons.shape)
            total = ((frames - camera.offset_adu) / camera.gain_adu_per_e).sum(0)
            shown = panel.imshow(total, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            error = float(np.sqrt(np.mean((total - photons) ** 2)))
            expected = float(np.sqrt(photons.mean() + n * camera.read_noise_e**2))
            panel.set(xticks=[], yticks=[])
            panel.set_xlabel(f"noise ±{error:.2f}, expected ±{expected:.2f}", fontsize=13)
    for panel, n in zip(panels[0], EXPOSURES, strict=True):
        panel.set_title(f"{n} × {100 / n:.0f} % of the light", fontsize=16, weight="bold")
    figure.colorbar(shown, ax=panels, shrink=0.6).set_label("photons per pixel", fontsize=13)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
