"""Time budgets: the seconds left for training, from the time the user is willing to wait."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

import noisewise
from noisewise.errors import UserError

WORTH_TRAINING = 8.0  # seconds, below which a pretrained network is used as it is
DEFAULT_BUDGET = 60.0  # seconds, if neither a budget nor a number of steps is given
REPORT_START, REPORT_EACH, REPORT_SHARE = 3.0, 4.0, 0.3  # seconds; largest share of a budget
UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def parse_budget(budget: str | float | None) -> float | None:
    """Seconds from a number, `60s`, `10 min` or `2h`; None stays None. Errors: `UserError` for anything else."""
    if budget is None:
        return None
    if isinstance(budget, int | float) and not isinstance(budget, bool) and 0 < budget < math.inf:
        return float(budget)
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", str(budget).lower())
    if match is None or match[2] not in UNITS or float(match[1]) <= 0:
        raise UserError(f"budget '{budget}' is not a time; write 60s, 10min or 2h")
    return float(match[1]) * UNITS[match[2]]


def remaining(budget: str | float | None) -> float:
    """Seconds of a budget that are left of it since this program was started: at least a tenth."""
    seconds = parse_budget(budget) or DEFAULT_BUDGET
    return max(seconds - (time.perf_counter() - noisewise.STARTED), 0.1 * seconds)


def for_reports(seconds: float, count: int) -> float:
    """Seconds of those that are left to keep for reports of some images."""
    return min(REPORT_START + REPORT_EACH * count, REPORT_SHARE * seconds)


def refuse_both(budget: str | float | None, steps: int | None) -> None:
    """Errors: `UserError` for a time and a number of steps."""
    if budget is not None and steps is not None:
        raise UserError("budget and steps exclude each other; give one")


def training_seconds(
    budget: str | float | None, started: float, predicting: Callable[[], float], usable: bool
) -> float:  # fmt: skip
    """Seconds of the budget for training: without those since `started` and those that prediction will take.

    predicting: measures how long that is; not called where too little is left anyway. usable: whether the network is
    usable without any training; another one is trained for a quarter of the budget at least.
    """
    seconds = parse_budget(budget) or DEFAULT_BUDGET
    left = seconds - (time.perf_counter() - started)
    if left >= (WORTH_TRAINING if usable else 0.25 * seconds):
        left -= 1.1 * predicting()
    return max(left, 0.0 if usable else 0.25 * seconds)
