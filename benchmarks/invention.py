"""Images unlike the synthetic scenes: do the standard deviation and the consistency checks reveal the errors?

    python benchmarks/invention.py         (ten minutes on two cores)

left out: a small network, trained from random weights on smooth nuclei only, on these and on other scenes. packaged:
the pretrained network on synthetic scenes, natural images, recordings, and patterns that no microscope shows. For each
image: the error and the standard deviation (rms, in units of the noise), their correlation over blocks of 8 x 8 pixels,
the fraction of pixels within the 90 % interval, and the consistency check, which does not use the truth: `residual`,
`structure` (correlation), `consistency` (stability) and `warnings` (warnings).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
import torch
from torch.nn import functional as F

import noisewise as nw
from common import DATA, make_parser, natural, table, write
from noisewise.evaluate.consistency import check_consistency
from noisewise.noise.models.gaussian import Gaussian
from noisewise.scenes import draw
from noisewise.workflow.consistency import described
from noisewise.workflow.packaged import as_function, packaged_denoiser

SIDE, CONTRAST = 256, 8.0  # contrast in standard deviations of the noise
SMALL = {"pretrained": False, "network": "fast", "self_weight": 0.0, "scenes": "nuclei", "steps": 1500}


def patterns() -> Iterator[tuple[str, np.ndarray]]:
    """Patterns that no scene contains: a checkerboard, single pixels in a lattice, a white texture, nothing."""
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


def synthetic(kinds: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Synthetic scenes."""
    for kind in kinds:
        yield kind, draw(kind, (SIDE, SIDE), 9001).double().numpy()


def examine(model: nw.Model | None, name: str, truth: np.ndarray) -> dict[str, Any]:
    """Error, standard deviation and checks of one image."""
    spread = np.ptp(np.quantile(truth, (0.005, 0.995)))
    signal = torch.from_numpy(CONTRAST * truth / spread if spread else truth).float()[None, None]
    noise_model = Gaussian(1.0)
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(77))
    denoise = as_function(model.method, model.net) if model else packaged_denoiser(noisy, noise_model)
    found = denoise(noisy)
    error, std = (found.mean - signal), found.std
    pooled = [F.avg_pool2d(part**2, 8).sqrt().flatten() for part in (error, std)]
    check = check_consistency(noisy, noise_model, denoise)
    return {
        "image": name, "error": float((error**2).mean().sqrt()), "std": float((std**2).mean().sqrt()),
        "correlation": float(torch.corrcoef(torch.stack(pooled))[0, 1]),
        "within_90": float((error.abs() < 1.645 * std).double().mean()),
        "residual": check.residual, "structure": max(check.correlation.values()),
        "consistency": check.stability, "warnings": list(described(check)),
    }  # fmt: skip


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    nuclei = np.stack([CONTRAST * draw("nuclei", (SIDE, SIDE), seed).numpy() for seed in range(8)])
    noisy = nuclei + np.random.default_rng(0).standard_normal(nuclei.shape)
    small = nw.train("simulated", noisy.astype(np.float32), axes="TYX", noise=Gaussian(1.0), **SMALL)
    kinds = ["nuclei", "membranes", "filaments", "leaves", "texture"]
    rows = [{"network": "left out", **examine(small, *pair)} for pair in synthetic(kinds)]
    known = [*synthetic(["mixed", *kinds]), *((f"Set12 {i + 1:02d}", natural("Set12")[i]) for i in (0, 1, 8))]
    for pair in (*known, *recorded(), *patterns()):
        rows.append({"network": "packaged", **examine(None, *pair)})
    write("invention", {"contrast": CONTRAST, "rows": rows}, arguments.dry)
    print(
        table([[str(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows], list(rows[0]))
    )


if __name__ == "__main__":
    main()
