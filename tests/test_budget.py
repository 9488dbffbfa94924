"""Time budgets: every way to write a time, the refusal of everything else, and the time that training gets."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisewise import UserError
from noisewise.workflow.budget import UNITS, parse_budget, training_seconds

NUMBERS = st.integers(1, 10**6).map(str) | st.decimals("0.01", 10**4, places=2).map(str) | st.just(".5")
SPACE = st.sampled_from(["", " ", "  "])


@settings(deadline=None)
@given(NUMBERS, SPACE, st.sampled_from(sorted(UNITS)), st.booleans())
def test_numbers_and_units(number, space, unit, upper):
    text = f"{space}{number}{space}{unit.upper() if upper else unit}{space}"
    assert parse_budget(text) == pytest.approx(float(number) * UNITS[unit])


@settings(deadline=None)
@given(st.integers(1, 10**6) | st.floats(0.01, 1e6).map(lambda seconds: round(seconds, 2)))
def test_numbers_are_seconds(seconds):
    assert parse_budget(seconds) == seconds


def test_common_budgets():
    times = {"60s": 60, "60 sec": 60, "10min": 600, "10 m": 600, "1.5h": 5400, 90: 90, None: None}
    assert {budget: parse_budget(budget) for budget in times} == times


WORDS = st.text(max_size=8).filter(lambda text: not any(character.isdigit() for character in text))
WRONG_UNITS = st.text("abcxyz%", min_size=1, max_size=3).filter(lambda unit: unit not in UNITS)


@settings(max_examples=50, deadline=None)
@given(
    WORDS | st.floats(max_value=0) | st.integers(max_value=0) | st.sampled_from(["nan", "inf", "-3s", "0h", "1 2"])
    | st.tuples(NUMBERS, SPACE, WRONG_UNITS).map("".join)
)  # fmt: skip
def test_anything_else_is_refused(budget):
    with pytest.raises(UserError, match="is not a time; write 60s, 10min or 2h"):
        parse_budget(budget)


def test_training_gets_what_prediction_leaves():
    started = time.perf_counter() - 10
    assert training_seconds("2min", started, lambda: 20.0, usable=False) == pytest.approx(120 - 10 - 22, abs=1)
    assert training_seconds(None, started, lambda: 0.0, usable=True) == pytest.approx(60 - 10, abs=1)
    assert training_seconds("40s", started, lambda: 100.0, usable=False) == 10  # a quarter, at least
    assert training_seconds("40s", started, lambda: 100.0, usable=True) == 0


def test_prediction_is_not_timed_where_it_is_too_late_to_train():
    started = time.perf_counter() - 3
    assert training_seconds("5s", started, pytest.fail, usable=True) == pytest.approx(2, abs=1)
    assert training_seconds("5s", started - 60, pytest.fail, usable=False) == 1.25
