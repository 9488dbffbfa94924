"""Three noise check-ups from one image each: white noise, noise of rows, and noise correlated in both directions.

The same scene is recorded three times: by a camera with independent pixels, by one whose rows have offsets, and once
more with the image resampled afterwards, as many microscopes do. `noisewise.measure` gets one image each time, and
neither the scene nor the camera.

    python examples/reading_the_noise.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.plots.noise_report import draw_lags, draw_levels
from noisewise.scenes.demonstration import draw_cells

PART = (slice(120, 248), slice(270, 398))  # (Y, X), shown


def recordings() -> dict[str, np.ndarray]:
    """Three images of one scene."""
    photons = draw_cells(seed=0)
    white = nw.Camera(gain=2.2, read_noise=1.6, offset=100).expose(photons, seed=1)
    rows = nw.Camera(gain=2.2, read_noise=1.6, offset=100, row_noise_e=1.5).expose(photons, seed=1)
    resampled = white.astype(np.float64)
    for axis in (0, 1):  # shifted by half a pixel
        resampled = (resampled + np.roll(resampled, 1, axis)) / 2
    return {"a camera": white, "rows with offsets": rows, "resampled": np.rint(resampled).astype(np.uint16)}


def main(path: Path) -> None:
    """Draw the figure into a file."""
    figure = Figure(figsize=(11.5, 10), layout="constrained")
    for line, (name, image) in zip(figure.subfigures(3, 1), recordings().items(), strict=True):
        found = nw.measure(image)
        picture, levels, lags = line.subplots(1, 3, width_ratios=(0.8, 1.1, 1))
        picture.imshow(image[PART], cmap="magma", vmin=90, vmax=190, interpolation="nearest")
        picture.set(xticks=[], yticks=[], ylabel=name)
        draw_levels(levels, found)
        draw_lags(lags, found)
        line.suptitle(found.verdict, fontsize=9.5, wrap=True)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
