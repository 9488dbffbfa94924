"""The ladder of `hdn` alone, without synthetic scenes, and `n2v`, against the number of training steps.

    python benchmarks/ladder.py                        (hours on two cores)
    python benchmarks/ladder.py --steps 1000 4000

Natural images with Gaussian noise of standard deviation 25, trained on Train400, tested on every seventh image of
BSD68, PSNR with a range of 255: of the mean of 32 samples, with what 32 samples lack of the mean of all (their variance
over 32) taken off its squared error; and the squared error of a sample over that of the mean. `n2v`: of one pass. An
interrupted benchmark continues where it stopped.

Prakash et al. 2022 (arXiv:2104.01374) give 28.8 dB for the mean of 100 samples, after 200,000 steps of 16 patches of
128 x 128 pixels: 400 times as many pixels as 4,000 steps here.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

import noisewise as nw
from bsd68 import SIGMA, add_noise, images
from common import Rows, make_parser, parse_settings
from noisewise.evaluate.metrics import psnr
from noisewise.noise.models.gaussian import Gaussian

SAMPLES, EVERY = 32, 7
ALONE = {"synthetic_weight": 0.0, "pretrained": False, "network": "fast"}


def run(method: str, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One training, and its scores."""
    train, test = images()
    start, sampled = time.perf_counter(), method == "hdn"
    model = nw.train(
        method, add_noise(train, 1), axes="SYX", steps=steps, noise=Gaussian(SIGMA) if sampled else None,
        report=lambda _: None, **((ALONE if sampled else {}) | settings),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    psnrs, ratios = [], []
    for number in range(0, len(test), EVERY):
        found = model.predict(add_noise(test[number], 1000 + number), average=False)
        if not sampled:
            psnrs.append(psnr(found.mean, test[number], 255))
            continue
        drawn = np.asarray(found.sample(SAMPLES), np.float64)
        error = ((drawn.mean(0) - test[number]) ** 2).mean() - drawn.var(0, ddof=1).mean() / SAMPLES
        psnrs.append(10 * np.log10(255**2 / error))
        ratios.append(((drawn - test[number]) ** 2).mean() / error)
    record = {"training_s": seconds, "psnr": float(np.mean(psnrs))}
    return record | ({"sample_over_mean": float(np.mean(ratios))} if sampled else {})


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--steps", nargs="*", type=int, default=[1000, 4000, 16000, 64000])
    parser.add_argument("--methods", nargs="*", default=["n2v", "hdn"])
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method, name=value")
    arguments = parser.parse_args()
    settings = parse_settings(arguments.set)
    rows = Rows("ladder", arguments)
    for steps in arguments.steps:
        for method in arguments.methods:
            rows.measure(partial(run, method, steps, settings), method=method, steps=steps, settings=settings)


if __name__ == "__main__":
    main()
