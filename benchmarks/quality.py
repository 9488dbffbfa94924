"""Quality: PSNR on real images with known truth, each image on its own; the truth is never used.

    python benchmarks/quality.py                        (all methods, eight conditions: an hour on two cores)
python benchmarks/quality.py --methods r2r     python benchmarks/quality.py --methods structn2v hdn divnoising cosdd
--conditions WideField_BPAE_B WideField_BPAE_G     python benchmarks/quality.py --methods careamics_60s careamics_300s
(one hour; `make peer` first)

FMD: first capture of each of eight conditions compared with the mean of 50, range 255, output clipped to 0..255. `n2n`
is trained on four captures of the scene, all others on the first alone, in 60 s with prediction; `pretrained` is
`simulated` as packaged, without training, `pretrained_true_noise` the same with gain and read noise from four repeats.
`psnr_affine` is that after the best gain and offset: captures are up to a fifth brighter or darker than their truth.
VST+BM3D is bm3d 4.0.3 with gain and read noise from four repeats, which a single image does not give. An interrupted
benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

import noisewise as nw
from common import DATA, PEER, UNTRAINED, UNTRAINED_TRUE_NOISE, Rows, make_parser, method_and_length, save_image, table
from noisewise.evaluate.metrics import psnr, psnr_affine
from noisewise.noise.fit.variance_line import fit_line
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from noisewise.testing import baselines

WHITE = 6  # the conditions with white noise come first; wide-field noise is correlated
VST_BM3D = [37.72, 31.75, 38.11, 32.88, 32.89, 37.07, 29.50, 28.03]
LEARNED = ("n2v", "pn2v", "r2r", "sure", UNTRAINED, UNTRAINED_TRUE_NOISE, "simulated", "n2n")
ON_REQUEST = ("structn2v", "hdn", "divnoising", "cosdd")
CLASSICAL = {"nlm": baselines.denoise_nlm, "wavelet": baselines.denoise_wavelet, "tv": baselines.denoise_tv}
PEER_SECONDS = {"careamics_60s": 60, "careamics_300s": 300}
BINS = 200  # of the signals of four repeats
Denoised = tuple[np.ndarray, dict[str, Any]]  # and how: steps, seconds


@cache
def fmd() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, four noisy captures and truths of the eight conditions."""
    noisy = tifffile.imread(DATA / "fmd" / "raw.tif").reshape(8, 4, 512, 512)
    truth = tifffile.imread(DATA / "fmd" / "gt_avg50.tif")
    lines = (DATA / "fmd" / "names.txt").read_text().splitlines()
    return [line.split("\t")[1].removesuffix("_1") for line in lines[::4]], noisy, truth.astype(np.float64)


def learned(label: str, captures: np.ndarray, budget: float, steps: int | None, seed: int) -> Denoised:
    """The first capture denoised within a budget."""
    start = time.perf_counter()
    if label == "n2n":
        # Two of the wide-field captures are identical.
        different = captures[[i for i in range(4) if not any((captures[i] == captures[j]).all() for j in range(i))]]
        model = nw.train("n2n", different, axes="TYX", budget=None if steps else budget, steps=steps, seed=seed)
        mean = model.predict(captures[0], average=True).mean
    else:
        method, length = method_and_length(label, budget, steps)
        noise = noise_model_of_repeats(captures) if label == UNTRAINED_TRUE_NOISE else None
        method, settings = ("n2v", {"blind_shape": "auto"}) if label == "structn2v" else (method, {})
        result = nw.denoise(captures[0], method=method, noise=noise, seed=seed, **length, **settings)
        model, mean = result.model, result.mean
    return mean, {"steps": model.train_state.step, "seconds": time.perf_counter() - start}


def noise_model_of_repeats(captures: np.ndarray) -> nw.Noise:
    """Gain and read noise from four repeats, which a single image does not give."""
    signal, variance = map(torch.from_numpy, transfer_curve(captures))
    line = fit_line(signal, variance, 3.0 * captures[0].size / BINS)
    return PoissonGaussian.from_line(line, float(signal[0]), Quantization(1.0, 0.0, 255.0))


