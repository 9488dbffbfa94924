"""A quick share of `benchmarks/robustness.py`: damaged files and strange options are refused, kills lose nothing."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_damaged_files_and_strange_options(benchmarks):
    """Accepted or refused with one sentence: no traceback, hang or signal, inputs unchanged, nothing left."""
    from robustness_fuzz import fuzz

    found = fuzz(1_000_000, 200, seconds=15)
    assert found["failures"] == []
    assert found["cases"] >= 5 and found["accepted"] + found["refused"] == found["cases"]


def test_killed_commands_are_given_again(benchmarks):
    from robustness_kills import jobs, kills

    names = [job.name for job in jobs()]
    found = kills(3, seed=1, steps=12, only=[names.index(name) for name in ("predict .zarr", "train", "simulate .tif")])
    assert found["failures"] == [] and found["commands"] >= 3
