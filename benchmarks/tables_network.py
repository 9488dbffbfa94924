"""Tables of what the packaged network does with neighbouring planes and dense fields, for `readme.py`."""

from __future__ import annotations

from typing import Any

from common import table
from neighbours import NO_HELP, PHOTONS, SLOW, SNR, STILL
from result_files import mean, rows

KINDS = {"slow motion, or slices": SLOW, "still, five planes": STILL, "no help": NO_HELP}


def neighbours() -> str:
    """What neighbours bring: decibels above each plane on its own."""
    found = {(row["scene"], row["photons"]): row for row in rows("neighbours") if row["part"] == "sequences"}

    def gains(names: tuple[str, ...], kind: str) -> list[str]:
        return [
            f"{mean(found[name, photons][kind] - found[name, photons]['alone'] for name in names):+.2f}"
            for photons in PHOTONS
        ]

    lines: list[list[Any]] = []
    for group, names in KINDS.items():
        lines += [[name, *gains((name,), "neighbours"), *gains((name,), "auto")] for name in names]
        if len(names) > 1:
            lines.append([f"**{group}**, mean", *gains(names, "neighbours"), *gains(names, "auto")])
    header = ["", *(f"{photons} photons" for photons in PHOTONS), *(f"`auto`, {photons}" for photons in PHOTONS)]
    return "\n".join([
        "Movies and stacks with planted photon noise (so many photons in the brightest pixels), noise measured in",
        "them, untrained (`benchmarks/neighbours.py`); gain in dB over each plane on its own:",
        "", table(lines, header),
    ])  # fmt: skip


def events() -> str:
    """What is left of spots that light up in one plane."""

    def amplitude(row: dict[str, Any], kind: str) -> str:
        return f"{row[f'{kind}_kept']:.3f} ± {row[f'{kind}_kept_error']:.3f}"

    lines = [
        [
            row["scene"], row["photons"], "blinks" if row["blinking"] else "one plane", amplitude(row, "alone"),
            amplitude(row, "neighbours"), f"{row['neighbours_beside']:.3f}" if "neighbours_beside" in row else "",
        ]
        for row in rows("neighbours") if row["part"] == "events"
    ]  # fmt: skip
    return "\n".join([
        f"Spots that light up in one plane, or blink, with a signal-to-noise ratio of {SNR:.0f} in a region: what is",
        "left of their light, mean and standard error over 240 spots, and what appears of it in the planes beside:", "",
        table(lines, ["scene", "photons", "spots", "plane by plane", "with neighbours", "beside"]),
    ])  # fmt: skip


def fields() -> str:
    """Dense random fields against the Wiener filter."""
    lines = [
        [row["blur"], row["photons"], row["noisy"], row["result"], row["wiener"], row["result"] - row["wiener"]]
        for row in rows("fields")
    ]
    return "\n".join([
        "Dense random fields, blurred by so many pixels (`benchmarks/fields.py`); PSNR in dB. The Wiener filter knows",
        "the spectrum of the field and the noise:", "",
        table(lines, ["blur", "photons", "noisy", "`simulated`, untrained", "Wiener filter", "difference"]),
    ])  # fmt: skip
