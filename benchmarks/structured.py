"""Planted lines: noise along rows or columns on clean images, and what each method makes of it.

    python benchmarks/structured.py                      (all methods, four cases: two hours on two cores)
    python benchmarks/structured.py --cases "3 e, X" --methods cosdd n2v

An sCMOS exposure of few photons (`Camera`), and along the axis, in electrons rms each, an offset that a whole line
shares and a part whose correlation falls off as e^(-distance / 6). Every method learns from the same images and is
tested on another: three quarters of the zebrafish spinal cord and the fourth (X), the left half of an image of actin
and the right (Y). PSNR over the range between the 0.1 and 99.9 percentiles of the truth; `axis` is what was measured.

Two cases more are not Gaussian: a telegraph of 4 e, which is at one of two levels along X and stays there for ten
pixels, and pulses of 12 e in one pixel of twenty, that are smeared along X.

`care` is told the truth of the images it learns from. `simulated` measures the noise in them; `spectral` and `memory`
are `simulated` with a law fitted to twenty exposures of one still scene: `Correlated` and `Autoregressive`.
`cosdd_alone` learns from the images only, without drawn scenes or packaged weights. `structn2v` hides what was measured
to share a pixel's noise.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy.signal import lfilter

import noisewise as nw
from common import DATA, Rows, psnr, table
from noisewise.noise.ops.correlation_length import axis_of
from noisewise.calibration.correlated import structured

CAMERA = nw.Camera(gain=2.2, read_noise=1.6, offset=100, bits=16)
LASTING, SETTLED, FRAMES = 6.0, 100, 20
FLIPS, PULSES, LEFT = 0.1, 0.05, 0.5
BRIGHTEST, DARKEST = 30.0, 1.0  # photons
CASES = {
    "1 e, X": ("lines", 1.0, "X"), "3 e, X": ("lines", 3.0, "X"), "1 e, Y": ("lines", 1.0, "Y"),
    "3 e, Y": ("lines", 3.0, "Y"), "telegraph, X": ("telegraph", 4.0, "X"), "smear, X": ("smear", 12.0, "X"),
}  # fmt: skip
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "n2v": ("n2v", {}),
    "structn2v": ("n2v", {"blind_shape": "auto"}),
    "cosdd": ("cosdd", {}),
    "cosdd_alone": ("cosdd", {"drawn": 0.0, "own": 0.0, "prior": False}),
    "simulated": ("simulated", {}),
    "spectral": ("simulated", {}),
    "memory": ("simulated", {}),
    "care": ("care", {}),
}
STEPS = {
    "n2v": 8000, "structn2v": 4000, "care": 4000, "cosdd": 2000, "cosdd_alone": 2000, "simulated": 1000,
    "spectral": 1000, "memory": 1000,
}  # fmt: skip
FITTED = {"spectral": "correlated", "memory": "autoregressive"}


def scene(axis: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Photons of the images to learn from, and of the one to be tested on."""
    name = {"X": "zebrafish_spinal_cord", "Y": "BPAE_actin"}[axis]
    image = tifffile.imread(DATA / "clean" / f"{name}.tif").astype(np.float64)
    dark, bright = np.percentile(image, [0.1, 99.9])
    photons = DARKEST + (BRIGHTEST - DARKEST) * ((image - dark) / (bright - dark)).clip(0, 1.5)
    if axis == "X":
        corners = [photons[y : y + 512, x : x + 512] for y in (0, 512) for x in (0, 512)]
        return corners[:3], corners[3]
    return [photons[:, :588]], photons[:, 588:]


