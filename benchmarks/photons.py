"""Counts of few photons: methods that learn from one noisy copy of each image, `gap` among them.

    python benchmarks/photons.py                    (two hours on two cores)
    python benchmarks/photons.py --levels 2 --methods gap n2v

The truths of the six white FMD conditions, brought to a mean of so many photons a pixel, and their Poisson numbers: six
images that one model learns from together, and denoises. PSNR is that after the best gain and offset, over the range of
the truth (its maximum less its minimum), a mean over the six. A run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import noisewise as nw
from common import Rows, table
from noisewise import methods
from noisewise.evaluate.metrics import psnr_affine
from noisewise.noise.quantization import Quantization
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from quality import WHITE, fmd

METHODS = ("n2v", "gap", "pn2v", "r2r")
LEVELS = (0.5, 2.0, 10.0)
LAW = PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0, 0.0))


def run(method: str, level: float, budget: float, seed: int) -> dict[str, Any]:
    """One training, and the mean score of the six images."""
    truths = [truth * level / truth.mean() for truth in fmd()[2][:WHITE]]
    rng = np.random.default_rng((seed, int(100 * level)))
    noisy = [rng.poisson(truth).astype(np.float32) for truth in truths]
    start = time.perf_counter()
    noise_model = LAW if methods.get(method)().wants_noise else None
    model = nw.train(method, noisy, noise=noise_model, budget=budget, seed=seed)
    seconds = time.perf_counter() - start
    posts = [model.predict(image, average=True) for image in noisy]
    scores = [psnr_affine(post.mean, truth, float(np.ptp(truth))) for post, truth in zip(posts, truths, strict=True)]
    row = {
        "method": method, "photons": level, "seed": seed, "steps": model.run.step, "training_s": seconds,
        "psnr": float(np.mean(scores)), "images": scores,
        "noisy": float(np.mean([psnr_affine(x, t, float(np.ptp(t))) for x, t in zip(noisy, truths, strict=True)])),
    }  # fmt: skip
    if posts[0].std is not None:
        errors = [np.mean((post.mean - truth) ** 2) for post, truth in zip(posts, truths, strict=True)]
        row["std"] = float(np.sqrt(np.mean([np.mean(post.std**2) for post in posts]) / np.mean(errors)))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--levels", nargs="*", type=float, default=LEVELS)
    parser.add_argument("--budget", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = Rows("photons", ["method", "photons", "seed"], budget_s=arguments.budget)
    for level in arguments.levels:
        for method in arguments.methods:
            if not rows.has(method=method, photons=level, seed=arguments.seed):
                row = run(method, level, arguments.budget, arguments.seed)
                print(row, flush=True)
                rows.keep(row)
    print(table(*body(rows.rows)))


def body(rows: list[dict[str, Any]]) -> tuple[list[list[Any]], list[str]]:
    """A line a method, and what stands above."""
    of = {(row["method"], row["photons"]): row for row in rows}
    noisy = {level: next((row["noisy"] for row in rows if row["photons"] == level), "") for level in LEVELS}
    lines: list[list[Any]] = [["noisy", *noisy.values()]]
    for method in METHODS:
        scores = [of.get((method, level), {}).get("psnr", "") for level in LEVELS]
        lines += [[f"`{method}`", *scores]] if any(scores) else []
    return lines, ["", *(f"{level:g} photons" for level in LEVELS)]


if __name__ == "__main__":
    main()
