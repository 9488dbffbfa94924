"""A gallery of synthetic scenes: `simulated` is trained on them, and `noisewise simulate --scene` exposes them.

Three scenes of each kind, from three seeds. None of them is a recording.

    python examples/synthetic_scenes.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from noisewise import scenes

SIDE = 192  # pixels


def main(path: Path) -> None:
    """Draw the figure into a file."""
    kinds = [*scenes.KINDS, "mixed"]
    figure = Figure(figsize=(13, 4.9), layout="constrained")
    for column, kind in zip(figure.subplots(3, len(kinds)).T, kinds, strict=True):
        for seed, panel in enumerate(column):
            scene = scenes.draw(kind, (SIDE, SIDE), seed + 1).numpy()
            panel.imshow(scene, cmap="gray", vmin=0, vmax=np.percentile(scene, 99.8), interpolation="nearest")
            panel.set(xticks=[], yticks=[])
        column[0].set_title(kind)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
