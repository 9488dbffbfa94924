"""Tables of methods that know the posterior, for `readme.py`."""

from __future__ import annotations

import json
from typing import Any

import diverse as fifteen_minutes
import photons as few_photons
from common import RESULTS, table

WORLDS = {
    "gaussian": "textures, white noise", "correlated": "textures, noise along X", "poisson": "figures, photons",
    "poisson_gaussian": "figures, photons and read noise",
}  # fmt: skip


def bayes() -> str:
    rows = json.loads((RESULTS / "bayes.json").read_text())["rows"]
    worlds = list(dict.fromkeys(row["world"] for row in rows))
    by = {(f"`{row['method']}`", row["world"]): row for row in rows if "refused" not in row}
    by |= {(f"`{row['method']}`, mean of {row['drawn']['samples']} samples", row["world"]): row["drawn"]
           for row in rows if "drawn" in row}  # fmt: skip
    said = [
        "Mean squared error above that of the exact posterior mean, and above that of the exact mean without the",
        "pixel's own value, dB; how far the standard deviation is from the exact one; and how many signals lie in",
        "the interval that should hold 90 %, as if errors were normal.",
    ]
    for world in worlds:
        lines = []
        for method in sorted(method for method, where in by if where == world):
            row = by[method, world]
            std = row.get("std")
            lines.append([
                method, f"{row['above_posterior_db']:+.3f}",
                f"{row['above_blind_db']:+.3f}" if "above_blind_db" in row else "",
                f"{100 * (std['rms'] / std['exact_rms'] - 1):+.0f} %" if std else "",
                f"{100 * std['within_90']:.1f} %" if std else "",
            ])  # fmt: skip
        header = [WORLDS[world], "posterior", "blind", "std", "90 % hold"]
        said += ["", table(lines, header)]
    return "\n".join([*said, *two_samples(rows)])


def two_samples(rows: list[dict[str, Any]]) -> list[str]:
    """Samples of methods that draw, against exact ones."""
    lines = [
        [
            f"`{row['method']}`",
            row["world"].replace("_", "-"),
            name,
            *(f"{s[key]:.3g}" for key in ("model", "exact", "ks")),
        ]
        for row in rows
        if "drawn" in row
        for name, s in row["drawn"]["two_samples"].items()
    ]
    if not lines:
        return []
    header = ["", "world", "of each sample", "model", "exact", "largest difference of the distributions"]
    return ["", "Samples against samples of the exact posterior of the same noisy images:", "", table(lines, header)]


def diverse() -> str:
    result = json.loads((RESULTS / "diverse.json").read_text())
    lines, header = fifteen_minutes.body(result["rows"])
    steps = {row["method"]: row["steps"] for row in result["rows"]}
    spent = " and ".join(f"{count} of `{method}`" for method, count in steps.items())
    return "\n".join([
        f"No more steps than {result['budget_s'] / 60:.0f} minutes hold on two cores, {spent}",
        "(`benchmarks/diverse.py`): W2S, learned from twelve fields of view and tested on four others, affine PSNR;",
        "FMD, each image by itself, PSNR; range 255, dB. Means are averaged over flips and turns but for those in one",
        "pass, and of samples:", "",
        table(lines, header),
    ])  # fmt: skip


def photons() -> str:
    result = json.loads((RESULTS / "photons.json").read_text())
    lines, header = few_photons.body(result["rows"])
    return "\n".join([
        f"Six images at so many photons a pixel, {result['budget_s']:.0f} s of training on two cores for",
        "all of them (`benchmarks/photons.py`); PSNR after the best gain and offset over the range of the truth:", "",
        table(lines, header),
    ])  # fmt: skip


def sampling() -> str:
    found = json.loads((RESULTS / "samples.json").read_text())
    few, *_, many = found["memory_mb"].items()
    return "\n".join([
        f"{found['samples']} samples of {found['side']} x {found['side']} pixels take {found['together_s']:.1f} s on",
        f"two cores, {found['times_faster']:.1f} times less than reading the image anew for each; the process has",
        f"{few[1]:.0f} MB at most for {few[0]} samples, and {many[1]:.0f} for {many[0]} (`benchmarks/samples.py`).",
    ])  # fmt: skip
