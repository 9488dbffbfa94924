"""Real images, fifteen minutes of training each: methods that sample from the posterior, beside Noise2Void.

    python benchmarks/diverse.py                         (five hours on two cores)
    python benchmarks/diverse.py --sets w2s_1 --methods hdn
    python benchmarks/diverse.py --device cuda           (also a network of the published size)

W2S: trained on twelve fields of view of a dye, tested on four others, as in `w2s.py`; affine PSNR over the range 255.
FMD: trained on the first capture of each white condition alone, as in `quality.py`; PSNR over the range 255. `psnr`: of
the mean, averaged over flips and rotations; `one_pass`: without average; `draws`: of the mean of 100 samples. `std`:
root mean square of the predicted standard deviations over that of the errors (FMD, whose truth has the image's units).
An interrupted benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import noisewise as nw
from common import Rows, make_parser, save_image, table
from noisewise.evaluate.metrics import psnr, psnr_affine
from quality import WHITE, fmd
from w2s import TESTED, TRAINED, load

METHODS = {
    "n2v": ("n2v", {}),
    "hdn": ("hdn", {}),
    "hdn_large": ("hdn", {"width": 64, "latent": 32, "blocks": 5, "levels": 6}),
}
SMALL = ("n2v", "hdn")
SETS = [*(f"w2s_{dye}" for dye in range(3)), *(f"fmd_{index}" for index in range(WHITE))]
MEAN_SAMPLES = 100


def images(name: str) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Training images, test images and their truths."""
    kind, index = name.split("_")
    if kind == "w2s":
        noisy, truth, _ = load(int(index))
        return noisy[TRAINED], noisy[TESTED], list(truth[TESTED])
    _, captures, truth = fmd()
    return [captures[int(index), 0]], [captures[int(index), 0]], [truth[int(index)]]


def score(name: str, found: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """Mean PSNR over the test images."""
    if name.startswith("w2s"):
        return float(np.mean([psnr_affine(*pair, 255) for pair in zip(found, truth, strict=True)]))
    return float(np.mean([psnr(np.clip(a, 0, 255), b, 255) for a, b in zip(found, truth, strict=True)]))


def run(name: str, label: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One training, and its scores."""
    train, test, truth = images(name)
    method, settings = METHODS[label]
    start = time.perf_counter()
    budget = None if arguments.steps else arguments.budget
    model = nw.train(
        method, train, budget=budget, steps=arguments.steps, seed=arguments.seed, device=arguments.device, **settings
    )  # fmt: skip
    seconds = time.perf_counter() - start
    single = [model.predict(image, average=False) for image in test]
    average = [model.predict(image, average=True).mean for image in test]
    row = {
        "steps": model.train_state.step, "training_s": seconds,
        "noisy": score(name, test, truth), "psnr": score(name, average, truth),
        "one_pass": score(name, [post.mean for post in single], truth),
    }  # fmt: skip
    if model.method.traits.samples:
        model.method = replace(model.method, mean_samples=MEAN_SAMPLES)
        row["draws"] = score(name, [model.predict(image, average=False).mean for image in test], truth)
    if single[0].std is not None and name.startswith("fmd"):
        errors = [post.mean - clean for post, clean in zip(single, truth, strict=True)]
        predicted = np.mean([np.mean(post.std**2) for post in single])
        row["std"] = float(np.sqrt(predicted / np.mean([np.mean(error**2) for error in errors])))
        row["calibration"] = model.provenance.get("calibration")
    save_image(arguments.save, f"{name}_{label}", [test[0], average[0], truth[0]])
    return row


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--methods", nargs="*", choices=METHODS, help="default: with --device cuda all, else n2v and hdn"
    )
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--budget", type=float, default=900.0)
    parser.add_argument("--steps", type=int, help="instead of a budget")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    rows = Rows("diverse", arguments, budget_s=arguments.budget, draws=MEAN_SAMPLES)
    for name in arguments.sets:
        for label in arguments.methods or (METHODS if arguments.device.startswith("cuda") else SMALL):
            rows.measure(partial(run, name, label, arguments), set=name, method=label, seed=arguments.seed)
    print(table(*body(rows.rows)))


def body(rows: list[dict[str, Any]]) -> tuple[list[list[Any]], list[str]]:
    """One line for each set of images, and the header."""
    labels = [label for label in METHODS if any(row["method"] == label for row in rows)]
    shown = [(label, key) for label in labels for key in ("psnr", *(() if label == "n2v" else ("one_pass", "draws")))]
    names = {"psnr": "{}", "one_pass": "{}, one pass", "draws": f"{{}}, {MEAN_SAMPLES} samples"}
    lines = []
    for name in SETS:
        of = {row["method"]: row for row in rows if row["set"] == name}
        if of:
            noisy = next(iter(of.values()))["noisy"]
            lines.append([name, noisy, *(of.get(label, {}).get(key, "") for label, key in shown)])
    return lines, ["", "noisy", *(names[key].format(label) for label, key in shown)]


if __name__ == "__main__":
    main()
