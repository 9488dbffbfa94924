"""Correlated noise: planted, fitted, sampled, and judged by its likelihood."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from noisewise import UserError
from noisewise.calibration.correlated import autocorrelation_along, calibrate_correlated
from noisewise.noise.files import load_noise
from noisewise.noise.models.autoregressive import Autoregressive
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.ops.causal_mixture import causal_offsets
from noisewise.noise.ops.correlation_length import noise_axis

STAYS = math.exp(-1 / 6)


def planted(axis, frames=12, side=128, seed=0):
    """White noise (3 ADU), noise with a correlation length of six pixels (2) and line offsets (2), along an axis."""
    rng = np.random.default_rng(seed)
    white, other = rng.standard_normal((2, frames, side, side + 100))
    lasting = lfilter([1.0], [1.0, -STAYS], (1 - STAYS**2) ** 0.5 * other, axis=-1)[..., 100:]
    found = 3 * white[..., 100:] + 2 * lasting + 2 * rng.standard_normal((frames, side, 1))
    return 100 + (found if axis == "X" else found.swapaxes(-1, -2))


RHO = [1.0, *((4 * STAYS**lag + 4) / 17 for lag in range(1, 26))]


def fit(noisy, signal=None, kind="autoregressive"):
    torch.manual_seed(0)  # of the network's weights before the first step
    return calibrate_correlated(noisy, signal, kind=kind, axes="TYX", steps=300).noise


@cache
def fitted(axis):
    return fit(planted(axis))


@pytest.mark.parametrize("axis", ["X", "Y"])
def test_the_axis_is_found_and_samples_have_the_planted_autocorrelation(axis):
    noise_model = fitted(axis)
    assert noise_model.axis == axis and noise_model.anisotropic and not noise_model.white
    drawn = noise_model.sample(torch.full((12, 128, 128), 100.0), torch.Generator().manual_seed(1)) - 100
    assert float(drawn.std()) == pytest.approx(17**0.5, rel=0.02)
    np.testing.assert_allclose(autocorrelation_along(drawn, -1 if axis == "X" else -2), RHO, atol=0.02)
    np.testing.assert_allclose(autocorrelation_along(drawn, -2 if axis == "X" else -1)[1:], 0, atol=0.02)


def test_the_spectral_approximation_has_the_same_autocorrelation():
    spectral = fitted("X").spectral_approximation()
    assert isinstance(spectral, Correlated) and noise_axis((spectral,)) == "X"
    drawn = spectral.sample(torch.full((12, 128, 128), 100.0), torch.Generator().manual_seed(1)) - 100
    np.testing.assert_allclose(autocorrelation_along(drawn, -1), RHO, atol=0.03)


def test_the_likelihood_is_nearly_that_of_the_planted_noise():
    """For a row log N(x; s, C) is known exactly; a fitted model cannot exceed it on new rows, and is close."""
    noise_model, x = fitted("X"), torch.tensor(planted("X", frames=4, seed=5))
    lag = np.abs(np.arange(128)[:, None] - np.arange(128))
    covariance = 9 * np.eye(128) + 4 * STAYS**lag + 4
    rest = x.numpy().reshape(-1, 128) - 100
    exact = -0.5 * np.einsum("ni,ij,nj->n", rest, np.linalg.inv(covariance), rest)
    exact = (exact - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]).mean() / 128
    found = float(noise_model.log_prob_image(x, torch.full_like(x, 100.0)).mean())
    alone = float(Gaussian(17**0.5).log_prob(x, torch.full_like(x, 100.0)).mean())
    assert exact - 0.01 < found < exact + 0.003 and exact - alone > 0.15


def test_a_raster_context_covers_both_axes():
    """A moving average over 3 x 3 pixels, and white noise: samples have the autocorrelation in both directions."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((10, 98, 98))
    field = sum(white[:, y : y + 96, x : x + 96] for y in range(3) for x in range(3)) / 3
    noise = 4 * (field + rng.standard_normal(field.shape))
    noise_model = fit(50 + noise)
    assert noise_model.axis == "YX" and not noise_model.anisotropic
    drawn = noise_model.sample(torch.full((10, 96, 96), 50.0), torch.Generator().manual_seed(0)) - 50
    for axis in (-1, -2):
        np.testing.assert_allclose(autocorrelation_along(drawn, axis, 6), [1, 1 / 3, 1 / 6, 0, 0, 0, 0], atol=0.03)


