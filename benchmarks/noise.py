"""What `measure` finds compared with what is known: planted noise, repeats of real scenes, and sampled noise.

    python benchmarks/noise.py            (about 4 minutes)

planted: clean images exposed at 3 to 1000 mean photons with 0, 2 and 5 electrons of read noise; error of the gain,
and median error of the standard deviation over the signals of the image, for one exposure. The clean images are
recordings with noise of their own, which exceeds the planted noise at high light: `own` holds the figures relative to
planted plus own variance, the latter as measured in the clean image itself. scikit-image's estimate_sigma gives one σ.
fmd: standard deviation and autocorrelation from one image compared with those of four repeats.
w2s, rows: autocorrelation and verdict where the truth is known. drawn: noise sampled from the measured noise model
compared with the real noise of another exposure (Kolmogorov-Smirnov distance, standard deviation, autocorrelation).
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
import torch
from skimage.restoration import estimate_sigma

import noisewise as nw
from common import DATA, make_parser, table, write

PHOTONS, READ_NOISE_E = (3, 10, 30, 100, 1000), (0, 2, 5)
GAIN, OFFSET = 2.0, 100.0
SCAN_LAGS = (1, 2, 3, 5, 10, 20)


def clean_images() -> Iterator[tuple[str, np.ndarray]]:
    """Name and plane (Y, X) of each clean image, every channel of it."""
    for path in sorted((DATA / "clean").glob("*.tif")):
        image = tifffile.imread(path).astype(np.float64)
        planes = image[None] if image.ndim == 2 else image
        chosen = {"stardist_img3d": [15], "membrane_2d_timelapse": [0]}.get(path.stem, range(len(planes)))
        for i in chosen:
            yield f"{path.stem}_{i}", planes[i][:512, :512]


def planted() -> dict[str, Any]:
    """Errors of gain and standard deviation for every clean image and exposure."""
    rows = []
    for name, plane in clean_images():
        scene = plane / plane.mean()
        own = nw.measure(plane.astype(np.uint16))
        for photons in PHOTONS:
            scale = GAIN * photons / plane.mean()
            signal = OFFSET + GAIN * photons * np.quantile(scene, np.linspace(0.01, 0.99, 25))
            own_variance = scale**2 * np.array([max(own.line((s - OFFSET) / scale), 0.0) for s in signal])
            for read_noise in READ_NOISE_E:
                camera = nw.Camera(gain=GAIN, read_noise=read_noise, offset=OFFSET, bits=16)
                noisy = camera.expose(photons * scene, seed=photons + read_noise)
                found = nw.measure(noisy)
                variance = GAIN * (signal - OFFSET) + (GAIN * read_noise) ** 2 + 1 / 12
                measured = np.array([found.std(s) for s in signal])
                single = estimate_sigma(noisy.astype(np.float64))
                rows.append({
                    "image": name, "photons": photons, "read_noise_e": read_noise,
                    "gain_error": found.line.slope / GAIN - 1,
                    "gain_error_own": found.line.slope / (GAIN + scale * own.line.slope) - 1,
                    "std_error": deviation(measured, variance),
                    "std_error_own": deviation(measured, variance + own_variance),
                    "std_error_estimate_sigma": deviation(np.full(len(signal), single), variance),
                })  # fmt: skip
    return {"rows": rows, "summary": [summary(rows, p) for p in (*PHOTONS, None)]}


def deviation(std: np.ndarray, variance: np.ndarray) -> float:
    """Median relative error of a standard deviation over the signals."""
    return float(np.median(np.abs(std / np.sqrt(variance) - 1)))


def summary(rows: list[dict[str, Any]], photons: int | None) -> dict[str, Any]:
    """Medians over images and read noises."""
    chosen = [row for row in rows if photons in (None, row["photons"])]
    keys = ("gain_error", "std_error", "gain_error_own", "std_error_own", "std_error_estimate_sigma")
    return {"photons": photons} | {key: float(np.median([abs(row[key]) for row in chosen])) for key in keys}


def fmd_data() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Condition, its captures (repeats, Y, X), the mean of fifty."""
    raw = tifffile.imread(DATA / "fmd" / "raw.tif")
    truth = tifffile.imread(DATA / "fmd" / "gt_avg50.tif").astype(np.float64)
    lines = (DATA / "fmd" / "names.txt").read_text().splitlines()
    for i, mean in enumerate(truth):
        captures = raw[4 * i : 4 * i + 4]
        name = lines[4 * i].split("\t")[1].removesuffix("_1")
        yield name, captures[[0, 2, 3]] if name == "WideField_BPAE_B" else captures, mean


