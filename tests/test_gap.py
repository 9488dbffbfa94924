"""GAP: photons are counted right, the loss is least at the posterior mean, and what is no count is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

import noisewise as nw
from noisewise.methods.base import Batch, ImageSpec
from noisewise.methods.gap import GAP, negative_binomial, poisson
from noisewise.noise.base import Noise
from noisewise.noise.ops.photon_counts import gain_and_offset
from noisewise.noise.quantization import Quantization
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.models.gamma_poisson import GammaPoisson

SPEC = ImageSpec(
    spatial="YX", channels=1, spacing=(1.0, 1.0), size=(64, 64), mean=(180.0,), std=(20.0,), target_mean=(180.0,),
    target_std=(20.0,),
)  # fmt: skip


def test_gamma_rates_have_the_posterior_of_the_textbook():
    """s ~ Gamma(a, b) in each pixel for itself: p(s | k) = Gamma(a + k, b + 1), whatever the neighbours."""
    a, b = 2.0, 0.4
    rng = np.random.default_rng(0)
    signal = rng.gamma(a, 1 / b, (6, 96, 96))
    counts = rng.poisson(signal).astype(np.float32)
    noise_model = PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0))
    settings = {"network": "classic", "features": 12, "depth": 1, "batch_size": 8, "patch_size": 48, "drawn": 0.0}
    model = nw.train("gap", counts, noise=noise_model, steps=700, **settings)
    fresh = rng.poisson(rng.gamma(a, 1 / b, (96, 96))).astype(np.float32)
    post = model.predict(fresh)
    mean, std = (a + fresh) / (b + 1), np.sqrt(a + fresh) / (b + 1)
    assert np.mean((post.mean - mean) ** 2) < 0.1 * np.mean((fresh - mean) ** 2)
    assert np.sqrt(np.mean(post.std**2)) == pytest.approx(np.sqrt(np.mean(std**2)), rel=0.1)


@pytest.mark.parametrize(("mean", "variance"), [(0.3, 0.4), (4.0, 9.0), (30.0, 31.0)])
def test_the_negative_binomial_is_that_of_scipy(mean, variance):
    counts = torch.arange(60, dtype=torch.float64)
    ours = negative_binomial(counts, torch.full_like(counts, mean), torch.full_like(counts, variance - mean))
    p = mean / variance
    np.testing.assert_allclose(ours, scipy.stats.nbinom.logpmf(counts.numpy(), mean * p / (1 - p), p), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.01, 0.7, 5.0, 15.0, 60.0])
def test_photons_are_poisson_quantiles(rate):
    normal = torch.linspace(-3.5, 3.5, 301, dtype=torch.float64)
    ours = poisson(torch.full_like(normal, rate), normal).numpy()
    exact = scipy.stats.poisson.ppf(scipy.stats.norm.cdf(normal.numpy()), rate)
    assert np.abs(ours - exact).max() <= (0 if rate < 16 else 2)


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0)), (1.0, 0.0)),
        (PoissonGaussian(1.03, 0.2, 0.1, Quantization(1.0)), (1.0, 0.0)),  # counts, whose law was measured a little off
        (PoissonGaussian(2.5, 100.0, 0.5, Quantization(1.0)), (2.5, 100.0)),
    ],
)
def test_gain_and_offset_are_taken_off(noise_model: Noise, expected: tuple[float, float]):
    assert gain_and_offset(noise_model, 100.0 + 5 * expected[0], 10.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("law", "reason"),
    [
        (Gaussian(4.0), "does not grow with the signal"),
        (PoissonGaussian(2.0, 100.0, 3.0), "read noise of 1.5 electrons"),
        (GammaPoisson(5.0, 1.0, 0.0, 1.0, 0.0), "excess noise"),
    ],
)
def test_what_is_no_count_is_refused(noise_model: Noise, reason: str):
    image = np.random.default_rng(0).poisson(20, (40, 40)).astype(np.float32)
    with pytest.raises(nw.UserError, match=reason) as told:
        nw.train("gap", image, noise=noise_model, steps=2, features=4, depth=1)
    assert "simulated" in str(told.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 3.0])
def test_a_share_of_the_exposure_is_told_as_what_it_is(share: float):
    """Shown photons, scaled to a whole exposure: of the right mean, and of unit variance once they are stabilised."""
    net = GAP(network="fast", features=4).build(SPEC, [PoissonGaussian(2.0, 100.0, 0.1)])
    generator = torch.Generator().manual_seed(0)
    shown = torch.poisson(torch.full((2, 1, 200, 200), 40 * share), generator=generator)
    image, noise_model = GAP().seen(net, shown, torch.full((2, 1, 1, 1), share))
    assert float(image.mean()) == pytest.approx(100 + 2 * 40, rel=0.01)
    assert float(noise_model.stabilizer(image).var()) == pytest.approx(1, abs=0.06)


def test_scenes_are_exposed_as_they_are_told():
    method = GAP(network="fast", features=4)
    net = method.build(SPEC, [PoissonGaussian(2.0, 100.0, 0.1)])
    noisy = 100 + 2 * torch.poisson(torch.full((6, 1, 64, 64), 40.0), generator=torch.Generator().manual_seed(0))
    batch = Batch(noisy=noisy, valid=noisy > 0, generator=torch.Generator().manual_seed(1))
    image, signal, noise_model = method.exposed(net, batch)
    errors = (noise_model.stabilizer(image) - noise_model.stabilizer(signal)).flatten(1)
    assert float(signal.min()) >= 100
    torch.testing.assert_close(errors.var(1), torch.ones(6), atol=0.15, rtol=0)
    assert float(noise_model.stabilizer.slope.max()) > 2 * float(noise_model.stabilizer.slope.min())  # of each patch its own


def test_it_denoises_and_draws_as_built():
    signal = 8 + 6 * np.sin(np.mgrid[:96, :96][0] / 9)
    counts = np.random.default_rng(0).poisson(signal).astype(np.float32)
    model = nw.train("gap", counts, noise=PoissonGaussian(1.0, 0.0, 0.0), steps=0)
    post = model.predict(counts)
    error = np.mean((post.mean - signal) ** 2)
    assert error < 0.05 * np.mean((counts - signal) ** 2)
    assert 0.5 < np.sqrt(np.mean(post.std**2) / error) < 2
    assert np.mean((post.sample(1)[0] - signal) ** 2) < 3 * error + 0.02 * signal.mean()


def test_the_camera_makes_no_difference():
    """The same photons through another gain and offset: the same answer, in the units of that image."""
    photons = np.random.default_rng(0).poisson(6.0, (64, 64)).astype(np.float32)
    settings = {"steps": 6, "features": 8, "depth": 1}
    plain = nw.train("gap", photons, noise=PoissonGaussian(1.0, 0.0, 0.0), **settings)
    seen = nw.train("gap", 2.0 * photons + 100, noise=PoissonGaussian(2.0, 100.0, 0.2), **settings)
    first, second = plain.predict(photons), seen.predict(2.0 * photons + 100)
    np.testing.assert_allclose(second.mean, 2.0 * first.mean + 100, rtol=1e-3)
    np.testing.assert_allclose(second.std, 2.0 * first.std, rtol=2e-2)


def test_samples_grow_from_the_photons_that_are_there():
    """They have the mean of the image, and differ more where there were fewer photons to begin with."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    signal = 6 + 4 * np.sin(y / 6) * np.cos(x / 5)
    settings = {"steps": 300, "features": 16, "depth": 1, "faintest": 0.05}
    noise_model = PoissonGaussian(1.0, 0.0, 0.0)
    model = nw.train("gap", rng.poisson(signal).astype(np.float32), noise=noise_model, **settings)
    assert isinstance(model.method, GAP) and replace(model.method, growth=8.0).rounds == 22
    spread = []
    for exposure in (0.5, 0.0625):
        model.method = replace(model.method, exposure=exposure, growth=1 / exposure)
        counts = rng.poisson(exposure * signal).astype(np.float32)
        drawn = model.predict(counts).sample(4)
        assert drawn.mean() == pytest.approx(exposure * signal.mean(), rel=0.06)
        spread.append(drawn.std(0).mean() / exposure)
    assert spread[1] > 2 * spread[0] > 0
