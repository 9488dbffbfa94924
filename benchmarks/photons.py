"""Images with few photons: methods that need one noisy copy of each image, including `gap`.

    python benchmarks/photons.py                    (two hours on two cores)
    python benchmarks/photons.py --levels 2 --methods gap n2v

The truths of the six white FMD conditions, scaled to a mean of so many photons per pixel, with Poisson noise: one model
is trained on the six images together, and denoises them. PSNR is that after the best gain and offset, over the range of
the truth (its maximum minus its minimum), averaged over the six. An interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

import noisewise as nw
from common import Rows, make_parser, table
from noisewise import methods
from noisewise.evaluate.metrics import psnr_affine
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from quality import WHITE, fmd

METHODS = ("n2v", "gap", "pn2v", "r2r")
LEVELS = (0.5, 2.0, 10.0)
PHOTON_NOISE = PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0, 0.0))


def run(method: str, level: float, budget: float, seed: int) -> dict[str, Any]:
    """One training, and the mean score of the six images."""
    truths = [truth * level / truth.mean() for truth in fmd()[2][:WHITE]]
    rng = np.random.default_rng((seed, int(100 * level)))
    noisy = [rng.poisson(truth).astype(np.float32) for truth in truths]
    start = time.perf_counter()
    noise = None if methods.get(method)().traits.noise == "none" else PHOTON_NOISE
    model = nw.train(method, noisy, noise=noise, budget=budget, seed=seed)
    seconds = time.perf_counter() - start
    posts = [model.predict(image, average=True) for image in noisy]
    scores = [psnr_affine(post.mean, truth, float(np.ptp(truth))) for post, truth in zip(posts, truths, strict=True)]
    row = {
        "steps": model.train_state.step, "training_s": seconds,
        "psnr": float(np.mean(scores)), "images": scores,
        "noisy": float(np.mean([psnr_affine(x, t, float(np.ptp(t))) for x, t in zip(noisy, truths, strict=True)])),
    }  # fmt: skip
    if posts[0].std is not None:
        errors = [np.mean((post.mean - truth) ** 2) for post, truth in zip(posts, truths, strict=True)]
        row["std"] = float(np.sqrt(np.mean([np.mean(post.std**2) for post in posts]) / np.mean(errors)))
    return row


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--levels", nargs="*", type=float, default=LEVELS)
    parser.add_argument("--budget", type=float, default=300.0)
    arguments = parser.parse_args()
    rows = Rows("photons", arguments, budget_s=arguments.budget)
    for level in arguments.levels:
        for method in arguments.methods:
            work = partial(run, method, level, arguments.budget, arguments.seed)
            rows.measure(work, method=method, photons=level, seed=arguments.seed)
    print(table(*body(rows.rows)))


def body(rows: list[dict[str, Any]]) -> tuple[list[list[Any]], list[str]]:
    """One line for each method, and the header."""
    of = {(row["method"], row["photons"]): row for row in rows}
    noisy = {level: next((row["noisy"] for row in rows if row["photons"] == level), "") for level in LEVELS}
    lines: list[list[Any]] = [["noisy", *noisy.values()]]
    for method in METHODS:
        scores = [of.get((method, level), {}).get("psnr", "") for level in LEVELS]
        lines += [[f"`{method}`", *scores]] if any(scores) else []
    return lines, ["", *(f"{level:g} photons" for level in LEVELS)]


if __name__ == "__main__":
    main()