def fmd() -> list[dict[str, Any]]:
    """One image compared with the repeats."""
    rows = []
    for name, captures, mean in fmd_data():
        found = nw.measure(captures[0])
        variance = captures.astype(np.float64).var(0, ddof=1)
        edges = np.quantile(mean, np.linspace(0, 1, 13))
        inside = [(mean >= a) & (mean <= b) for a, b in itertools.pairwise(edges)]
        errors = [found.std(mean[k].mean()) / np.sqrt(variance[k].mean()) - 1 for k in inside]
        difference = captures[0].astype(np.float64) - captures[-1]
        still = (mean <= np.median(mean)) if name.startswith(("Conf", "Two")) else np.ones_like(mean, bool)
        rows.append({
            "condition": name, "std_errors": errors, "std_error": float(np.median(np.abs(errors))),
            "gain": found.line.slope, "verdict": found.kind,
            "rho": {axis: found.rho[axis][0] for axis in "XY"},
            "rho_repeats": {axis: masked_rho(difference, still, axis) for axis in "XY"},
        })  # fmt: skip
    return rows


def masked_rho(noise: np.ndarray, inside: np.ndarray, axis: str, lag: int = 1) -> float:
    """Autocorrelation of noise along an axis, of the pixels inside."""
    if axis == "Y":
        noise, inside = noise.T, inside.T
    both = inside[:, lag:] & inside[:, :-lag]
    noise = noise - noise[inside].mean()
    return float((noise[:, lag:] * noise[:, :-lag])[both].mean() / (noise[inside] ** 2).mean())


def w2s() -> dict[str, float]:
    """Largest autocorrelation measured in the white images of W2S, and how many are called white."""
    found = [
        nw.measure(plane) for c in range(3) for plane in tifffile.imread(DATA / "w2s" / f"noisy_avg1_ch{c}.tif")
    ]  # fmt: skip
    largest = [max(abs(checkup.rho[axis][0]) for axis in "XY") for checkup in found]
    return {
        "images": len(found), "white": sum(checkup.kind == "white" for checkup in found),
        "median_rho": float(np.median(largest)), "largest_rho": max(largest),
    }  # fmt: skip


def rows_found() -> dict[str, Any]:
    """Verdicts on real row and scan-line noise, and how often planted row noise is found along the right axis."""
    real = {}
    for name in ("row_noise_3d/E07_s1_w1", "row_noise_3d/E07_s2_w2", "line_noise_3d/stack0_z000-029"):
        found = nw.measure(tifffile.imread(DATA / f"{name}.tif"), axes="ZYX")
        real[name] = {"verdict": found.kind, "row_std": found.row_std_adu, "column_std": found.column_std_adu}
    planted_rows = []
    for name, plane in clean_images():
        if min(plane.shape) < 128:
            continue
        scene = 10 * plane / plane.mean()
        for axis in "XY":
            setting = {"row_noise_e" if axis == "X" else "column_noise_e": 1.0}
            noisy = nw.Camera(gain=GAIN, read_noise=2.0, offset=OFFSET, **setting).expose(scene, seed=1)
            found = nw.measure(noisy)
            std = found.row_std_adu if axis == "X" else found.column_std_adu
            kind = {"X": "rows", "Y": "columns"}[axis]
            planted_rows.append(
                {"image": name, "axis": axis, "found": found.kind == kind, "std_over_planted": std / GAIN}
            )
    return {"real": real, "planted": planted_rows}