def test_noise_that_is_not_gaussian_is_reproduced_too():
    """Telegraph noise: two levels, held for ten pixels; the spectral model has its correlation and not its shape."""
    rng = np.random.default_rng(0)
    flips = np.cumsum(rng.random((12, 96, 96)) < 0.1, axis=-1) % 2 ^ rng.integers(0, 2, (12, 96, 1))
    noise = 6 * (2.0 * flips - 1) + rng.standard_normal(flips.shape)
    signal = torch.full((12, 96, 96), 100.0)

    def kurtosis(x):
        return float(((x - x.mean()) ** 4).mean() / x.var() ** 2)

    drawn = {}
    for kind in ("autoregressive", "correlated"):
        noise_model = fit(100 + noise, kind=kind)
        drawn[kind] = noise_model.sample(signal, torch.Generator().manual_seed(0)) - 100
    assert kurtosis(torch.tensor(noise)) < 1.3 and kurtosis(drawn["autoregressive"]) < 1.5 < 2.5 < kurtosis(
        drawn["correlated"]
    )
    np.testing.assert_allclose(
        autocorrelation_along(drawn["autoregressive"], -1), autocorrelation_along(torch.tensor(noise), -1), atol=0.06
    )


def test_noise_that_depends_on_the_signal():
    """The model is fitted to the noise in units of its standard deviation: line offsets grow with the signal."""
    rng = np.random.default_rng(0)
    signal = np.tile(np.linspace(50, 500, 96), (20, 96, 1)).swapaxes(-1, -2)
    std = 0.2 * signal**0.5
    noisy = signal + std * (rng.standard_normal(signal.shape) + 0.7 * rng.standard_normal((20, 96, 1)))
    noise_model = fit(noisy, signal)
    drawn = noise_model.sample(torch.tensor(signal), torch.Generator().manual_seed(0)).numpy() - signal
    for rows in (slice(0, 20), slice(76, 96)):
        wanted = np.sqrt(1 + 0.49) * std[:, rows].mean()
        assert drawn[:, rows].std() == pytest.approx(wanted, rel=0.05)
        assert drawn[:, rows].mean(-1).std() == pytest.approx(0.7 * std[:, rows].mean(), rel=0.15)


def test_the_context_is_causal():
    noise_model, x = fitted("X"), torch.tensor(planted("X", frames=1))
    one = noise_model.log_prob_image(x, torch.full_like(x, 100.0))
    x[0, 40, 60] += 5
    two = noise_model.log_prob_image(x, torch.full_like(x, 100.0))
    changed = (one != two)[0].nonzero()
    assert (changed[:, 0] == 40).all() and changed[:, 1].min() == 60 and changed[:, 1].max() <= 92
    assert (0, 0) not in causal_offsets("YX") and all(y < 0 or (y == 0 and x < 0) for y, x in causal_offsets("YX"))


def test_a_file_keeps_the_autoregressive_model(tmp_path):
    noise_model = fitted("X")
    noise_model.save(tmp_path / "noise.safetensors")
    again = load_noise(tmp_path / "noise.safetensors")
    signal = torch.full((1, 64, 64), 100.0)
    rng = [torch.Generator().manual_seed(3) for _ in range(2)]
    assert torch.equal(noise_model.sample(signal, rng[0]), again.sample(signal, rng[1])) and again.axis == "X"


def test_a_fit_depends_on_its_seed_alone():
    noisy = 100 + torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(1))
    state = torch.random.get_rng_state()
    one, two, other = (Autoregressive.fit(noisy, 0 * noisy + 100, seed=seed, steps=2).weights for seed in (3, 3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bad_input():
    with pytest.raises(UserError, match="too little"):
        calibrate_correlated(np.random.default_rng(0).normal(size=(4, 20, 20)), axes="TYX")
    with pytest.raises(UserError, match="holds no noise"):
        calibrate_correlated(np.ones((4, 64, 64)), axes="TYX")
    with pytest.raises(UserError, match="unknown kind"):
        calibrate_correlated(np.ones((4, 64, 64)), kind="pink", axes="TYX")
    with pytest.raises(UserError, match="shape"):
        calibrate_correlated(np.ones((4, 64, 64)), np.ones((4, 64, 65)), axes="TYX")
