"""Tables of denoising quality, for `readme.py`."""

from __future__ import annotations

from statistics import stdev
from typing import Any

from common import RESULTS, table
from quality import CLASSICAL, VST_BM3D
from quality import body as condition_lines
from result_files import CONDITIONS_WITH_WHITE_NOISE, conditions, mean, rows
from single import PUBLISHED
from structured import body as structured_body

IMAGES = {"set12": 12, "bsd68": 68, "poisson": 12, "w2s": 4}  # at each noise level
ORACLE = "VST+BM3D, noise known"
CLASSICAL_LABELS = {"nlm": "VST+NLM", "wavelet": "VST+wavelets", "tv": "VST+TV"}
LABELS = {
    "n2v": "`n2v`", "structn2v": "`n2v --blind-shape auto`", "pn2v": "`pn2v`", "r2r": "`r2r`", "sure": "`sure`",
    "divnoising": "`divnoising`", "hdn": "`hdn`", "cosdd": "`cosdd`", "simulated": "`simulated`",
    "n2n": "`n2n`, four captures",
}  # fmt: skip
STRUCTURED_LABELS = {
    "noisy": "noisy", "structn2v": "`n2v --blind-shape auto`", "memory": "`simulated`, `autoregressive` noise model",
    "spectral": "`simulated`, `correlated` noise model",
}  # fmt: skip


def quality() -> str:
    """The table of the README."""
    columns = {
        "noisy": "noisy", "careamics_60s": "CAREamics N2V, 60 s", "careamics_300s": "CAREamics N2V, 300 s",
        "vst_bm3d": ORACLE, "n2v": "`n2v`, 60 s", "pn2v": "`pn2v`, 60 s", "r2r": "`r2r`, 60 s",
        "simulated": "`simulated`, 60 s",
    }  # fmt: skip
    return (
        "PSNR in dB (range 255) on the Fluorescence Microscopy Denoising data: one image of 512 x 512 at a time, the "
        "truth (mean of 50) never seen, two processor cores.\n\n"
        + fmd_table(columns)
        + "\n\nThe noise of the wide-field images is correlated between pixels; of these methods only `simulated` "
        "removes it. `noisewise measure` and `denoise` report this."
    )


def fmd_table(columns: dict[str, str], key: str = "psnr") -> str:
    """Conditions by methods."""
    names = conditions()
    known = [{"condition": name, "method": "vst_bm3d", "psnr": db} for name, db in zip(names, VST_BM3D, strict=True)]
    lines = condition_lines([*rows("quality_fmd"), *known], names, list(columns), key)
    lines = [[line[0].replace("_", " "), *("" if value != value else value for value in line[1:])] for line in lines]
    lines[CONDITIONS_WITH_WHITE_NOISE][0] = "**mean of these six**"
    return table(lines, ["", *columns.values()])


def fmd() -> str:
    """FMD by all methods: PSNR, and PSNR after the best gain and offset."""
    methods = {name: LABELS[name] for name in ("n2v", "pn2v", "r2r", "sure", "simulated", "n2n")}
    affine = {name: CLASSICAL_LABELS[name] for name in CLASSICAL}
    return "\n".join([
        "PSNR in dB, range 255, 60 s per image on two cores (`benchmarks/quality.py`):", "",
        fmd_table({"noisy": "noisy", **CLASSICAL_LABELS, "vst_bm3d": ORACLE, **methods}), "",
        "The same after the best gain and offset. Captures of this set are up to a fifth brighter or darker than their",
        "truth, which hides differences in the table above:", "",
        fmd_table({"noisy": "noisy", **affine, **methods}, "psnr_affine"),
    ])  # fmt: skip


def wide_field() -> str:
    """FMD images with correlated noise."""
    names = conditions()[CONDITIONS_WITH_WHITE_NOISE:]
    scores = {(row["condition"], row["method"]): row["psnr"] for row in rows("quality_fmd") if row["seed"] == 0}
    labels = {"noisy": "noisy"} | CLASSICAL_LABELS | LABELS
    lines = [[label, *(scores.get((name, key), "") for name in names)] for key, label in labels.items()]
    lines.insert(1 + len(CLASSICAL_LABELS), [ORACLE, *VST_BM3D[CONDITIONS_WITH_WHITE_NOISE:]])
    return "\n".join([
        "Wide-field images, whose noise is correlated along both axes (0.6 between neighbours), each by",
        "itself, 60 s on two cores or the number of steps that these allow; PSNR in dB, range 255",
        "(`benchmarks/quality.py`). `gap`",
        "refuses them, as they are not photon counts, and `care` needs clean images:", "",
        table(lines, ["", *(name.replace("_", " ") for name in names)]),
    ])  # fmt: skip


def w2s() -> str:
    """W2S, trained on several fields of view."""
    found = rows("w2s")
    dyes = sorted({row["dye"] for row in found})
    lines: list[list[Any]] = [["noisy", *(mean(r["noisy"] for r in found if r["dye"] == dye) for dye in dyes), ""]]
    for method in dict.fromkeys(row["method"] for row in found):
        scores = [[row["psnr"] for row in found if (row["method"], row["dye"]) == (method, dye)] for dye in dyes]
        scores.append([float(mean(each)) for each in zip(*scores, strict=True)])
        lines.append([f"`{method}`", *(f"{mean(seeds):.2f} ± {stdev(seeds):.2f}" for seeds in scores)])
    seeds = len({row["seed"] for row in found})
    return "\n".join([
        f"W2S (`benchmarks/w2s.py`): trained on twelve fields of view, {found[0]['steps']} steps, tested on",
        "four others;",
        f"PSNR in dB after the best gain and offset, range 255, mean and standard deviation over {seeds} seeds:", "",
        table(lines, ["", *(f"dye {dye}" for dye in dyes), "mean"]),
    ])  # fmt: skip