def sampled() -> list[dict[str, Any]]:
    """Noise sampled from the noise model of one capture compared with the real noise of another one."""
    rows = []
    for name, captures, mean in fmd_data():
        noise_model = nw.measure(captures[0]).noise
        real = captures[2].astype(np.float64) - mean
        rows.append({"data": f"fmd {name}"} | compare(noise_model, mean, real))
    for c in range(3):
        noisy = tifffile.imread(DATA / "w2s" / f"noisy_avg1_ch{c}.tif")[0]
        truth = tifffile.imread(DATA / "w2s" / f"gt_avg400_ch{c}.tif")[0].astype(np.float64)
        slope, offset = np.polyfit(truth.ravel(), noisy.ravel(), 1)
        mean = slope * truth + offset
        rows.append({"data": f"w2s channel {c}"} | compare(nw.measure(noisy).noise, mean, noisy - mean))
    for name, crop in (
        ("row_noise_3d/E07_s1_w1", np.s_[:, 128:256, 256:384]),
        ("line_noise_3d/stack0_z000-029", np.s_[8:12, 64:128, 0:128]),
    ):
        stack = tifffile.imread(DATA / f"{name}.tif").astype(np.float64)
        noise_model = nw.measure(stack, axes="ZYX").noise
        empty = stack[crop]
        mean = np.broadcast_to(np.median(empty, 0), empty.shape[1:]).copy()
        mean[:] = np.median(mean)
        rows.append({"data": name} | compare(noise_model, mean, empty[0] - np.median(empty[0])))
    return rows


def compare(noise_model: nw.Noise, mean: np.ndarray, real: np.ndarray) -> dict[str, Any]:
    """Real and sampled noise of the same signal; KS distance and std ratio in thirds of the signal."""
    sampled = noise_model.sample(torch.as_tensor(mean), torch.Generator().manual_seed(0)).numpy() - mean
    edges = np.quantile(mean, (0.02, 0.35, 0.65, 0.95)) if np.ptp(mean) else np.array([mean.min(), mean.max()])
    thirds = [(mean >= a) & (mean <= b) for a, b in itertools.pairwise(edges)]
    everywhere = np.ones_like(mean, bool)
    lags = [lag for lag in SCAN_LAGS if lag < min(mean.shape) // 4]
    return {
        "ks": [distance(real[k], sampled[k]) for k in thirds],
        "std_ratio": [float(sampled[k].std() / real[k].std()) for k in thirds],
        "rho_real": {axis: [masked_rho(real, everywhere, axis, lag) for lag in lags] for axis in "XY"},
        "rho_drawn": {axis: [masked_rho(sampled, everywhere, axis, lag) for lag in lags] for axis in "XY"},
    }


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of two samples."""
    both = np.sort(np.concatenate([a, b]))
    cdf = [np.searchsorted(np.sort(part), both, side="right") / len(part) for part in (a, b)]
    return float(np.abs(cdf[0] - cdf[1]).max())


def seconds() -> float:
    """How long one check-up of 512 x 512 pixels takes, best of five."""
    image = tifffile.imread(DATA / "fmd" / "raw.tif")[0]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        nw.measure(image)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    warnings.simplefilter("ignore")
    result = {
        "seconds_512": seconds(), "planted": planted(), "fmd": fmd(), "w2s": w2s(), "rows": rows_found(),
        "drawn": sampled(),
    }  # fmt: skip
    keys = ("gain_error", "std_error", "gain_error_own", "std_error_own", "std_error_estimate_sigma")
    print(table(
        [[s["photons"] or "all", *(100 * s[k] for k in keys)] for s in result["planted"]["summary"]],
        ["photons", "gain, %", "std, %", "gain (own), %", "std (own), %", "estimate_sigma, %"],
    ))  # fmt: skip
    for row in result["fmd"]:
        print(row["condition"], f"{100 * row['std_error']:.1f} %", row["verdict"], row["rho"], row["rho_repeats"])
    print(result["w2s"], result["rows"]["real"])
    rows = result["rows"]["planted"]
    print(
        "planted rows found:",
        sum(r["found"] for r in rows),
        "of",
        len(rows),
        [r["image"] for r in rows if not r["found"]],
    )
    for row in result["drawn"]:
        print(row["data"], *(np.round(row[k], 2).tolist() for k in ("ks", "std_ratio")), row["rho_real"]["X"][:1],
              row["rho_drawn"]["X"][:1], row["rho_real"]["Y"][:1], row["rho_drawn"]["Y"][:1])  # fmt: skip
    write("noise", result, arguments.dry)


if __name__ == "__main__":
    main()
