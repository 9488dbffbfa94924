"""Intervals and samples of a posterior, as arrays and as tensors."""

import numpy as np
import pytest
import torch
from scipy import stats

from noisewise.posterior import Normal, Point

MEAN = np.array([[100.0, 5.0, -3.0], [0.0, 1e4, 2.0]], np.float32)
STD = np.array([[10.0, 1.0, 0.1], [3.0, 50.0, 0.0]], np.float32)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_intervals_are_those_of_the_normal_distribution(coverage, kind):
    low, high = Normal(kind(MEAN), kind(STD)).interval(coverage)
    assert type(low) is type(kind(MEAN)) and low.shape == high.shape == MEAN.shape
    expected = stats.norm.interval(coverage, MEAN.astype(float), STD.astype(float) + 1e-12)
    np.testing.assert_allclose(low, expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(high, expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.5, 90])
def test_impossible_coverages_are_refused(coverage):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Normal(MEAN, STD).interval(coverage)


def test_the_default_interval_has_90_percent_coverage():
    low, high = Normal(np.zeros(1), np.ones(1)).interval()
    assert stats.norm.cdf(high[0]) - stats.norm.cdf(low[0]) == pytest.approx(0.9)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_samples_have_the_mean_and_std_and_are_independent(kind):
    drawn = np.asarray(Normal(kind(MEAN), kind(STD)).sample(40_000, seed=1), dtype=float)
    assert drawn.shape == (40_000, *MEAN.shape)
    scale = np.maximum(STD, 1e-3)
    assert (np.abs(drawn.mean(0) - MEAN) < 5 * scale / 200).all()
    np.testing.assert_allclose(drawn.std(0), STD, rtol=0.02, atol=1e-3)
    z = ((drawn - MEAN) / scale)[:, 0]
    assert stats.kstest(z[:, 0], "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(z.T) - np.eye(3)).max() < 0.025


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_samples_repeat_with_the_seed(kind):
    posterior = Normal(kind(MEAN), kind(STD))
    one, two, other = (np.asarray(posterior.sample(3, seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any() and (one[0] != one[1]).any()
    assert one.dtype == np.float32


def test_a_point_estimate_has_only_a_mean():
    point = Point(MEAN)
    assert point.std is None
    with pytest.raises(ValueError, match=r"the mean alone; choose a method with samples \(noisewise methods"):
        point.sample(1)
    with pytest.raises(ValueError, match=r"the mean alone; choose a method with a standard deviation \("):
        point.interval()