def bsd68() -> str:
    """BSD68 with Gaussian noise."""
    found = rows("bsd68")
    steps = sorted({row["steps"] for row in found})
    published = {"n2v": "27.7", "n2v2": "28.3", "pn2v": "", "r2r": "", "sure": "", "care": "29.06"}
    lines = []
    for method in published:
        if by_steps := {row["steps"]: row for row in found if row["method"] == method}:
            minutes = f"{by_steps[max(by_steps)]['training_s'] / 60:.0f} min"
            scores = [by_steps[n]["psnr"] if n in by_steps else "" for n in steps]
            lines.append([f"`{method}`", *scores, minutes, published[method]])
    lines += [["BM3D", *[""] * len(steps), "", "28.57"], ["HDN", *[""] * len(steps), "", "28.7"]]
    return "\n".join([
        "BSD68, Gaussian noise of standard deviation 25, not clipped, trained on one noisy copy of Train400",
        "(`benchmarks/bsd68.py`); PSNR in dB, range 255, with test-time augmentation, after so many steps of",
        "8 patches",
        "of 64 x 64:", "",
        table(lines, ["", *(f"{n} steps" for n in steps), "longest training", "published"]),
    ])  # fmt: skip


def single() -> str:
    """Single images of known truth."""
    suites = {"set12": "Set12, Gaussian", "bsd68": "BSD68, Gaussian", "poisson": "Set12, photons", "w2s": "W2S, dye"}
    names = {
        "noisy": "noisy", "bm3d": "BM3D", "n2v": "`n2v`", "pretrained": "`simulated`, untrained",
        "simulated": "`simulated`",
    }  # fmt: skip
    lines = []
    for suite, label in suites.items():
        if not (RESULTS / f"single_{suite}.json").exists():
            continue
        of = {(row["method"], row["level"], row["image"]): row["psnr"] for row in rows(f"single_{suite}")}
        for level in sorted({level for _, level, _ in of}):
            scores, images = single_scores(of, level, list(names))
            published = PUBLISHED.get(suite, {}).get(int(level))
            if published and images == IMAGES[suite]:
                scores[1] = published
            lines.append([f"{label} {level:g}", f"{images} of {IMAGES[suite]}", *scores])
    return "\n".join([
        "PSNR in dB, one image at a time, noise level unknown (`benchmarks/single.py`; W2S after the best",
        "gain and offset). `simulated` had 60 s on two cores without AVX-512 on W2S, and 600 to 650 steps of",
        "eight patches on the others, which take 60 s on two cores with AVX-512 and 150 s on half of the",
        "photon counts and of BSD68. BM3D is",
        "given the noise model, the measured one on W2S; its numbers on Set12 are the published means:", "",
        table(lines, ["", "images", *names.values()]),
    ])  # fmt: skip


def single_scores(of: dict[tuple[str, float, str], float], level: float, names: list[str]) -> tuple[list[Any], int]:
    """Mean of each method over the images that `simulated` was trained on, and their number."""
    every = {image for _, at, image in of if at == level}
    trained = {image for image in every if ("simulated", level, image) in of} or every
    scores = []
    for method in names:
        found = [of[method, level, image] for image in trained if (method, level, image) in of]
        scores.append(mean(found) if len(found) == len(trained) else "")
    return scores, len(trained)


def structures() -> str:
    """Planted noise along rows and columns."""
    found = rows("structured")
    right = sum(row["axis"] == row["planted"] for row in found)
    lines, header = structured_body(found)
    return "\n".join([
        "Planted noise on clean images, PSNR in dB on an image that was not trained on: lines along X or Y",
        "(an offset, and a component with a correlation length of six pixels, each of so many electrons), a",
        "two-level telegraph, and smeared pulses. Calibrated noise models are fitted to twenty exposures of",
        f"a static scene; `care` is given the clean images. The axis was found in {right} of {len(found)}",
        "measurements (`benchmarks/structured.py`):",
        "", table([[STRUCTURED_LABELS.get(line[0], f"`{line[0]}`"), *line[1:]] for line in lines], header),
    ])  # fmt: skip


def stripes() -> str:
    """Real stacks with line noise."""
    keys = ("peak", "perfect_peak", "top", "perfect_top", "sum")
    lines = [
        [
            row["stack"], "`simulated`, untrained" if row["method"] == "pretrained" else f"`{row['method']}`",
            f"{100 * (1 - row['left']):.1f} %", row["objects"],
            *("" if row[key] is None else f"{100 * row[key]:.1f} %" for key in keys),
        ]
        for row in sorted(rows("stripes"), key=lambda row: row["stack"])
    ]  # fmt: skip
    return "\n".join([
        "Variance of the difference between neighbouring row means in dark regions that was removed;",
        "brightest pixel, brightest 3 x 3 pixels and sum of bright objects relative to the noisy stack,",
        "medians. Noise makes the brightest of several pixels too bright, so the first two must fall; the",
        "expected value is measured by adding noise of the",
        "measured noise model to the denoised stack (`benchmarks/stripes.py`):", "",
        table(lines, ["stack", "", "row variance removed", "objects", "peak", "(expected)", "3 x 3", "(expected)",
                      "sum"]),
    ])  # fmt: skip
