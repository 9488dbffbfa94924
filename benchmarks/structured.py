"""Planted lines: noise correlated along rows or columns, added to clean images and removed by each method.

    python benchmarks/structured.py                      (all methods, four cases: two hours on two cores)
    python benchmarks/structured.py --cases "3 e, X" --methods cosdd n2v

An sCMOS exposure of few photons (`Camera`), and along the axis, in electrons rms each, an offset of each line and a
part whose correlation decreases as e^(-distance / 6). Every method is trained on the same images and tested on another:
three quarters of the zebrafish spinal cord and the fourth (X), the left half of an image of actin and the right (Y).
PSNR over the range between the 0.1 and 99.9 percentiles of the truth; `axis` is the measured one.

Two more cases are not Gaussian: a random telegraph signal of 4 e, which has one of two levels along X and stays there
for ten pixels on average, and pulses of 12 e in one pixel of twenty, which are smeared along X.

`care` gets the truth of its training images. `simulated` measures the noise in them; `spectral` and `memory` are
`simulated` with a noise model fitted to twenty exposures of a static scene: `Correlated` and `Autoregressive`.
`cosdd_alone` is trained on the images only, without synthetic scenes or packaged weights. `structn2v` hides the pixels
whose noise was measured to be correlated.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import numpy as np
import tifffile
from scipy.signal import lfilter

import noisewise as nw
from common import DATA, Rows, make_parser, save_image, table
from noisewise.calibration.correlated import calibrate_correlated
from noisewise.evaluate.metrics import psnr
from noisewise.noise.ops.correlation_length import noise_axis

CAMERA = nw.Camera(gain=2.2, read_noise=1.6, offset=100, bits=16)
CORRELATION_LENGTH, BURN_IN, FRAMES = 6.0, 100, 20  # pixels; pixels; exposures
FLIPS, PULSES, REMAINING = 0.1, 0.05, 0.5
BRIGHTEST, DARKEST = 30.0, 1.0  # photons
CASES = {
    "1 e, X": ("lines", 1.0, "X"), "3 e, X": ("lines", 3.0, "X"), "1 e, Y": ("lines", 1.0, "Y"),
    "3 e, Y": ("lines", 3.0, "Y"), "telegraph, X": ("telegraph", 4.0, "X"), "smear, X": ("smear", 12.0, "X"),
}  # fmt: skip
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "n2v": ("n2v", {}),
    "structn2v": ("n2v", {"blind_shape": "auto"}),
    "cosdd": ("cosdd", {}),
    "cosdd_alone": ("cosdd", {"synthetic_weight": 0.0, "self_weight": 0.0, "pretrained": False}),
    "simulated": ("simulated", {}),
    "spectral": ("simulated", {}),
    "memory": ("simulated", {}),
    "care": ("care", {}),
}
STEPS = {
    "n2v": 8000, "structn2v": 4000, "care": 4000, "cosdd": 2000, "cosdd_alone": 2000, "simulated": 1000,
    "spectral": 1000, "memory": 1000,
}  # fmt: skip
FITTED = {"spectral": "correlated", "memory": "autoregressive"}  # kinds of noise models


def scene(axis: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Photons of the training images, and of the test image."""
    name = {"X": "zebrafish_spinal_cord", "Y": "BPAE_actin"}[axis]
    image = tifffile.imread(DATA / "clean" / f"{name}.tif").astype(np.float64)
    dark, bright = np.percentile(image, [0.1, 99.9])
    photons = DARKEST + (BRIGHTEST - DARKEST) * ((image - dark) / (bright - dark)).clip(0, 1.5)
    if axis == "X":
        corners = [photons[y : y + 512, x : x + 512] for y in (0, 512) for x in (0, 512)]
        return corners[:3], corners[3]
    return [photons[:, :588]], photons[:, 588:]


