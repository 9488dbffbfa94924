"""What the drawn scenes do to images that they do not fit: does the standard deviation know, and do the checks?

    python benchmarks/invention.py         (ten minutes on two cores)

left out: a small network that has seen smooth nuclei only, from nothing, meets these, and scenes it has never seen.
packaged: the packaged prior on drawn scenes, on natural images, on recordings, and on what no microscope shows. Of each
the error and the standard deviation (rms, in units of the noise), their correlation over blocks of 8 x 8 pixels, the
share of pixels within the 90 % interval, and what `Trust` makes of it, which has not seen the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
import torch
from torch.nn import functional as F

import noisewise as nw
from common import DATA, natural, table, write
from noisewise.evaluate.consistency import trust
from noisewise.noise.models.gaussian import Gaussian
from noisewise.workflow.refine_noise import denoiser, packaged
from noisewise.scenes import draw

SIDE, CONTRAST = 256, 8.0  # contrast in standard deviations of the noise
SMALL = {"prior": False, "network": "fast", "own": 0.0, "scenes": "nuclei", "steps": 1500}


def strange() -> Iterator[tuple[str, np.ndarray]]:
    """What no scene holds: single pixels in a lattice, a checkerboard, noise that is image."""
    y, x = np.indices((SIDE, SIDE))
    yield "checkerboard", ((y + x) % 2).astype(np.float64)
    yield "lattice of pixels", ((y % 5 == 0) & (x % 5 == 0)).astype(np.float64)
    yield "white texture", np.random.default_rng(5).normal(0.5, 0.2, (SIDE, SIDE))
    yield "nothing", np.zeros((SIDE, SIDE))


def recorded() -> Iterator[tuple[str, np.ndarray]]:
    """Recordings with hardly any noise."""
    for name in ("BPAE_actin", "BPAE_mito", "zebrafish_spinal_cord"):
        image = np.squeeze(tifffile.imread(DATA / "clean" / f"{name}.tif")).astype(np.float64)
        while image.ndim > 2:
            image = image[len(image) // 2]
        yield name, image[:SIDE, :SIDE]


def images(kinds: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Drawn scenes."""
    for kind in kinds:
        yield kind, draw(kind, (SIDE, SIDE), 9001).double().numpy()


def looked_at(model: nw.Model | None, name: str, truth: np.ndarray) -> dict[str, Any]:
    """Error, standard deviation and checks of one image."""
    spread = np.ptp(np.quantile(truth, (0.005, 0.995)))
    signal = torch.from_numpy(CONTRAST * truth / spread if spread else truth).float()[None, None]
    noise_model = Gaussian(1.0)
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(77))
    look = denoiser(model.method, model.net) if model else packaged(noisy, noise_model)
    found = look(noisy)
    error, std = (found.mean - signal), found.std
    pooled = [F.avg_pool2d(part**2, 8).sqrt().flatten() for part in (error, std)]
    checks = trust(noisy, noise_model, look)
    return {
        "image": name, "error": float((error**2).mean().sqrt()), "std": float((std**2).mean().sqrt()),
        "correlation": float(torch.corrcoef(torch.stack(pooled))[0, 1]),
        "within_90": float((error.abs() < 1.645 * std).double().mean()),
        "residual": checks.residual, "structure": max(checks.correlation.values()),
        "consistency": checks.consistency, "doubts": checks.doubts,
    }  # fmt: skip


def main() -> None:
    nuclei = np.stack([CONTRAST * draw("nuclei", (SIDE, SIDE), seed).numpy() for seed in range(8)])
    noisy = nuclei + np.random.default_rng(0).standard_normal(nuclei.shape)
    small = nw.train("simulated", noisy.astype(np.float32), axes="TYX", noise=Gaussian(1.0), **SMALL)
    kinds = ["nuclei", "membranes", "filaments", "leaves", "texture"]
    rows = [{"network": "left out", **looked_at(small, *pair)} for pair in images(kinds)]
    known = [*images(["mixed", *kinds]), *((f"Set12 {i + 1:02d}", natural("Set12")[i]) for i in (0, 1, 8))]
    for pair in (*known, *recorded(), *strange()):
        rows.append({"network": "packaged", **looked_at(None, *pair)})
    write("invention", {"contrast": CONTRAST, "rows": rows})
    print(
        table([[str(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows], list(rows[0]))
    )


if __name__ == "__main__":
    main()
