"""The default on all images of all suites: how often it is below the noisy image, and what choosing costs.

    python benchmarks/never_worse.py               (without training: half an hour on two cores)
    python benchmarks/never_worse.py --every 4     (every fourth image of each suite)

Suites: FMD, W2S, Set12 and BSD68 with Gaussian noise, Set12 with photon noise (`single.py`), dense textures
(`choice.py`), and images of many kinds (`choice_labelled.py`); clean images aside. The single method to compare with is
`simulated` with the measured noise, as good as any on these suites without training (`single.py`).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import choice
import choice_labelled
import noisewise as nw
from common import Rows, make_parser
from noise import fmd_data
from noise_planted import PlantedCamera, dense
from noisewise.evaluate.metrics import psnr
from single import SUITES
from tables_choice import suites_table

Example = tuple[str, np.ndarray, str, Callable[[np.ndarray], float]]  # name, noisy, axes, score


def examples() -> Iterator[tuple[str, Example]]:
    """Suite and example."""
    for name, captures, mean in fmd_data():
        yield "fmd", (name, captures[0], "YX", partial(psnr, truth=mean, data_range=255.0))
    for suite, cases in SUITES.items():
        for case in cases(1):
            yield suite, (f"{case.name} {case.level}", case.noisy, "YX", case.score)
    for number, (blur, power, side, photons, gain) in enumerate(choice.CASES):
        camera, scene = PlantedCamera(photons, gain), dense(side, blur, power, number)
        noisy, (truth, _) = camera.expose(scene, number), camera.moments(scene)
        yield "dense", (f"{number}", noisy, "YX", partial(choice.psnr, truth=truth))
    for case in choice_labelled.cases():
        if case.kind != "clean":
            noisy = case.noisy if case.noisy.dtype.kind == "u" else case.noisy.astype(np.float32)
            yield ("labelled", (f"{case.kind} {case.name}", noisy, case.axes, partial(choice.psnr, truth=case.truth)))


def run(noisy: np.ndarray, axes: str, score: Callable[[np.ndarray], float]) -> dict[str, Any]:
    """PSNR of the noisy image, the default, and `simulated`."""
    options: dict[str, Any] = {"steps": 0, "axes": axes, "report": lambda _: None}
    start = time.perf_counter()
    found = nw.denoise(noisy, **options)
    seconds = time.perf_counter() - start
    try:
        single = score(nw.denoise(noisy, method="simulated", **options).mean)
    except nw.UserError:  # its noise cannot be measured
        single = None
    return {
        "noisy": score(noisy.astype(np.float64)), "default": score(found.mean), "simulated": single,
        "method": found.model.provenance["method"], "kind": None if found.checkup is None else found.checkup.kind,
        "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--every", type=int, default=1, help="only every n-th image")
    parser.add_argument("--suites", nargs="*", help="only these")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = Rows("never_worse", arguments)
    counts: dict[str, int] = {}
    for suite, (name, noisy, axes, scored) in examples():
        counts[suite] = counts.get(suite, -1) + 1
        if counts[suite] % arguments.every == 0 and (not arguments.suites or suite in arguments.suites):
            rows.measure(partial(run, noisy, axes, scored), suite=suite, image=name)
    print(suites_table(rows.rows))


if __name__ == "__main__":
    main()
