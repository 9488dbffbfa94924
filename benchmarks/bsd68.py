"""Natural images with Gaussian noise of standard deviation 25, as in the papers on Noise2Void.

    python benchmarks/bsd68.py                        (six methods, three lengths: hours on two cores)
    python benchmarks/bsd68.py --methods n2v --steps 4000

Trained on the 400 images of 180 x 180 of Train400, tested on BSD68, noise not clipped, PSNR with a range of 255, mean
over the 68 images, with test-time augmentation. The original noisy files are not available: noise is generated from a
seed, one noisy copy of each image to train on. `pn2v`, `r2r` and `sure` get the true noise model. An interrupted
benchmark continues where it stopped.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import tifffile

import noisewise as nw
from common import DATA, Rows, make_parser, natural
from noisewise import methods
from noisewise.evaluate.metrics import psnr
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


def add_noise(image: np.ndarray, seed: int) -> np.ndarray:
    """A noisy image, float32."""
    return (image + np.random.default_rng(seed).normal(0, SIGMA, image.shape)).astype(np.float32)


def run(variant: str, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One training and its scores."""
    train, test = images()
    method, fixed = VARIANTS[variant]
    noise = None if methods.get(method)(**fixed).traits.noise == "none" else Gaussian(SIGMA)
    start = time.perf_counter()
    model = nw.train(
        method, add_noise(train, 1), train if method == "care" else None, axes="SYX", steps=steps,
        noise=noise, **fixed, **settings,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    noisy = [add_noise(image, 1000 + i) for i, image in enumerate(test)]

    def score(average: bool) -> float:
        found = [model.predict(image, average=average).mean for image in noisy]
        return float(np.mean([psnr(*pair, 255) for pair in zip(found, test, strict=True)]))

    return {"training_s": seconds, "psnr_one_pass": score(average=False), "psnr": score(average=True)}


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--methods", nargs="*", default=list(VARIANTS))
    parser.add_argument("--steps", nargs="*", type=int, default=[4000, 16000, 64000])
    parser.add_argument("--features", type=int, default=0)
    arguments = parser.parse_args()
    settings = {"features": arguments.features} if arguments.features else {}
    rows = Rows("bsd68", arguments)
    for steps in arguments.steps:
        for variant in arguments.methods:
            rows.measure(partial(run, variant, steps, settings), method=variant, steps=steps, settings=settings)


if __name__ == "__main__":
    main()
