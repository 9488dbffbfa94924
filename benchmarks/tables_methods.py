"""The measured numbers on the page of each method, for `readme.py`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from common import table
from quality import VST_BM3D
from result_files import CONDITIONS_WITH_WHITE_NOISE, conditions, mean, rows
from single import PUBLISHED
from tables_posterior import WORLDS, posterior_line

# Row keys of the same method with other settings, and how the page names them.
VARIANTS = {
    "n2v": {"structn2v": "`n2v --blind-shape auto`", "n2v2": "N2V2"},
    "simulated": {"pretrained": "`simulated`, untrained", "memory": "`simulated`, calibrated noise"},
}
OTHERS = {
    "bm3d": "BM3D", "vst_bm3d": "VST+BM3D, noise known", "nlm": "VST+NLM", "wavelet": "VST+wavelets", "tv": "VST+TV",
    "n2n": "`n2n`, four captures", "structn2v": "`n2v --blind-shape auto`", "memory": "`simulated`, calibrated noise",
    "spectral": "`simulated`, calibrated noise",
}  # fmt: skip
LEFT_OUT = ("careamics_60s", "careamics_300s", "pretrained_true_noise")

Scores = dict[str, float]


def numbers(method: str) -> str:
    """PSNR on each set of images, beside the best other method, and the distance from the exact posterior."""
    keys = {method: f"`{method}`"} | VARIANTS.get(method, {})
    lines: list[list[Any]] = []
    for label, scores in data_sets().items():
        if set(keys) & set(scores):
            others = {key: value for key, value in scores.items() if key not in (*keys, "noisy", *LEFT_OUT)}
            best = max(others, key=lambda key: others[key], default="")
            named = f"{others[best]:.2f} ({OTHERS.get(best, f'`{best}`')})" if best else ""
            lines.append([label, scores.get("noisy", ""), *(scores.get(key, "") for key in keys), named])
    shown = [i for i, _ in enumerate(keys, 2) if any(line[i] != "" for line in lines)]
    header = ["", "noisy", *keys.values()]
    text = [
        "PSNR in dB on images of known truth; the last column is the best other method that was measured on the same",
        "images. The [benchmarks](../benchmarks.md) say how each was measured.", "",
        table([[*line[:2], *(line[i] for i in shown), line[-1]] for line in lines],
              [*header[:2], *(header[i] for i in shown), "best other"]),
    ] if lines else []  # fmt: skip
    return "\n".join([*text, *from_exact(method)]).strip() or "No benchmark has measured this method yet."


def from_exact(method: str) -> list[str]:
    """A line a world in which the exact posterior is known."""
    lines = [
        [WORLDS[row["world"]], *posterior_line(method, row)[1:]]
        for row in rows("bayes")
        if row["method"] == method and "refused" not in row
    ]
    if not lines:
        return []
    return [
        "", "Distance from the [exact posterior](../benchmarks.md#exact-posterior) in simulated worlds: squared error",
        "above that of the exact mean and of the exact blind-spot mean, dB; error of the predicted standard deviation;",
        "fraction of signals inside the 90 % interval:", "",
        table(lines, ["", "posterior", "blind spot", "std", "inside 90 %"]),
    ]  # fmt: skip


def data_sets() -> dict[str, Scores]:
    """PSNR of all methods on each set of images, dB; `noisy` is that of the input."""
    return {label: scores for label, scores in (*fmd(), *w2s(), *natural(), *others()) if scores}


def means(found: list[dict[str, Any]], key: str = "method") -> Scores:
    """Mean PSNR of each method, and that of the input where rows have it."""
    scores = defaultdict(list)
    for row in found:
        scores[row[key]].append(row["psnr"])
        if "noisy" in row:
            scores["noisy"].append(row["noisy"])
    return {method: float(mean(values)) for method, values in scores.items()}


def fmd() -> list[tuple[str, Scores]]:
    """FMD with white and with correlated noise."""
    names, found = conditions(), rows("quality_fmd")
    white = slice(None, CONDITIONS_WITH_WHITE_NOISE), "FMD, white noise, 60 s per image"
    correlated = slice(CONDITIONS_WITH_WHITE_NOISE, None), "FMD, correlated noise, 60 s per image"
    return [
        (label, means([row for row in found if row["condition"] in names[part]]) | {"vst_bm3d": mean(VST_BM3D[part])})
        for part, label in (white, correlated)
    ]


def w2s() -> list[tuple[str, Scores]]:
    """W2S: each image by itself, and several fields of view."""
    return [("W2S, single images", means(rows("single_w2s"))), ("W2S, twelve fields of view", means(rows("w2s")))]


def natural() -> list[tuple[str, Scores]]:
    """Set12 and BSD68 with Gaussian noise, Set12 with photon noise."""
    set12 = means([row for row in rows("single_set12") if row["level"] == 25]) | {"bm3d": PUBLISHED["set12"][25]}
    photons = means([row for row in rows("single_poisson") if row["level"] == 30])
    found = rows("bsd68")
    longest = {row["method"]: max(r["steps"] for r in found if r["method"] == row["method"]) for row in found}
    bsd68 = means([row for row in found if row["steps"] == longest[row["method"]]])
    return [
        ("Set12, σ = 25, single images", set12), ("Set12, 30 photons, single images", photons),
        ("BSD68, σ = 25, trained on Train400", bsd68 | {"bm3d": 28.57}),
    ]  # fmt: skip


def others() -> list[tuple[str, Scores]]:
    """Few photons, planted lines, and long trainings."""
    photons, lines = rows("photons"), rows("structured")
    few = [
        (f"six images, {level:g} photons per pixel", means([row for row in photons if row["photons"] == level]))
        for level in sorted({row["photons"] for row in photons})
    ]
    planted = [
        (f"planted lines, {case}", means([row for row in lines if row["case"] == case]))
        for case in ("1 e, X", "3 e, X")
    ]
    return [*few, *planted, ("FMD and W2S, 15 min per set", means(rows("diverse")))]
