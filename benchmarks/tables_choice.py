"""Tables of the measured noise of planted scenes, of the choice between methods, and of the checks, for `readme.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from common import table
from noisewise.evaluate.finished import LIMITS
from result_files import mean, result, rows

PLANTED = ("sCMOS", "photons", "dim", "bright", "rows", "correlated", "dense", "drawn", "natural", "all")
BELOW, FAR_BELOW, RIGHT = 0.02, 0.2, 0.1  # dB


def percent(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.0f} %"


def planted() -> str:
    """Gains and kinds of noise of planted scenes."""
    found = result("noise_planted")["summary"]
    body = [
        [
            name, found[name]["images"],
            *(percent(found[name][key]) for key in ("gain_inside", "gain_within_15", "kind_right", "variance_error")),
        ]
        for name in PLANTED
    ]  # fmt: skip
    return "\n".join([
        "Scenes of many kinds times cameras (`benchmarks/noise_planted.py`): 95 % intervals of the gain that hold the",
        "truth, gains within 15 %, images whose correlated or white noise is named as such, and median error of the",
        "variance; by camera, then by scene (dense: random fields blurred by 0.7 to 5 pixels):", "",
        table(body, ["", "images", "interval", "within 15 %", "kind", "variance"]),
    ])  # fmt: skip


def dense() -> str:
    """Dense texture: the noisy image, the default and the oracle."""
    found = result("choice_untrained")
    body = [
        [
            f"{one['blur']:g}", one["power"], f"{one['side']}", one["photons"], f"{one['gain_found']:.2f}",
            one["method"], f"{one['noisy']:.1f}", f"{one['default']:.1f}", f"{one['oracle']:.1f}",
        ]
        for one in found["rows"]
    ]  # fmt: skip
    one = found["summary"]
    return "\n".join([
        "Dense texture that optics band-limit (`benchmarks/choice.py`): random fields, blurred and raised to a power,",
        "with white photon noise. PSNR in dB without training; the oracle is `simulated` with the true noise. The gain",
        f"is right (within 15 %, or an interval that holds it) for {one['gain_right']} of {one['images']}; the default",
        f"gains 2 dB or more for {one['default_gains_2']} of the {one['oracle_gains_3']} where the oracle gains 3;",
        f"{one['below_noisy']} results are below the noisy image:", "",
        table(body, ["blur", "power", "side", "photons", "gain found / true", "chosen", "noisy", "default", "oracle"]),
    ])  # fmt: skip


def labelled() -> str:
    """Right choices by kind of image."""
    return "\n".join([
        "The choice of `denoise` (`benchmarks/choice_labelled.py`, without training), compared with the best of",
        "`simulated`, `gap` for counts, and the image itself: a choice is right if it is at most 0.1 dB below it.", "",
        labelled_table(rows("choice_labelled")),
    ])  # fmt: skip


def labelled_table(found: list[dict[str, Any]]) -> str:
    """One line for each kind of image, and one for all."""
    body = [
        [
            kind, len(part), sum(one["below_best"] <= RIGHT for one in part),
            float(np.mean([one["below_best"] for one in part])),
            sum(one["default"] < one["noisy"] - BELOW for one in part),
        ]
        for kind, part in parts(found, "kind")
    ]  # fmt: skip
    return table(body, ["images", "number", "right", "below the best, dB", "below noisy"])


def parts(found: list[dict[str, Any]], key: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows for each value of a key, and all of them."""
    for value in dict.fromkeys(one[key] for one in found):
        yield value, [one for one in found if one[key] == value]
    yield "**all**", found


def never_worse() -> str:
    """How often the default is below the noisy image, by suite."""
    found = rows("never_worse")
    return "\n".join([
        f"The default without training on {len(found)} images of all suites, clean ones aside (`never_worse.py`): mean",
        "gain over the noisy image; results that are below it by more than 0.02 and 0.2 dB; the worst; and what",
        "choosing costs on average, compared with `simulated` on every image. dB:", "",
        suites_table(found),
    ])  # fmt: skip


def suites_table(found: list[dict[str, Any]]) -> str:
    """One line for each suite, and one for all."""
    body = []
    for suite, part in parts(found, "suite"):
        gain = np.array([one["default"] - one["noisy"] for one in part])
        cost = [one["simulated"] - one["default"] for one in part if one["simulated"] is not None]
        below, far = int((gain < -BELOW).sum()), int((gain < -FAR_BELOW).sum())
        body.append([suite, len(part), float(gain.mean()), below, far, float(gain.min()), mean(cost)])
    return table(body, ["suite", "images", "gain", "below", "far below", "worst", "choosing costs"])


def coverage() -> str:
    """Coverage of the truth by 90 % intervals."""
    found = rows("coverage_untrained")
    body = [
        [one["image"].replace("_", " "), percent(one["covered"]), *map(percent, one["thirds"]), len(one["warnings"])]
        for one in found
    ]
    return "\n".join([
        "Pixels of real images whose truth lies in D ± 1.645 σ, without training (`benchmarks/coverage.py`): all of",
        "them, and those with the darkest, medium and brightest signals; 90 % are right. Last column: warnings about",
        "the intervals in the report.", "",
        table(body, ["", "covered", "dark", "medium", "bright", "warnings"]),
    ])  # fmt: skip


def harm() -> str:
    """How often a report finds planted harm, and blames honest results."""
    found = rows("harm")
    kinds = list(dict.fromkeys(one["kind"] for one in found))
    body = []
    for what in dict.fromkeys(one["harm"] for one in found):
        flagged = {
            kind: [
                any(abs(one[check]) > limit for check, limit in LIMITS.items())
                for one in found
                if one["harm"] == what and one["kind"] == kind
            ]
            for kind in kinds
        }
        total = [one for part in flagged.values() for one in part]
        counts = [f"{sum(part)} of {len(part)}" for part in flagged.values()]
        body.append([what, percent(sum(total) / len(total)), *counts])
    return "\n".join([
        "Results over five kinds of images that a report finds something against (`benchmarks/harm.py`): honest ones,",
        "whose share is the rate of false alarms, and those with planted harm.", "",
        table(body, ["", "found", *kinds]),
    ])  # fmt: skip
