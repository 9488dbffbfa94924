"""Single images with known truth and unknown noise level: the published suites, compared with BM3D.

    python benchmarks/single.py                                  (all suites and methods: hours on two cores)
    python benchmarks/single.py --suites set12 --methods prior simulated
    python benchmarks/single.py --suites bsd68 --every 6 --steps 550

set12, bsd68: Gaussian noise of 15, 25 and 50 ADU, neither rounded nor clipped; PSNR over 255. poisson: Set12 as photon
counts with 4 and 30 in the brightest pixel; PSNR over that peak. w2s: the fields 12 to 15 of three dyes, as they are;
PSNR over 255 after the best gain and offset. `pretrained` is `simulated` as packaged, without any training,
`pretrained_true_noise` the same with the true noise model. bm3d (4.0.3, if it is installed) gets the true noise model,
on w2s the measured one; the published means for set12 and bsd68 are in `PUBLISHED`. An interrupted benchmark continues
where it stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tifffile

import noisewise as nw
from common import (
    DATA,
    UNTRAINED,
    UNTRAINED_TRUE_NOISE,
    Rows,
    make_parser,
    method_and_length,
    natural,
    save_image,
    table,
)
from noisewise.evaluate.metrics import psnr, psnr_affine
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.testing.baselines import anscombe, inverse_anscombe
from w2s import DYES, TESTED

SIGMAS, PEAKS = (15, 25, 50), (4, 30)
# Dabov et al. 2007, as Zhang et al. 2017 (DnCNN, tables II and III) give it.
PUBLISHED = {"set12": {15: 32.37, 25: 29.97, 50: 26.72}, "bsd68": {15: 31.07, 25: 28.57, 50: 25.62}}
METHODS = ("noisy", UNTRAINED, UNTRAINED_TRUE_NOISE, "simulated", "n2v")


@dataclass(frozen=True)
class Case:
    """A noisy image, its truth, and its noise model (None: unknown)."""

    name: str
    level: float
    noisy: np.ndarray
    truth: np.ndarray
    noise_model: nw.Noise | None
    score: Callable[[np.ndarray], float]


def gaussian(folder: str, every: int) -> Iterator[Case]:
    for sigma in SIGMAS:
        for index, truth in list(enumerate(natural(folder)))[::every]:
            noise = np.random.default_rng((sigma, index)).standard_normal(truth.shape)
            noisy = (truth + sigma * noise).astype(np.float32)
            yield make_case(index, sigma, noisy, truth, Gaussian(float(sigma)), 255)


def poisson(every: int) -> Iterator[Case]:
    for peak in PEAKS:
        for index, image in list(enumerate(natural("Set12")))[::every]:
            truth = peak * image / 255
            noisy = np.random.default_rng((peak, index)).poisson(truth).astype(np.uint16)
            yield make_case(index, peak, noisy, truth, PoissonGaussian(1.0, 0.0, 0.0), peak)


def w2s(every: int) -> Iterator[Case]:
    for dye in range(DYES):
        noisy, truth = (tifffile.imread(DATA / "w2s" / f"{kind}_ch{dye}.tif") for kind in ("noisy_avg1", "gt_avg400"))
        for field in range(len(noisy))[TESTED][::every]:
            clean = truth[field].astype(np.float64)
            yield Case(
                f"{field}", dye, noisy[field], clean, None, lambda image, clean=clean: psnr_affine(image, clean, 255)
            )


def make_case(
    index: int, level: float, noisy: np.ndarray, truth: np.ndarray, noise_model: nw.Noise, data_range: float
) -> Case:
    """A case that is scored by PSNR over a range."""
    return Case(f"{index + 1:02d}", level, noisy, truth, noise_model, lambda image: psnr(image, truth, data_range))


SUITES: dict[str, Callable[[int], Iterator[Case]]] = {
    "set12": lambda every: gaussian("Set12", every), "bsd68": lambda every: gaussian("BSD68", every),
    "poisson": poisson, "w2s": w2s,
}  # fmt: skip


def denoised(method: str, case: Case, budget: float, steps: int | None, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The image denoised by a method, and how: steps, seconds."""
    start = time.perf_counter()
    if method == "noisy":
        return case.noisy, {}
    if method == "bm3d":
        return vst_bm3d(case), {"seconds": time.perf_counter() - start}
    name, length = method_and_length(method, budget, steps)
    noise = case.noise_model if method == UNTRAINED_TRUE_NOISE else None
    result = nw.denoise(case.noisy, method=name, noise=noise, seed=seed, **length)
    return result.mean, {"steps": result.model.train_state.step, "seconds": time.perf_counter() - start}


def vst_bm3d(case: Case) -> np.ndarray:
    """BM3D, for other than Gaussian noise between the generalised Anscombe transform and its exact inverse."""
    from bm3d import bm3d

    x = case.noisy.astype(np.float64)
    if isinstance(case.noise_model, Gaussian):
        return np.asarray(bm3d(x, float(case.noise_model.std)))
    gain_and_offset = (1.0, 0.0)
    if case.noise_model is None:
        line = nw.measure(case.noisy).line
        gain_and_offset = (line.slope, -line.intercept / line.slope)
    stable = anscombe(x, *gain_and_offset)
    low, span = stable.min(), np.ptp(stable)
    return inverse_anscombe(np.asarray(bm3d((stable - low) / span, 1 / span)) * span + low, *gain_and_offset)


def run(suite: str, case: Case, method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One image denoised, and its score."""
    found, about = denoised(method, case, arguments.budget, arguments.steps, arguments.seed)
    save_image(arguments.save, f"{suite}_{case.name}_{case.level}_{method}", found)
    return {"psnr": case.score(found)} | about


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--suites", nargs="*", default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="instead of a budget")
    parser.add_argument("--levels", nargs="*", type=float, help="only these levels")
    parser.add_argument("--every", type=int, default=1, help="only every n-th image")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for suite in arguments.suites:
        rows = Rows(f"single_{suite}", arguments, budget_s=arguments.budget)
        for method in arguments.methods:
            for case in SUITES[suite](arguments.every):
                if not arguments.levels or case.level in arguments.levels:
                    key = {"image": case.name, "level": case.level, "method": method, "seed": arguments.seed}
                    rows.measure(partial(run, suite, case, method, arguments), **key)
        print(suite, body(rows.rows), sep="\n")


def body(rows: list[dict[str, Any]]) -> str:
    """Mean of each method at each level, over the images that all methods have denoised."""
    methods, levels = (list(dict.fromkeys(row[key] for row in rows)) for key in ("method", "level"))
    of = {(row["method"], row["level"], row["image"]): row["psnr"] for row in rows}
    lines = []
    for level in levels:
        shared = [i for i in {row["image"] for row in rows} if all((m, level, i) in of for m in methods)]
        lines.append([level, len(shared), *(float(np.mean([of[m, level, i] for i in shared])) for m in methods)])
    return table(lines, ["level", "images", *methods])


if __name__ == "__main__":
    main()
