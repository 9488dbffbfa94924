"""Intervals of real images: how often the truth lies in D ± 1.645 σ, and whether a report warns of them.

    python benchmarks/coverage.py                 (20 images, without training; 3 minutes)
    python benchmarks/coverage.py --budget 60s    (with training: half an hour)

The truth is the mean of 50 captures (FMD) or of 400 (W2S), whose noise variance, that part of the variance measured in
the image, is added to σ². Between captures the light changes by up to 8 %, and unevenly over the field, so the truth is
brought to the capture by a fitted line, and at scales above 16 pixels: these are not tested. 86 to 94 % are right;
where there are fewer or more, the report must say that the intervals are wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter

import noisewise as nw
from common import DATA, in_units_of, make_parser, table, write
from noise import fmd_data
from noisewise.report.verdict import unusual

Z90 = 1.645
RIGHT = (0.86, 0.94)
FIELDS = (0, 4, 8, 11)
DRIFT = 16  # pixels


def images(bring: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """Name, noisy image, truth in its units, and number of captures in the truth.

    bring: (noisy image, truth) -> the truth in the units and light of the noisy image.
    """
    for name, captures, mean in fmd_data():
        yield f"fmd {name}", captures[0], bring(captures[0], mean), 50
    for dye in range(3):
        noisy, truth = (tifffile.imread(DATA / "w2s" / f"{kind}_ch{dye}.tif") for kind in ("noisy_avg1", "gt_avg400"))
        for number in FIELDS:
            yield f"w2s {dye} {number}", noisy[number], bring(noisy[number], truth[number]), 400


def brought_to(noisy: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The truth in the units of a noisy image, and with its light at large scales."""
    scaled = in_units_of(noisy, truth)
    return np.asarray(scaled + gaussian_filter(noisy - scaled, DRIFT))


def row(name: str, noisy: np.ndarray, truth: np.ndarray, captures: int, budget: str | None) -> dict[str, Any]:
    """Coverage of all pixels, and of the third of them with the darkest, medium and brightest signals."""
    options: dict[str, Any] = {"steps": 0} if budget is None else {"budget": budget}
    found = nw.denoise(noisy, std=True, report=lambda _: None, **options)
    assert found.std is not None and found.checkup is not None
    own = np.maximum(found.checkup.line(truth), 0) / captures
    inside = np.abs(found.mean - truth) <= Z90 * np.sqrt(found.std**2 + own)
    edges = np.quantile(truth, (1 / 3, 2 / 3))
    thirds = [float(inside[np.digitize(truth, edges) == part].mean()) for part in range(3)]
    checks = found.model.provenance.get("checks") or {}
    return {
        "image": name, "covered": float(inside.mean()), "thirds": thirds, "kind": found.checkup.kind,
        "rms_ratio": float(np.sqrt(((found.mean - truth) ** 2).mean() / (found.std**2 + own).mean())),
        "warnings": unusual(checks), "coverage_checks": checks.get("coverage"),
    }  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--budget", help="time for each image; without it, nothing is trained")
    parser.add_argument("--only", default="", help="a part of the names of images")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name, noisy, truth, captures in images(brought_to):
        if arguments.only in name:
            rows.append(row(name, noisy, truth, captures, arguments.budget))
            one = rows[-1]
            print(name, one["kind"], f"{one['covered']:.3f}", np.round(one["thirds"], 2), one["warnings"], flush=True)
    right = [RIGHT[0] <= one["covered"] <= RIGHT[1] for one in rows]
    warned = [bool(one["warnings"]) for one in rows]
    either = sum(map(any, zip(right, warned, strict=True)))
    print(table([[len(rows), sum(right), sum(warned), either]], ["images", "86 to 94 %", "warned", "either"]))
    write("coverage" if arguments.budget else "coverage_untrained", {"rows": rows}, arguments.dry)


if __name__ == "__main__":
    main()