def transfer_curve(captures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signals, and the variances between repeats at each; equally many pixels in each bin."""
    stack = captures.astype(np.float64)
    mean, variance = stack.mean(0).ravel(), stack.var(0, ddof=1).ravel()
    bins = np.array_split(np.argsort(mean), BINS)
    signal, noise = (np.array([part[b].mean() for b in bins]) for part in (mean, variance))
    return signal, noise


def classical(name: str, image: np.ndarray) -> Denoised:
    """A classical filter with gain and offset as measured in the image."""
    start, line = time.perf_counter(), nw.measure(image).line
    mean = CLASSICAL[name](image, line.slope, -line.intercept / line.slope)
    return mean, {"seconds": time.perf_counter() - start}


@cache
def peer(index: int) -> dict[str, np.ndarray]:
    """One condition denoised by CAREamics' N2V, after each of `PEER_SECONDS` of training."""
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images.npy", Path(folder) / "out.npz"
        np.save(images, fmd()[1][index, :1])
        script, marks = Path(__file__).with_name("peer.py"), [str(s) for s in PEER_SECONDS.values()]
        subprocess.run([PEER, script, "quality", images, out, "--seconds", *marks], check=True, cwd=folder)
        return dict(zip(PEER_SECONDS, np.load(out)["predictions"][0], strict=True))


def scores(image: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """PSNR over the range of 8 bits, without and with the best gain and offset."""
    image = np.clip(image, 0, 255)
    return {"psnr": psnr(image, truth, 255), "psnr_affine": psnr_affine(image, truth, 255)}


def denoised(method: str, index: int, seed: int, arguments: argparse.Namespace) -> Denoised:
    """The first capture of a condition, denoised."""
    captures = fmd()[1][index]
    if method == "noisy":
        return captures[0], {}
    if method in PEER_SECONDS:
        return peer(index)[method], {}
    if method in CLASSICAL:
        return classical(method, captures[0])
    return learned(method, captures, arguments.budget, arguments.steps, seed)


def run(method: str, index: int, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One method on one condition, and its scores."""
    names, _, truth = fmd()
    image, about = denoised(method, index, seed, arguments)
    save_image(arguments.save, f"{names[index]}_{method}_{seed}", image)
    return scores(image, truth[index]) | about


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--methods", nargs="*", default=["noisy", *LEARNED, *CLASSICAL])
    parser.add_argument("--conditions", nargs="*", help="default: all eight")
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="instead of a budget")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    names = fmd()[0]
    rows = Rows("quality_fmd", arguments, budget_s=arguments.budget, range=255)
    for method in arguments.methods:
        for index, name in enumerate(names):
            if arguments.conditions and name not in arguments.conditions:
                continue
            for seed in range(arguments.seeds if method in LEARNED + ON_REQUEST else 1):
                work = partial(run, method, index, seed, arguments)
                rows.measure(work, condition=name, method=method, seed=seed)
    done = list(dict.fromkeys(row["method"] for row in rows.rows))
    print(table(body(rows.rows, names, done), ["condition", *done]))


def body(rows: list[dict[str, Any]], names: list[str], methods: list[str], key: str = "psnr") -> list[list[Any]]:
    """One line for each condition, mean over seeds, and the mean of the white ones after them."""

    def of(name: str, method: str) -> float:
        return float(np.mean([row[key] for row in rows if (row["condition"], row["method"]) == (name, method)]))

    lines = [[name, *(of(name, method) for method in methods)] for name in names]
    mean = [float(np.mean([line[1 + i] for line in lines[:WHITE]])) for i in range(len(methods))]
    return [*lines[:WHITE], ["mean of these six", *mean], *lines[WHITE:]]


if __name__ == "__main__":
    main()
