"""The files of benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from statistics import fmean
from typing import Any

from common import RESULTS

CONDITIONS_WITH_WHITE_NOISE = 6  # of the FMD conditions come first; the noise of the others is correlated


@cache
def result(name: str) -> dict[str, Any]:
    """The content of a result file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def rows(name: str) -> list[dict[str, Any]]:
    """The rows of a result file."""
    return list(result(name)["rows"])


def mean(values: Iterable[float]) -> float | str:
    """Arithmetic mean; empty where there is nothing."""
    values = list(values)
    return fmean(values) if values else ""


def conditions() -> list[str]:
    """Names of the FMD conditions, those with white noise first."""
    return list(dict.fromkeys(row["condition"] for row in rows("quality_fmd")))
