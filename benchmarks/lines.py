"""Offsets of rows, in stacks without truth: are they gone from the dark, and are the bright things still there?

    python benchmarks/lines.py          (prior, simulated and n2v on three stacks: ten minutes on two cores)

row_noise_3d: beads, sCMOS; line_noise_3d: zebrafish, two photons. `left` is the variance of the difference between
the means of neighbouring rows, over pixels that are dark in both (slow gradients fall out), against that of the noisy
stack. `peak` and `sum` compare the brightest pixels of bright objects, and the sums over 7 x 7 pixels about them, with
those of the noisy stack: medians of ratios above the dark level.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

import noisewise as nw
from common import DATA, Rows, asked, table

STACKS = {
    "beads 1": "row_noise_3d/E07_s1_w1.tif", "beads 2": "row_noise_3d/E07_s2_w2.tif",
    "zebrafish": "line_noise_3d/stack0_z000-029.tif",
}  # fmt: skip
DARK, BRIGHT = 0.5, 30.0  # quantile of the smoothed stack; of its noise above the dark level
APART = 7


def row_variance(stack: np.ndarray, dark: np.ndarray) -> float:
    """Variance of the difference between the means of neighbouring rows, over pixels that are dark in both."""
    both = dark[:, 1:] & dark[:, :-1]
    count = both.sum(2)
    step = np.where(both, stack[:, 1:] - stack[:, :-1], 0).sum(2) / np.maximum(count, 1)
    return float(np.mean(step[count >= 50] ** 2))


def objects(stack: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Places (N, 3) of bright local maxima of the noisy stack."""
    smooth = ndimage.gaussian_filter(stack, (0, 1, 1))
    level, spread = np.median(stack[dark]), np.std(stack[dark])
    top = (smooth == ndimage.maximum_filter(smooth, (1, APART, APART))) & (smooth > level + BRIGHT * spread)
    top[:, :APART] = top[:, -APART:] = top[:, :, :APART] = top[:, :, -APART:] = False
    return np.argwhere(top)


def compare(noisy: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """What is left of the rows, and of the objects."""
    noisy = noisy.astype(np.float64)
    smooth = ndimage.gaussian_filter(noisy, (0, 6, 6))
    dark = smooth <= np.quantile(smooth, DARK)
    places, level = objects(noisy, dark), np.median(noisy[dark])
    peaks, sums = [], []
    for z, y, x in places:
        box = np.s_[z, y - 3 : y + 4, x - 3 : x + 4]
        peaks.append((found[box].max() - level) / (noisy[box].max() - level))
        sums.append((found[box] - level).sum() / (noisy[box] - level).sum())
    return {
        "left": row_variance(found, dark) / row_variance(noisy, dark), "objects": len(places),
        "peak": float(np.median(peaks)) if peaks else None, "sum": float(np.median(sums)) if sums else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=["prior", "simulated", "n2v"])
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--save", type=Path, help="folder for the denoised stacks")
    arguments = parser.parse_args()
    rows = Rows("lines", ["stack", "method"], budget_s=arguments.budget)
    for method in arguments.methods:
        for name, path in STACKS.items():
            if rows.has(stack=name, method=method):
                continue
            noisy, start = tifffile.imread(DATA / path), time.perf_counter()
            kind, steps = asked(method, None)
            result = nw.denoise(noisy, axes="ZYX", method=kind, budget=arguments.budget, steps=steps, average=False)
            about = {"seconds": time.perf_counter() - start, "steps": result.model.run.step}
            rows.keep({"stack": name, "method": method, **compare(noisy, result.mean), **about})
            print(rows.rows[-1], flush=True)
            if arguments.save:
                arguments.save.mkdir(exist_ok=True, parents=True)
                tifffile.imwrite(arguments.save / f"{name}_{method}.tif", result.mean)
    keys = ["stack", "method", "left", "objects", "peak", "sum"]
    print(table([[row[key] for key in keys] for row in rows.rows], keys))


if __name__ == "__main__":
    main()