def lines(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Along X, unit standard deviation each: offsets of whole lines, and a correlated part."""
    ratio = np.exp(-1 / CORRELATION_LENGTH)
    fresh = (1 - ratio**2) ** 0.5 * rng.standard_normal((shape[0], BURN_IN + shape[1]))
    return lfilter([1.0], [1.0, -ratio], fresh, axis=-1)[:, BURN_IN:] + rng.standard_normal((shape[0], 1))


def telegraph(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Two levels, 1 and -1; from one pixel to the next along X it keeps its level with probability 0.9."""
    flips = np.where(rng.random(shape) < FLIPS, -1.0, 1.0)
    flips[:, 0] = rng.choice([-1.0, 1.0], shape[0])
    return np.cumprod(flips, axis=1)


def smear(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A pulse in one pixel of twenty, exponential with unit mean; half of it remains in each next pixel along X."""
    pulses = np.where(rng.random((shape[0], BURN_IN + shape[1])) < PULSES, 1.0, 0.0)
    pulses *= rng.exponential(1.0, pulses.shape)
    return lfilter([1.0], [1.0, -REMAINING], pulses, axis=-1)[:, BURN_IN:] - PULSES / (1 - REMAINING)


PLANTED = {"lines": lines, "telegraph": telegraph, "smear": smear}


def expose(photons: np.ndarray, case: str, seed: int) -> np.ndarray:
    """A noisy image, ADU."""
    kind, strength, axis = CASES[case]
    shape = photons.shape if axis == "X" else photons.shape[::-1]
    noise = strength * PLANTED[kind](shape, np.random.default_rng(seed))
    noise = noise if axis == "X" else noise.T
    return CAMERA.expose(photons, seed=seed).astype(np.float64) + np.round(CAMERA.gain_adu_per_e * noise)


def truth_of(photons: np.ndarray) -> np.ndarray:
    """Mean over many exposures, ADU."""
    return CAMERA.signal(photons)


def run(case: str, label: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One training, and its score on the test image."""
    axis = CASES[case][2]
    photons, unseen = scene(axis)
    noisy = [expose(image, case, seed) for seed, image in enumerate(photons)]
    test, truth = expose(unseen, case, 99), truth_of(unseen)
    span = float(np.subtract(*np.percentile(truth, [99.9, 0.1])))
    method, settings = METHODS[label]
    given: dict[str, Any] = {}
    if label in FITTED:
        frames = np.stack([expose(photons[0], case, 1000 + n) for n in range(FRAMES)])
        given["noise"] = calibrate_correlated(frames, kind=FITTED[label], axes="TYX").noise
    if label == "care":
        given["target"] = [truth_of(image) for image in photons]
    steps, start = arguments.steps or STEPS[label], time.perf_counter()
    model = nw.train(method, noisy, steps=steps, seed=arguments.seed, **given, **settings)
    seconds = time.perf_counter() - start
    found = model.predict(test, average=True).mean
    save_image(arguments.save, f"{case.replace(', ', '_').replace(' ', '')}_{label}", [test, found, truth])
    return {
        "steps": model.train_state.step, "training_s": seconds,
        "noisy": psnr(test, truth, span), "psnr": psnr(found, truth, span), "planted": axis,
        "axis": noise_axis((nw.measure(noisy[0]).noise,)),
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--steps", type=int, help="instead of each method's own number")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = Rows("structured", arguments)
    for case in arguments.cases:
        for label in arguments.methods:
            rows.measure(partial(run, case, label, arguments), case=case, method=label, seed=arguments.seed)
    print(table(*body(rows.rows)))


def body(rows: list[dict[str, Any]]) -> tuple[list[list[Any]], list[str]]:
    """One line for each method, one column for each case."""
    cases = [case for case in CASES if any(row["case"] == case for row in rows)]
    of = {(row["case"], row["method"]): row["psnr"] for row in rows}
    noisy = {row["case"]: row["noisy"] for row in rows}
    done = [label for label in METHODS if any(row["method"] == label for row in rows)]
    lines_of = [[label, *(of.get((case, label), "") for case in cases)] for label in done]
    return [["noisy", *(noisy[case] for case in cases)], *lines_of], ["", *cases]


if __name__ == "__main__":
    main()
