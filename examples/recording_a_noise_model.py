"""Recording a noise model: a hundred frames of one scene, their mean, and how the frames vary around it.

The scene has a gradient from dark to bright, as an almost closed field diaphragm out of focus gives. The mean of each
pixel over the frames is its signal s; all values x that were recorded at signals near s are a row of the 2D histogram,
and that row is p(x|s). A second recording in the dark gives offset and read noise.

    python examples/recording_a_noise_model.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np

from noisewise.calibration.calibrate import calibrate_recording
from noisewise.noise.camera import Camera
from noisewise.plots.calibration import plot_calibration

SIZE, FRAMES = 128, 100


def main(path: Path) -> None:
    """Record, calibrate, draw the figure into a file."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    photons = 0.5 + 60 * ((x + y) / 2) ** 2
    camera = Camera(gain=2.2, read_noise=1.6, offset=100)
    frames = camera.expose(photons, frames=FRAMES, seed=0)
    dark = camera.expose(np.zeros_like(photons), frames=FRAMES, seed=1)
    found = calibrate_recording(frames, dark=dark)
    print(f"gain {found.detector.gain_adu_per_e} ADU per electron (planted: 2.2)")
    print(f"read noise {found.detector.read_noise_e} electrons (planted: 1.6)")
    plot_calibration(found, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
