"""Real wide-field images: trained on twelve fields of view, tested on four others.

    python benchmarks/w2s.py                          (three methods, three dyes, five seeds: an hour on two cores)
    python benchmarks/w2s.py --methods n2v --seeds 1

W2S: one capture each, the truth is the mean of 400. Each image of this set was stretched to 8 bits on its own, so gains
differ from image to image: each is first converted to photons with the gain and offset measured in it, and the truth of
a training image, for `care`, to the units of its capture by a fitted line. PSNR is that after the best gain and offset,
over the range of the truth in 8 bits, 255. An interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np
import tifffile

import noisewise as nw
from common import DATA, Rows, in_units_of, make_parser, save_image, table
from noisewise.evaluate.metrics import psnr_affine

DYES = 3
TRAINED, TESTED = slice(0, 12), slice(12, 16)
METHODS = ("n2v", "pn2v", "care")


def load(dye: int) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Noisy images in photons, truths, and truths in the units of the noisy ones."""
    noisy, truth = (tifffile.imread(DATA / "w2s" / f"{kind}_ch{dye}.tif") for kind in ("noisy_avg1", "gt_avg400"))
    photons, fitted = [], []
    for image, clean in zip(noisy.astype(np.float64), truth.astype(np.float64), strict=True):
        line = nw.measure(image.astype(np.uint8)).line
        photons.append(((image + line.intercept / line.slope) / line.slope).astype(np.float32))
        fitted.append(in_units_of(photons[-1], clean).astype(np.float32))
    return photons, truth, fitted


def run(method: str, dye: int, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One training, and the mean score of the four test images."""
    noisy, truth, fitted = load(dye)
    start = time.perf_counter()
    target = fitted[TRAINED] if method == "care" else None
    model = nw.train(method, noisy[TRAINED], target, steps=arguments.steps, seed=seed)
    seconds = time.perf_counter() - start
    found = [model.predict(image, average=True).mean for image in noisy[TESTED]]
    save_image(arguments.save, f"{method}_{dye}_{seed}", found)
    return {
        "training_s": seconds,
        "noisy": float(np.mean([psnr_affine(*pair, 255) for pair in zip(noisy[TESTED], truth[TESTED], strict=True)])),
        "psnr": float(np.mean([psnr_affine(*pair, 255) for pair in zip(found, truth[TESTED], strict=True)])),
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    rows = Rows("w2s", arguments)
    for seed in range(arguments.seeds):
        for dye in range(DYES):
            for method in arguments.methods:
                key = {"method": method, "dye": dye, "seed": seed}
                rows.measure(partial(run, **key, arguments=arguments), **key, steps=arguments.steps)
    header = ["", *(f"dye {dye}" for dye in range(DYES)), "mean"]
    body = []
    for method in arguments.methods:
        means = [[r["psnr"] for r in rows.rows if (r["method"], r["dye"]) == (method, dye)] for dye in range(DYES)]
        body.append([method, *(float(np.mean(scores)) for scores in means), float(np.mean(np.concatenate(means)))])
    print(table(body, header))


if __name__ == "__main__":
    main()
