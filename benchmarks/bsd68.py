"""Natural images with Gaussian noise of standard deviation 25, as in the papers on Noise2Void.

    python benchmarks/bsd68.py                        (six methods, three lengths: hours on two cores)
    python benchmarks/bsd68.py --methods n2v --steps 4000

Trained on the 400 images of 180 x 180 of Train400, tested on BSD68, noise not clipped, PSNR with a range of 255, mean
over the 68 images; eight-fold average. Noise is drawn by seed, since the original files are not to be had: one noisy
copy of each image to learn from. `pn2v`, `r2r` and `sure` are told the noise. A run that was cut off goes on where it
was.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import tifffile

import noisewise as nw
from common import DATA, Rows, natural, psnr
from noisewise import methods
from noisewise.noise.models.gaussian import Gaussian

SIGMA = 25.0
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "n2v": ("n2v", {}), "n2v2": ("n2v", {"network": "n2v2", "masking": "mean"}), "pn2v": ("pn2v", {}),
    "r2r": ("r2r", {}), "sure": ("sure", {}), "care": ("care", {}),
}  # fmt: skip


def images() -> tuple[np.ndarray, list[np.ndarray]]:
    """Train400 and BSD68, float32."""
    train = tifffile.imread(DATA / "natural" / "Train400" / "train400.tif").astype(np.float32)
    return train, [image.astype(np.float32) for image in natural("BSD68")]


def exposed(image: np.ndarray, seed: int) -> np.ndarray:
    """With noise."""
    return (image + np.random.default_rng(seed).normal(0, SIGMA, image.shape)).astype(np.float32)


def run(variant: str, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One training and its scores."""
    train, test = images()
    method, own = VARIANTS[variant]
    start = time.perf_counter()
    model = nw.train(
        method, exposed(train, 1), train if method == "care" else None, axes="SYX", steps=steps,
        noise=Gaussian(SIGMA) if methods.get(method)(**own).wants_noise else None, **own, **settings,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    noisy = [exposed(image, 1000 + i) for i, image in enumerate(test)]

    def score(average: bool) -> float:
        found = [model.predict(image, average=average).mean for image in noisy]
        return float(np.mean([psnr(*pair, 255) for pair in zip(found, test, strict=True)]))

    scores = {"psnr_one_pass": score(average=False), "psnr": score(average=True)}
    return {"method": variant, "steps": steps, "settings": settings, "training_s": seconds, **scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(VARIANTS))
    parser.add_argument("--steps", nargs="*", type=int, default=[4000, 16000, 64000])
    parser.add_argument("--features", type=int, default=0)
    arguments = parser.parse_args()
    settings = {"features": arguments.features} if arguments.features else {}
    rows = Rows("bsd68", ["method", "steps", "settings"])
    for steps in arguments.steps:
        for variant in arguments.methods:
            if not rows.has(method=variant, steps=steps, settings=settings):
                row = run(variant, steps, settings)
                print(row, flush=True)
                rows.keep(row)


if __name__ == "__main__":
    main()
