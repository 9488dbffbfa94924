"""Tables of methods that give a posterior, for `readme.py`."""

from __future__ import annotations

from typing import Any

import diverse as fifteen_minutes
import photons as few_photons
from common import table
from result_files import result, rows

KINDS = ("covered", "pixels")  # intervals from samples, and from the standard deviations of pixels
WORLDS = {
    "gaussian": "Gaussian fields, white noise", "correlated": "Gaussian fields, noise along X",
    "poisson": "figures, photon noise", "poisson_gaussian": "figures, photon and read noise",
}  # fmt: skip


def exact() -> str:
    """Methods against the exact posterior."""
    found = [row for row in rows("bayes") if "refused" not in row]
    by_method = {(f"`{row['method']}`", row["world"]): row for row in found}
    by_method |= {
        (f"`{row['method']}`, mean of {row['drawn']['samples']} samples", row["world"]): row["drawn"]
        for row in found
        if "drawn" in row
    }
    text = [
        "Mean squared error above that of the exact posterior mean, and above that of the exact mean without",
        "the pixel's own value, dB; difference between predicted and exact standard deviation; and the",
        "fraction of signals inside the predicted 90 % interval (of a normal distribution).",
    ]
    for world in dict.fromkeys(row["world"] for row in found):
        lines = [
            posterior_line(method, by_method[method, world])
            for method in sorted(method for method, where in by_method if where == world)
        ]
        header = [WORLDS[world], "posterior", "blind spot", "std", "inside 90 %"]
        text += ["", table(lines, header)]
    return "\n".join([*text, *two_samples(found)])


def posterior_line(method: str, row: dict[str, Any]) -> list[Any]:
    """One method in one world."""
    std = row.get("std")
    return [
        method, f"{row['above_posterior_db']:+.3f}",
        f"{row['above_blind_db']:+.3f}" if "above_blind_db" in row else "",
        f"{round(100 * (std['rms'] / std['exact_rms'] - 1)):+d} %" if std else "",
        f"{100 * std['within_90']:.1f} %" if std else "",
    ]  # fmt: skip


def two_samples(found: list[dict[str, Any]]) -> list[str]:
    """Statistics of samples against those of exact samples."""
    lines = [
        [f"`{row['method']}`", WORLDS[row["world"]], name, *(f"{s[key]:.3g}" for key in ("model", "exact", "ks"))]
        for row in found
        if "drawn" in row
        for name, s in row["drawn"]["two_samples"].items()
    ]
    header = ["", "world", "of each sample", "model", "exact", "largest difference of the distributions"]
    return ["", "Samples compared with samples of the exact posterior of the same images:", "", table(lines, header)]


def diverse() -> str:
    """HDN after 15 minutes."""
    found = result("diverse")
    steps = {row["method"]: row["steps"] for row in found["rows"]}
    counts = " and ".join(f"{count} of `{method}`" for method, count in steps.items())
    return "\n".join([
        f"As many steps as {found['budget_s'] / 60:.0f} minutes allow on two cores, {counts}",
        "(`benchmarks/diverse.py`); PSNR in dB, range 255. W2S: trained on twelve fields of view, tested on",
        "four others, after the best gain and",
        "offset. FMD: each image by itself. Means use test-time augmentation, except in one pass and of samples:", "",
        table(*fifteen_minutes.body(found["rows"])),
    ])  # fmt: skip


def photons() -> str:
    """GAP at few photons."""
    found = result("photons")
    return "\n".join([
        f"Six images at so many photons per pixel, {found['budget_s']:.0f} s of training on two cores for all of them",
        "(`benchmarks/photons.py`); PSNR in dB after the best gain and offset, over the range of the truth:", "",
        table(*few_photons.body(found["rows"])),
    ])  # fmt: skip


def sampling() -> str:
    """Time and memory of samples."""
    found = result("samples")
    few, *_, many = found["memory_mb"].items()
    return "\n".join([
        f"{found['samples']} samples of {found['side']} x {found['side']} pixels take",
        f"{found['together_s']:.1f} s on two cores, {found['times_faster']:.1f} times less than encoding the",
        f"image anew for each. The process uses at most {few[1]:.0f} MB for {few[0]} samples, and",
        f"{many[1]:.0f} MB for {many[0]} (`benchmarks/samples.py`).",
    ])  # fmt: skip


def light() -> str:
    """Samples by adding light, on drawn scenes."""
    found = result("light")
    lines = [
        [
            name, f"{one['ratio']:.2f}", " ".join(f"{100 * part:.1f}" for part in one["inside"]),
            " ".join(f"{part:.2f}" for part in one["variance"]), f"{one['claimed']:.2f}",
        ]
        for name, one in found["worlds"].items()
    ]  # fmt: skip
    images = next(iter(found["worlds"].values()))["images"]
    sizes = ", ".join(f"{side} x {side}" for side in found["regions"])
    return "\n".join([
        f"{found['samples']} samples of `simulated`, without training, of {images} drawn scenes each, with the true",
        "noise model (`benchmarks/light.py`). If they were those of the exact posterior, the squared error of a",
        "sample would be twice that of the mean, the truth within the range of all samples in 77.8 %, and their",
        f"variance that of the errors. For means over {sizes} pixels. The last column: the variance of such a",
        "mean over 16 x 16 pixels, if pixels erred independently, over the true one:", "",
        table(lines, ["noise", "error of a sample", "truth inside, %", "variance / true", "pixels' claim"]),
    ])  # fmt: skip


