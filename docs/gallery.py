"""Make the pictures and the page of the gallery from real images.

    python docs/gallery.py FOLDER            (five minutes on two cores)

FOLDER holds the images below, each under an open licence; none of them is part of the repository. Each is denoised as
`noisewise denoise IMAGE --std --report` does.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import noisewise as nw
from noisewise.io import open_source
from noisewise.plots.images import SPREAD, plot_images
from noisewise.report.files import report

DOCS = Path(__file__).parent
SIDE = 360  # pixels of a picture, at most


@dataclass(frozen=True)
class Example:
    """An image: its file, what it shows, where it is from, and its axes where the file does not give them."""

    file: str
    title: str
    about: str
    source: str
    axes: str | None = None


EXAMPLES = (
    Example(
        "focal_adhesion_time/FA_Evolve_23frames.tif", "Focal adhesions, a movie",
        "Paxillin in a living cell, EMCCD camera.",
        "[ZeroCostDL4Mic](https://github.com/HenriquesLab/ZeroCostDL4Mic), MIT", "TYX",
    ),
    Example(
        "sem/sem_noisy_600x600.tif", "Electron microscopy", "Tissue in a scanning electron microscope, recorded fast.",
        "[N2V in Fiji](https://github.com/bioimage-io/fiji-bioimage-io), BSD-3",
    ),
    Example(
        "clean/zebrafish_spinal_cord.tif", "Zebrafish spinal cord", "Wide-field image of an embryo.",
        "[scikit-image tutorials](https://github.com/scikit-image/skimage-tutorials), CC0",
    ),
    Example(
        "clean/stardist_img3d.tif", "Nuclei in depth", "A small stack.",
        "[StarDist](https://github.com/stardist/stardist), BSD-3", "ZYX",
    ),
)  # fmt: skip


def middle(image: np.ndarray) -> np.ndarray:
    """The middle plane, its middle part."""
    plane = image[len(image) // 2] if image.ndim == 3 else image
    cut = tuple(slice(max(0, (size - SIDE) // 2), max(0, (size - SIDE) // 2) + SIDE) for size in plane.shape)
    return np.asarray(plane[cut], np.float32)


def shown(one: Example, folder: Path) -> str:
    """Denoise an image, draw its picture, and describe what was found."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "denoised.tif"
        found = nw.denoise(folder / one.file, output=output, axes=one.axes, std=True, budget="60s")
        checked = report(output, folder / one.file, axes=one.axes)
        with open_source(folder / one.file, one.axes) as source:
            noisy = source.read()
        images = {"noisy": noisy, "denoised": open_source(output).read(), SPREAD: found.posterior.std}
    name = f"gallery_{Path(one.file).stem.lower()}.png"
    plot_images({key: middle(image) for key, image in images.items()}, DOCS / "images" / name)
    noise = "" if found.checkup is None else found.checkup.verdict
    notes = "".join(f"- {note}\n" for note in found.notes)
    size = " x ".join(map(str, noisy.shape))
    return (
        f"## {one.title}\n\n{one.about} {size} pixels, {noisy.dtype}. Source: {one.source}.\n\n"
        f"![Noisy, denoised, standard deviation](images/{name})\n\n"
        f"Noise: {noise}\n\nReport: {checked.verdict.text}\n{chr(10) + notes if notes else ''}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    head = (
        "# Gallery\n\nReal images, each denoised with no settings (`noisewise denoise IMAGE --std --report`) in a "
        "minute on two cores; and\nwhat the check-up and the report said. Made by `docs/gallery.py`.\n\n"
    )
    page = DOCS / "gallery.md"
    page.write_text(head + "\n".join(shown(one, arguments.folder) for one in EXAMPLES), encoding="utf-8")


if __name__ == "__main__":
    main()