def lines(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Along X, of unit size: offsets of whole lines, and what lasts."""
    stays = np.exp(-1 / LASTING)
    fresh = (1 - stays**2) ** 0.5 * rng.standard_normal((shape[0], SETTLED + shape[1]))
    return lfilter([1.0], [1.0, -stays], fresh, axis=-1)[:, SETTLED:] + rng.standard_normal((shape[0], 1))


def telegraph(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Two levels, 1 and -1; from one pixel to the next along X it stays at its own with the probability 0.9."""
    flips = np.where(rng.random(shape) < FLIPS, -1.0, 1.0)
    flips[:, 0] = rng.choice([-1.0, 1.0], shape[0])
    return np.cumprod(flips, axis=1)


def smear(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """One pixel in twenty gets a pulse, exponential with unit mean, half of which stays for each next one along X."""
    pulses = np.where(rng.random((shape[0], SETTLED + shape[1])) < PULSES, 1.0, 0.0)
    pulses *= rng.exponential(1.0, pulses.shape)
    return lfilter([1.0], [1.0, -LEFT], pulses, axis=-1)[:, SETTLED:] - PULSES / (1 - LEFT)


PLANTED = {"lines": lines, "telegraph": telegraph, "smear": smear}


def exposed(photons: np.ndarray, case: str, seed: int) -> np.ndarray:
    """A noisy image, ADU."""
    kind, strength, axis = CASES[case]
    shape = photons.shape if axis == "X" else photons.shape[::-1]
    noise = strength * PLANTED[kind](shape, np.random.default_rng(seed))
    noise = noise if axis == "X" else noise.T
    return CAMERA.expose(photons, seed=seed).astype(np.float64) + np.round(CAMERA.gain_adu_per_e * noise)


def truth_of(photons: np.ndarray) -> np.ndarray:
    """What the mean over many exposures would show, ADU."""
    return CAMERA.signal(photons)


def run(case: str, label: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One training, and its score on the image that was not learned from."""
    axis = CASES[case][2]
    photons, unseen = scene(axis)
    noisy = [exposed(image, case, seed) for seed, image in enumerate(photons)]
    test, truth = exposed(unseen, case, 99), truth_of(unseen)
    span = float(np.subtract(*np.percentile(truth, [99.9, 0.1])))
    method, settings = METHODS[label]
    given: dict[str, Any] = {}
    if label in FITTED:
        frames = np.stack([exposed(photons[0], case, 1000 + n) for n in range(FRAMES)])
        given["noise"] = structured(frames, kind=FITTED[label], axes="TYX").noise
    if label == "care":
        given["target"] = [truth_of(image) for image in photons]
    steps, start = arguments.steps or STEPS[label], time.perf_counter()
    model = nw.train(method, noisy, steps=steps, seed=arguments.seed, **given, **settings)
    seconds = time.perf_counter() - start
    found = model.predict(test, average=True).mean
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
        np.save(
            arguments.save / f"{case.replace(', ', '_').replace(' ', '')}_{label}.npy", np.stack([test, found, truth])
        )
    return {
        "case": case, "method": label, "seed": arguments.seed, "steps": model.run.step, "training_s": seconds,
        "noisy": psnr(test, truth, span), "psnr": psnr(found, truth, span), "planted": axis,
        "axis": axis_of((nw.measure(noisy[0]).noise,)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--steps", type=int, help="in place of each method's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="do not keep the results")
    parser.add_argument("--save", type=Path, help="folder for the denoised images")
    arguments = parser.parse_args()
    rows = Rows("structured", ["case", "method", "seed"])
    for case in arguments.cases:
        for label in arguments.methods:
            key = {"case": case, "method": label, "seed": arguments.seed}
            rows.once(partial(run, case, label, arguments), arguments.dry, **key)
    print(table(*body(rows.rows)))


def body(rows: list[dict[str, Any]]) -> tuple[list[list[Any]], list[str]]:
    """A line a method, a column a case."""
    cases = [case for case in CASES if any(row["case"] == case for row in rows)]
    of = {(row["case"], row["method"]): row["psnr"] for row in rows}
    noisy = {row["case"]: row["noisy"] for row in rows}
    done = [label for label in METHODS if any(row["method"] == label for row in rows)]
    lines_of = [[label, *(of.get((case, label), "") for case in cases)] for label in done]
    return [["noisy", *(noisy[case] for case in cases)], *lines_of], ["", *cases]


if __name__ == "__main__":
    main()
