"""Real images, fifteen minutes of training each: methods that draw from the posterior, beside Noise2Void.

    python benchmarks/diverse.py                         (five hours on two cores)
    python benchmarks/diverse.py --sets w2s_1 --methods hdn
    python benchmarks/diverse.py --device cuda           (also a network of the published size)

W2S: trained on twelve fields of view of a dye, tested on four others, as in `w2s.py`; affine PSNR over the range 255.
FMD: the first capture of each white condition, learned from alone, as in `quality.py`; PSNR over the range 255. `psnr`:
of the mean in one pass, averaged over flips and turns; `one_pass`: without; `draws`: of the mean of 100 samples. `std`:
root mean square of the claimed standard deviations over that of the errors (FMD, whose truth has the image's units). A
run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import noisewise as nw
from common import Rows, psnr, table
from noisewise.evaluate.metrics import psnr_affine
from quality import WHITE, fmd
from w2s import TESTED, TRAINED, load

METHODS = {
    "n2v": ("n2v", {}),
    "hdn": ("hdn", {}),
    "hdn_large": ("hdn", {"width": 64, "latent": 32, "blocks": 5, "levels": 6}),
}
SMALL = ("n2v", "hdn")
SETS = [*(f"w2s_{dye}" for dye in range(3)), *(f"fmd_{index}" for index in range(WHITE))]
DRAWS = 100


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
    single = [model.predict(image) for image in test]
    average = [model.predict(image, average=True).mean for image in test]
    row = {
        "set": name, "method": label, "seed": arguments.seed,
        "steps": model.run.step, "training_s": seconds,
        "noisy": score(name, test, truth), "psnr": score(name, average, truth),
        "one_pass": score(name, [post.mean for post in single], truth),
    }  # fmt: skip
    if model.method.gives_samples:
        model.method = replace(model.method, draws=DRAWS)
        row["draws"] = score(name, [model.predict(image).mean for image in test], truth)
    if single[0].std is not None and name.startswith("fmd"):
        errors = [post.mean - clean for post, clean in zip(single, truth, strict=True)]
        claimed = np.mean([np.mean(post.std**2) for post in single])
        row["std"] = float(np.sqrt(claimed / np.mean([np.mean(error**2) for error in errors])))
        row["calibration"] = model.provenance.get("calibration")
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
        np.save(arguments.save / f"{name}_{label}.npy", np.stack([test[0], average[0], truth[0]]))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", nargs="*", choices=METHODS, help="default: with --device cuda all, else n2v and hdn"
    )
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--budget", type=float, default=900.0)
    parser.add_argument("--steps", type=int, help="in place of a budget")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dry", action="store_true", help="do not keep the results")
    parser.add_argument("--save", type=Path, help="folder for the denoised images")
    arguments = parser.parse_args()
    rows = Rows("diverse", ["set", "method", "seed"], budget_s=arguments.budget, draws=DRAWS)
    for name in arguments.sets:
        for label in arguments.methods or (METHODS if arguments.device.startswith("cuda") else SMALL):
            key = {"set": name, "method": label, "seed": arguments.seed}
            rows.once(partial(run, name, label, arguments), arguments.dry, **key)
    print(table(*body(rows.rows)))


def body(rows: list[dict[str, Any]]) -> tuple[list[list[Any]], list[str]]:
    """A line a set of images, and what stands above."""
    labels = [label for label in METHODS if any(row["method"] == label for row in rows)]
    shown = [(label, key) for label in labels for key in ("psnr", *(() if label == "n2v" else ("one_pass", "draws")))]
    names = {"psnr": "{}", "one_pass": "{}, one pass", "draws": f"{{}}, {DRAWS} samples"}
    lines = []
    for name in SETS:
        of = {row["method"]: row for row in rows if row["set"] == name}
        if of:
            noisy = next(iter(of.values()))["noisy"]
            lines.append([name, noisy, *(of.get(label, {}).get(key, "") for label, key in shown)])
    return lines, ["", "noisy", *(names[key].format(label) for label, key in shown)]


if __name__ == "__main__":
    main()
