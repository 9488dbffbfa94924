"""Row offsets in stacks without truth: are they removed in dark regions, and are bright objects kept?

    python benchmarks/stripes.py          (untrained and trained simulated, cosdd, n2v on three stacks: fifteen minutes)
    python benchmarks/stripes.py --figure docs/images/stripes.png

row_noise_3d: beads, sCMOS; line_noise_3d: zebrafish, two photons. `left` is the variance of the difference between
the means of neighbouring rows, over pixels that are dark in both (slow gradients cancel), relative to that of the noisy
stack. `peak`, `top` and `sum` compare the brightest pixels of bright objects, their brightest 3 x 3 pixels, and sums
over 7 x 7 pixels around them, with those of the noisy stack: medians of ratios above the dark level. Noise makes the
brightest of some noisy pixels too bright, so the first two must decrease: `perfect_peak` and `perfect_top` are the same
comparison of the denoised stack with itself plus new noise of the measured noise model. The method `pretrained` is
`simulated` without training.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from matplotlib.figure import Figure
from scipy import ndimage

import noisewise as nw
from common import DATA, UNTRAINED, Rows, make_parser, method_and_length, save_image, table

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


def noisier(result: nw.Result) -> np.ndarray:
    """The denoised stack with new noise of the measured noise model."""
    noise_model = result.model.noise_models[0] if result.model.noise_models else result.checkup.noise
    return noise_model.sample(torch.from_numpy(result.mean), torch.Generator().manual_seed(0)).numpy()


def compare(noisy: np.ndarray, found: np.ndarray, shown: np.ndarray | None = None) -> dict[str, Any]:
    """What is left of the rows, and of the objects. shown: the stack in which these are located."""
    noisy = noisy.astype(np.float64)
    shown = noisy if shown is None else shown.astype(np.float64)
    smooth = ndimage.gaussian_filter(shown, (0, 6, 6))
    dark = smooth <= np.quantile(smooth, DARK)
    places, level = objects(shown, dark), np.median(shown[dark])
    boxes = [np.s_[z, y - 3 : y + 4, x - 3 : x + 4] for z, y, x in places]
    means = {"peak": (found, noisy), "top": [ndimage.uniform_filter(stack, (1, 3, 3)) for stack in (found, noisy)]}
    kept = {name: [(a[box].max() - level) / (b[box].max() - level) for box in boxes] for name, (a, b) in means.items()}
    kept["sum"] = [(found[box] - level).sum() / (noisy[box] - level).sum() for box in boxes]
    return {
        "left": row_variance(found, dark) / row_variance(noisy, dark), "objects": len(places),
        **{name: float(np.median(ratios)) if ratios else None for name, ratios in kept.items()},
    }  # fmt: skip


def run(name: str, method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Denoise one stack: what is left of its rows and objects."""
    noisy, start = tifffile.imread(DATA / STACKS[name]), time.perf_counter()
    kind, length = method_and_length(method, arguments.budget, arguments.steps)
    result = nw.denoise(noisy, axes="ZYX", method=kind, average=False, **length)
    about = {"seconds": time.perf_counter() - start, "steps": result.model.train_state.step}
    ideal = compare(noisier(result), result.mean, noisy)
    found = compare(noisy, result.mean) | {f"perfect_{key}": ideal[key] for key in ("peak", "top")}
    save_image(arguments.save, f"{name}_{method}", result.mean)
    return found | about


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--methods", nargs="*", default=[UNTRAINED, "simulated", "cosdd", "n2v"])
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="instead of a budget")
    parser.add_argument(
        "--figure", type=Path, help="only draw this figure: each stack denoised by the packaged network"
    )
    arguments = parser.parse_args()
    if arguments.figure:
        draw(arguments.figure)
        return
    rows = Rows("stripes", arguments, budget_s=arguments.budget)
    for method in arguments.methods:
        for name in STACKS:
            rows.measure(partial(run, name, method, arguments), stack=name, method=method)
    keys = ["stack", "method", "left", "objects", "peak", "perfect_peak", "top", "perfect_top", "sum"]
    print(table([[row.get(key) for key in keys] for row in rows.rows], keys))


def draw(path: Path) -> None:
    """Maximum along Z of each stack, noisy and denoised, and what was removed from its middle slice."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    for row, (name, file) in zip(figure.subplots(len(STACKS), 3), STACKS.items(), strict=True):
        noisy = tifffile.imread(DATA / file).astype(np.float32)
        found = nw.denoise(noisy, axes="ZYX", method="simulated", steps=0, average=False).mean
        part = np.s_[:, 100:356, 100:356]
        noisy, found = noisy[part], found[part]
        middle = len(noisy) // 2
        removed = noisy[middle] - found[middle]
        dark = np.median(found.max(0))
        # Bright objects saturate, so that dark regions are visible.
        low, high = dark - 2 * removed.std(), dark + 12 * removed.std()
        for panel, image, title in zip(
            row, (noisy.max(0), found.max(0), removed), (f"{name}, noisy", "denoised", "taken away"), strict=True
        ):
            limits = (low, high) if title != "taken away" else (-2.5 * removed.std(), 2.5 * removed.std())
            panel.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
            panel.set(xticks=[], yticks=[], title=title)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