def light_worlds() -> str:
    """Samples of a network trained in a world, against exact ones."""
    found = result("light_worlds")
    lines = [
        [WORLDS[world], passes, name, *(f"{one[key]:.4g}" for key in ("model", "exact", "std", "ks"))]
        for world, content in found["worlds"].items()
        for passes, statistics in content["passes"].items()
        for name, one in statistics.items()
    ]
    steps = " and ".join(str(content["steps"]) for content in found["worlds"].values())
    return "\n".join([
        f"{found['samples']} samples of an image of 48 x 48 pixels, and {found['exact']} exact ones, after training",
        f"`simulated` in the world ({steps} steps, `benchmarks/light_worlds.py`): mean over samples, of exact ones,",
        "their standard deviation, and the largest difference of the distributions:", "",
        table(lines, ["world", "passes", "of each sample", "model", "exact", "std", "difference"]),
    ])  # fmt: skip


def ladder() -> str:
    """The ladder of `hdn` alone, and `n2v`, against training steps."""
    found = rows("ladder")
    lines = [
        [
            f"`{row['method']}`", row["settings"].get("width", ""), row["steps"], row["psnr"],
            f"{row['sample_over_mean']:.2f}" if "sample_over_mean" in row else "",
        ]
        for row in sorted(found, key=lambda row: (row["method"], row["steps"]))
    ]  # fmt: skip
    return "\n".join([
        "The ladder alone, without synthetic scenes, on natural images with noise of standard deviation 25, trained on",
        "Train400, ten images of BSD68, range 255 (`benchmarks/ladder.py`): PSNR of the mean of all samples, and the",
        "squared error of a sample over that of the mean (2 for exact samples). Published are 28.8 dB for the mean of",
        "100 samples on all 68 images (`n2v`: 27.9 dB after 4,000 steps here), after 400 times as many pixels",
        "as in 4,000 steps:", "",
        table(lines, ["method", "`width`", "steps", "PSNR", "sample / mean"]),
    ])  # fmt: skip


def covered(found: list[dict[str, Any]], key: str) -> float:
    """The fraction of values within their intervals, over all images."""
    return float(sum(row["values"] * row[key] for row in found) / sum(row["values"] for row in found))


def quantities() -> str:
    """Intervals of spot counts and of dF/F."""
    found = result("quantities")
    names = {
        "puncta": "spots in a quarter of an image: drawn puncta",
        "spots": "of planted spots",
        "spots, trained": "of planted spots, after 600 steps on the images",
        "spots, puncta": "of planted spots, after 600 steps on the images and on `--scenes puncta`",
        "movies": "dF/F of a cell in a frame",
    }
    found_of = {name: [row for row in found["rows"] if row["kind"] == name] for name in names}
    lines = [
        [names[name], sum(row["values"] for row in part), *(f"{100 * covered(part, key):.1f} %" for key in KINDS)]
        for name, part in found_of.items()
    ]  # fmt: skip
    return "\n".join([
        "How often 90 % intervals hold the true value, on planted images and movies of few photons",
        f"(`benchmarks/quantities.py`); {found['samples']} samples, without training if not stated. The last column:",
        "of as many images in which pixels err independently, with the standard deviations of pixels:", "",
        table(lines, ["measurement", "values", "samples", "standard deviations"]),
    ])  # fmt: skip


def regions() -> str:
    """Intervals of regions of real images."""
    found = result("regions")
    lines = [
        [row["image"], row["kind"], f"{100 * row['covered']:.0f} %", f"{100 * row['pixels']:.0f} %"]
        for row in found["rows"]
    ]
    covered, pixels = (sum(row[key] for row in found["rows"]) / len(lines) for key in ("covered", "pixels"))
    lines.append(["all", "", f"{100 * covered:.1f} %", f"{100 * pixels:.1f} %"])
    return "\n".join([
        f"How often 90 % intervals of the means of {found['regions']} regions an image hold the truth: discs with",
        f"radii of 5 to 40 pixels, and the brighter halves of discs; {found['samples']} samples without training",
        "(`benchmarks/regions.py`). Truths are means of real captures, and their noise is drawn as it was measured:",
        "light changes from capture to capture, so that the truth is not known at this scale for one of them.",
        "The last column: intervals from the standard deviations of pixels, as if these erred independently:", "",
        table(lines, ["image", "noise", "samples", "standard deviations"]),
    ])  # fmt: skip


def invention() -> str:
    """Errors, standard deviations and consistency checks on images that the network was not trained on."""
    lines = [
        [
            row["network"].replace("left out", "small"), row["image"],
            *(f"{row[key]:.2f}" for key in ("error", "std", "correlation")), f"{100 * row['within_90']:.0f} %",
            *(f"{row[key]:.2f}" for key in ("residual", "structure", "consistency")),
            "yes" if row["warnings"] else "",
        ]
        for row in rows("invention")
    ]  # fmt: skip
    return "\n".join([
        "Images of known truth under noise of standard deviation 1 (`benchmarks/invention.py`). *small*: a",
        "small network trained on smooth nuclei only. *packaged*: the packaged network. Error and standard",
        "deviation are",
        "rms; their correlation is over blocks of 8 x 8 pixels; then the results of the consistency checks:", "",
        table(lines, ["network", "image", "error", "std", "correlation", "inside 90 %", "residual",
                      "correlation left", "stability", "warning"]),
    ])  # fmt: skip
