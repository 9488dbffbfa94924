"""Intervals for held-out measurements: coverage of normal and of wrong predictions; the interval of a proportion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from noisewise.evaluate.coverage import coverages, wilson


@pytest.mark.parametrize("std_factor", [1.0, 0.5])
def test_intervals_hold_nine_in_ten_however_wrong_the_std(std_factor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    signal = torch.linspace(10, 100, 256).expand(1, 1, 256, 256)
    mean = signal + 3 * torch.randn(signal.shape, generator=generator)
    target = signal + 2 * torch.randn(signal.shape, generator=generator)
    std, variance = torch.full_like(mean, 3 * std_factor), torch.full_like(mean, 4.0)
    found = coverages(mean, std, target, variance, torch.ones_like(mean, dtype=torch.bool))
    assert len(found) == 8 and sum(one.pixels for one in found) == mean.numel()
    assert sum(one.low <= 0.9 <= one.high for one in found) >= 6
    right = 1.645 * (13 / (9 * std_factor**2 + 4)) ** 0.5
    assert np.mean([one.quantile for one in found]) == pytest.approx(right, rel=0.03)
    assert [one.signal for one in found] == sorted(one.signal for one in found)


def test_pixels_that_do_not_count_are_left_out() -> None:
    mean = torch.zeros(1, 1, 64, 64)
    valid = torch.zeros_like(mean, dtype=torch.bool)
    valid[..., :20, :20] = True
    assert not coverages(mean, mean + 1, mean, mean + 1, valid)


def test_the_interval_of_a_proportion_is_that_of_scipy() -> None:
    wanted = binomtest(905, 1000).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(0.905, 1000), (wanted.low, wanted.high), rtol=1e-9)
