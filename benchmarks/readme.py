"""Fill the benchmark tables of the README and of the docs from benchmarks/results/*.json.

python benchmarks/readme.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import posteriors
from common import RESULTS, table
from quality import CLASSICAL, VST_BM3D, WHITE
from quality import body as condition_lines
from single import PUBLISHED
from structured import body as structured_body

ROOT = Path(__file__).parents[1]


IMAGES = {"set12": 12, "bsd68": 68, "poisson": 12, "w2s": 4}  # at each level


def speed() -> str:
    result = json.loads((RESULTS / "speed.json").read_text())
    best = result["best"]
    rows = []
    for key, label in (
        ("train_steps_per_s", "training, steps a second (16 patches of 64 x 64)"),
        ("predict_whole_512_mpx_per_s", "prediction, 512 x 512, megapixels a second"),
        ("predict_tiled_2048_mpx_per_s", "prediction, 2048 x 2048 tiled, megapixels a second"),
    ):
        peer, classic, fast = (best[who][key] for who in ("careamics", "classic", "fast"))
        rows.append([label, peer, classic, f"{classic / peer:.1f} x", fast, f"{fast / peer:.1f} x"])
    classic = best["classic"]
    start, foot = result["start_up"], result["footprint"]
    return "\n".join(
        [
            table(rows, ["", "CAREamics 0.3.5", "same U-Net here", "", "default network here", ""]),
            "",
            f"{result['machine']['threads']} threads, {result['machine']['vector']}, "
            f"torch {result['machine']['torch']}. "
            f"The same U-Net reaches {classic['train_gflops']:.0f} GFLOP/s in training and "
            f"{classic['predict_gflops']:.0f} in prediction, "
            f"where the processor's best matrix product has {result['matrix_peak_gflops']:.0f}.",
            f"`import noisewise` takes {1e3 * (start['import_s'] - start['python_s']):.0f} ms and `noisewise --help` "
            f"{1e3 * start['help_s']:.0f} ms; beyond torch, {foot['packages']} packages with "
            f"{foot['megabytes']:.0f} MB are installed.",
        ]
    )


def quality() -> str:
    columns = {
        "noisy": "noisy", "careamics_60s": "CAREamics N2V, 60 s", "careamics_300s": "CAREamics N2V, 300 s",
        "vst_bm3d": "VST+BM3D, told the noise", "n2v": "`n2v`, 60 s", "pn2v": "`pn2v`, 60 s", "r2r": "`r2r`, 60 s",
        "simulated": "`simulated`, 60 s",
    }  # fmt: skip
    return (
        "PSNR in dB (range 255) on the Fluorescence Microscopy Denoising data: one image of 512 x 512 at a time, the "
        "truth (mean of 50) never seen, two processor cores.\n\n"
        + fmd_table(columns)
        + "\n\nWide-field images of this set have noise that is correlated between pixels, which all but `simulated` "
        "take for signal. `noisewise measure` and `denoise` say so."
    )


def fmd_table(columns: dict[str, str], key: str = "psnr") -> str:
    """Conditions by methods."""
    result = json.loads((RESULTS / "quality_fmd.json").read_text())
    names = list(dict.fromkeys(row["condition"] for row in result["rows"]))
    known = [
        {"condition": name, "method": "vst_bm3d", "psnr": value} for name, value in zip(names, VST_BM3D, strict=True)
    ]
    lines = condition_lines([*result["rows"], *known], names, list(columns), key)
    lines = [[line[0].replace("_", " "), *("" if value != value else value for value in line[1:])] for line in lines]
    lines[6][0] = "**mean of these six**"
    return table(lines, ["", *columns.values()])


def fmd() -> str:
    methods = {
        "n2v": "`n2v`",
        "pn2v": "`pn2v`",
        "r2r": "`r2r`",
        "sure": "`sure`",
        "simulated": "`simulated`",
        "n2n": "`n2n`, four captures",
    }
    classical = {"nlm": "VST+NLM", "wavelet": "VST+wavelets", "tv": "VST+TV", "vst_bm3d": "VST+BM3D, told the noise"}
    return "\n".join([
        "PSNR in dB, range 255, 60 s an image on two cores (`benchmarks/quality.py`; wide-field noise is correlated):",
        "",
        fmd_table({"noisy": "noisy", **classical, **methods}), "",
        "The same after the best gain and offset; captures of this set are up to a fifth brighter or darker than their "
        "truth, which", "hides differences above:", "",
        fmd_table({"noisy": "noisy", **{name: classical[name] for name in CLASSICAL}, **methods}, "psnr_affine"),
    ])  # fmt: skip


def wide_field() -> str:
    rows = json.loads((RESULTS / "quality_fmd.json").read_text())["rows"]
    names = list(dict.fromkeys(row["condition"] for row in rows))[WHITE:]
    labels = {
        "noisy": "noisy", "nlm": "VST+NLM", "wavelet": "VST+wavelets", "tv": "VST+TV", "n2v": "`n2v`",
        "structn2v": "`n2v --blind-shape auto`", "pn2v": "`pn2v`", "r2r": "`r2r`", "sure": "`sure`",
        "divnoising": "`divnoising`", "hdn": "`hdn`", "cosdd": "`cosdd`", "simulated": "`simulated`",
        "n2n": "`n2n`, four captures",
    }  # fmt: skip
    of = {(row["condition"], row["method"]): row["psnr"] for row in rows if row["seed"] == 0}
    lines = [[label, *(of.get((name, key), "") for name in names)] for key, label in labels.items()]
    lines.insert(4, ["VST+BM3D, told the noise", *VST_BM3D[WHITE:]])
    table_of = table(lines, ["", *(name.replace("_", " ") for name in names)])
    return "\n".join([
        "Wide-field images, whose noise goes together along both axes (0.6 between neighbours), each by itself, 60 s",
        "on two cores or as many steps as these hold; PSNR in dB, range 255 (`benchmarks/quality.py`). `gap` refuses",
        "them, as they are no counts, and `care` needs a truth:", "", table_of,
    ])  # fmt: skip


def w2s() -> str:
    rows = json.loads((RESULTS / "w2s.json").read_text())["rows"]
    dyes = sorted({row["dye"] for row in rows})
    lines = [["noisy", *(np.mean([r["noisy"] for r in rows if r["dye"] == dye]).item() for dye in dyes), ""]]
    for method in dict.fromkeys(row["method"] for row in rows):
        scores = np.array([
            [row["psnr"] for row in rows if (row["method"], row["dye"]) == (method, dye)] for dye in dyes
        ])  # fmt: skip
        spread = [f"{mean:.2f} ± {std:.2f}" for mean, std in zip(scores.mean(1), scores.std(1, ddof=1), strict=True)]
        overall = scores.mean(0)
        lines.append([f"`{method}`", *spread, f"{overall.mean():.2f} ± {overall.std(ddof=1):.2f}"])
    steps, seeds = rows[0]["steps"], len({row["seed"] for row in rows})
    return "\n".join([
        f"W2S (`benchmarks/w2s.py`): trained on twelve fields of view, {steps} steps, tested on four others; PSNR in "
        f"dB after the best gain", f"and offset, range 255, mean and standard deviation over {seeds} seeds:", "",
        table(lines, ["", *(f"dye {dye}" for dye in dyes), "mean"]),
    ])  # fmt: skip


def bsd68() -> str:
    rows = json.loads((RESULTS / "bsd68.json").read_text())["rows"]
    steps = sorted({row["steps"] for row in rows})
    published = {"n2v": "27.7", "n2v2": "28.3", "pn2v": "", "r2r": "", "sure": "", "care": "29.06"}
    lines = []
    for method in published:
        own = {row["steps"]: row for row in rows if row["method"] == method}
        if own:
            minutes = f"{own[max(own)]['training_s'] / 60:.0f} min"
            lines.append(
                [f"`{method}`", *(own[n]["psnr"] if n in own else "" for n in steps), minutes, published[method]]
            )
    lines += [["BM3D", *[""] * len(steps), "", "28.57"], ["HDN", *[""] * len(steps), "", "28.7"]]
    return "\n".join([
        "BSD68, Gaussian noise of 25, not clipped, learned from one noisy copy of Train400 (`benchmarks/bsd68.py`);",
        "PSNR in dB, range 255, eight-fold average, after so many steps of 8 patches of 64 x 64:", "",
        table(lines, ["", *(f"{n} steps" for n in steps), "the longest takes", "published"]),
    ])  # fmt: skip


def single() -> str:
    suites = {"set12": "Set12, Gaussian", "bsd68": "BSD68, Gaussian", "poisson": "Set12, photons", "w2s": "W2S, dye"}
    names = {
        "noisy": "noisy", "bm3d": "BM3D", "n2v": "`n2v`", "prior_told": "`simulated`, untrained, told the law",
        "prior": "`simulated`, untrained", "simulated": "`simulated`",
    }  # fmt: skip
    lines = []
    for suite, label in suites.items():
        path = RESULTS / f"single_{suite}.json"
        if not path.exists():
            continue
        rows = json.loads(path.read_text())["rows"]
        of = {(row["method"], row["level"], row["image"]): row["psnr"] for row in rows}
        for level in sorted({row["level"] for row in rows}):
            every = {row["image"] for row in rows if row["level"] == level}
            trained = {i for i in every if ("simulated", level, i) in of} or every
            line: list[Any] = [f"{label} {level:g}", f"{len(trained)} of {IMAGES[suite]}"]
            for method in names:
                found = [of[method, level, i] for i in trained if (method, level, i) in of]
                line.append(float(np.mean(found)) if len(found) == len(trained) else "")
            published = PUBLISHED.get(suite, {}).get(int(level))
            if published and len(trained) == IMAGES[suite]:
                line[3] = published
            lines.append(line)
    return "\n".join([
        "PSNR in dB, one image at a time, the level unknown (`benchmarks/single.py`; of W2S after the best gain and",
        "offset). `simulated` had 60 s on two cores without AVX-512 on W2S; on the others 600 to 650 steps of eight",
        "patches, which take 60 s on two cores with AVX-512, and 150 on half of the photon counts and of BSD68.",
        "BM3D is told the law, of W2S the measured one; of Set12 it is its published mean:", "",
        table(lines, ["", "images", *names.values()]),
    ])  # fmt: skip


def soon() -> str:
    found = json.loads((RESULTS / "soon.json").read_text())
    return (
        f"On two cores ({found['machine']['vector']}) the first result of `noisewise denoise --budget 5s --std` for "
        f"512 x 512 pixels is there {found['first_result_s']:.1f} s after\nthe command. An image of 2048 x 2048 takes "
        f"{2048**2 / 1e6 / found['prior_mpx_per_s']:.1f} s: {found['prior_mpx_per_s']:.2f} megapixels a second, where "
        f"{found['floor_mpx_per_s']:.2f} would be the processor's best\nmatrix product; the process has "
        f"{found['peak_memory_mb'] / 1e3:.1f} GB at most (`benchmarks/soon.py`)."
    )


def stripes() -> str:
    rows = sorted(json.loads((RESULTS / "lines.json").read_text())["rows"], key=lambda row: row["stack"])
    kept = ("peak", "perfect_peak", "top", "perfect_top", "sum")
    lines = [
        [
            row["stack"], f"`{row['method']}`".replace("`prior`", "`simulated`, untrained"),
            f"{100 * (1 - row['left']):.1f} %", row["objects"],
            *("" if row[key] is None else f"{100 * row[key]:.1f} %" for key in kept),
        ]
        for row in rows
    ]  # fmt: skip
    return "\n".join([
        "Variance of the difference between neighbouring row means in the dark that is gone; brightest pixel,",
        "brightest 3 x 3 pixels and sum of bright objects against the noisy stack, medians. Noise makes the brightest",
        "of some pixels too bright, so the first two must fall: by how much, if all is right, the denoised stack tells",
        "when noise of the measured law is drawn on it anew (`benchmarks/lines.py`):",
        "", table(lines, ["stack", "", "row variance gone", "objects", "peak", "(right)", "3 x 3", "(right)", "sum"]),
    ])  # fmt: skip


def structures() -> str:
    rows = json.loads((RESULTS / "structured.json").read_text())["rows"]
    lines, header = structured_body(rows)
    found = sum(row["axis"] == row["planted"] for row in rows)
    return "\n".join([
        "Planted noise on clean images, PSNR in dB on an image that was not learned from: lines along X or Y (an",
        "offset, and what lasts for six pixels, each of so many electrons), a telegraph, and pulses that are smeared.",
        "`spectral` and `memory` are `simulated` with a noise model of twenty exposures of a still scene, `care` knows",
        f"the truth. The axis was found in {found} of {len(rows)} runs (`benchmarks/structured.py`):",
        "", table(lines, header),
    ])  # fmt: skip


def invention() -> str:
    rows = json.loads((RESULTS / "invention.json").read_text())["rows"]
    lines = [
        [
            row["network"], row["image"], *(f"{row[key]:.2f}" for key in ("error", "std", "correlation")),
            f"{100 * row['within_90']:.0f} %",
            *(f"{row[key]:.2f}" for key in ("residual", "structure", "consistency")), "yes" if row["doubts"] else "",
        ]
        for row in rows
    ]  # fmt: skip
    return "\n".join([
        "Images of known truth under noise of standard deviation 1 (`benchmarks/invention.py`). *left out*: a small",
        "network that has seen smooth nuclei only. *packaged*: the packaged weights. Error and standard deviation are",
        "rms; their correlation over blocks of 8 x 8 pixels; pixels within the 90 % interval; what the checks say:", "",
        table(lines, ["network", "image", "error", "std", "correlation", "within 90 %", "residual", "structure",
                      "consistency", "doubts said"]),
    ])  # fmt: skip


def refined() -> str:
    summary = json.loads((RESULTS / "refine.json").read_text())["summary"]
    lines = [
        [
            line["suite"] + (f", sigma {line['level']}" if line["level"] else ", against four repeats"), line["images"],
            *(f"{100 * line[f'{key}_{what}']:.1f} %" for key in ("measured", "refined") for what in ("rms", "worst")),
            f"{line['seconds']:.1f} s",
        ]
        for line in summary
    ]  # fmt: skip
    return "\n".join([
        "Error of the standard deviation of the noise, rms and worst over images (`benchmarks/refine.py`):", "",
        table(lines, ["", "images", "measured", "worst", "refined", "worst", "takes"]),
    ])  # fmt: skip


def coverage() -> str:
    result = json.loads((RESULTS / "scenes.json").read_text())
    lines = [[name, *(f"{value:.1f}" for value in values)] for name, values in result["exponents"].items()]
    steep = [[name, *(f"{value:.1f}" for value in values)] for name, values in result["kurtosis"].items()]
    header = ["", "5 %", "25 %", "50 %", "75 %", "95 %"]
    return "\n".join([
        table(lines, header), "", "Kurtosis of the differences between neighbours (3 for Gaussian fields):", "",
        table(steep, header),
    ])  # fmt: skip


def noise() -> str:
    result = json.loads((RESULTS / "noise.json").read_text())
    keys = ("gain_error", "std_error", "gain_error_own", "std_error_own", "std_error_estimate_sigma")
    light = [
        [s["photons"] or "**all**", *(f"{100 * s[key]:.1f} %" for key in keys)] for s in result["planted"]["summary"]
    ]  # fmt: skip
    header = ["photons", "gain", "standard deviation", "gain*", "standard deviation*", "`estimate_sigma`"]
    real = [
        [
            row["condition"].replace("_", " "), f"{100 * row['std_error']:.1f} %",
            *(f"{row[key][axis]:+.2f}" for axis in "XY" for key in ("rho", "rho_repeats")), row["verdict"],
        ]
        for row in result["fmd"]
    ]  # fmt: skip
    columns = ["", "standard deviation", "along X", "(repeats)", "along Y", "(repeats)", "verdict"]
    white = result["w2s"]
    rows = result["rows"]["planted"]
    return "\n".join([
        "`benchmarks/noise.py`, one image at a time. Median errors over clean images, exposed by a simulated camera at",
        "3 to 1000 mean photons, read noise of 0, 2 and 5 electrons; the standard deviation over the image's signals:",
        "", table(light, header), "",
        "\\* against planted noise plus that of the clean image itself, a recording that is not free of noise: from",
        "100 photons on it exceeds what is planted. The last column, scikit-image's, knows one value an image.",
        "",
        "Real images (Fluorescence Microscopy Denoising data) against four repeats: error of the standard deviation,",
        "autocorrelation of neighbouring pixels:", "", table(real, columns), "",
        f"Of {white['images']} W2S images with white noise, {white['white']} are called white; the largest "
        f"autocorrelation read is {white['largest_rho']:.3f}.",
        f"Row noise of half the read noise, planted along X or Y, is found along its axis in "
        f"{sum(row['found'] for row in rows)} of {len(rows)} images. "
        f"A check-up of 512 x 512 pixels takes {result['seconds_512']:.1f} s on two cores.",
    ])  # fmt: skip


def calibration() -> str:
    result = json.loads((RESULTS / "calibration.json").read_text())
    names = {
        "gain_adu_per_e": "gain", "offset_adu": "offset", "read_noise_adu": "read noise, ADU",
        "read_noise_e": "read noise, electrons",
    }  # fmt: skip
    rows = [
        [
            f"{names[name]}, {way}", f"{100 * found['median_error']:.2f} %", f"{100 * found['worst_error']:.2f} %",
            f"{100 * found['coverage']:.0f} %",
        ]
        for way, scores in result["planted"].items()
        for name, found in scores.items()
    ]  # fmt: skip
    cameras = list(dict.fromkeys(row["camera"] for row in result["laws"]))
    kinds = list(dict.fromkeys(row["kind"] for row in result["laws"]))
    nats = {(row["camera"], row["kind"]): row["log_likelihood"] for row in result["laws"]}
    noise_models = [[camera, *(f"{nats[camera, kind]:.3f}" for kind in kinds)] for camera in cameras]
    real = result["emccd"]
    return "\n".join([
        "`benchmarks/calibration.py`: a planted camera (100 frames of 128 x 128 pixels, 100 times), errors and the",
        "share of 95 % intervals that hold the truth:",
        "", table(rows, ["", "median error", "largest error", "coverage"]), "",
        "How well the noise models fit frames that were held out, log-likelihood in nats a pixel (more is better):",
        "", table(noise_models, ["", *kinds]), "",
        f"A real EMCCD: {real['electrons_per_adu']:.2f} electrons per ADU without EM gain, where its authors have 3.86 "
        f"({100 * real['relative_to_authors']:+.1f} %).",
        f"At a gain of {real['em_gain']:.0f} the variance is {real['excess_factor_from_gains']:.2f} times that of "
        f"photons alone; the skewness of the noise, which needs no",
        f"other recording, says {real['excess_factor_from_skewness']}.",
    ])  # fmt: skip


def fill(path: Path, made: dict[str, str]) -> None:
    """Put the tables between their marks; a mark without an end gets one."""
    text = path.read_text()
    for name, content in made.items():
        block = f"<!-- benchmark:{name} -->\n{content}\n<!-- end -->"
        own = rf"<!-- benchmark:{name} -->((?:(?!<!-- benchmark:).)*?<!-- end -->)?"
        text = re.sub(own, lambda _, b=block: b, text, flags=re.S)
    path.write_text(text)


# Of each page: its tables, the files that hold their figures, and what makes one of the other.
PAGES: dict[str, dict[str, tuple[str, Callable[[], str]]]] = {
    "README.md": {"speed": ("speed", speed), "quality": ("quality_fmd", quality)},
    "docs/noise.md": {
        "noise": ("noise", noise), "calibration": ("calibration", calibration), "refine": ("refine", refined),
    },
    "docs/scenes.md": {"scenes": ("scenes", coverage)},
    "docs/methods.md": {
        "bayes": ("bayes", posteriors.bayes), "diverse": ("diverse", posteriors.diverse),
        "photons": ("photons", posteriors.photons), "samples": ("samples", posteriors.sampling),
        "fmd": ("quality_fmd", fmd), "w2s": ("w2s", w2s),
        "bsd68": ("bsd68", bsd68), "soon": ("soon", soon), "single": ("single_set12", single),
        "lines": ("lines", stripes), "structured": ("structured", structures),
        "wide_field": ("quality_fmd", wide_field), "invention": ("invention", invention),
    },
}  # fmt: skip


def main() -> None:
    for page, tables in PAGES.items():
        made = {name: make() for name, (file, make) in tables.items() if (RESULTS / f"{file}.json").exists()}
        fill(ROOT / page, made)


if __name__ == "__main__":
    main()
