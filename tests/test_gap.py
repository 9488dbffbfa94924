"""GAP: photon numbers, the minimum of the loss at the posterior mean, and images that are not photon counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

import noisewise as nw
from noisewise.methods import gap
from noisewise.methods.base import Batch
from noisewise.methods.gap import GAP, as_image, negative_binomial
from noisewise.noise.base import Noise
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.exposure import poisson_quantile
from noisewise.noise.ops.photon_counts import gain_and_offset
from noisewise.noise.quantization import Quantization

from .conftest import image_spec

pytestmark = pytest.mark.usefixtures("few_scenes")
SPEC = image_spec(mean=(180.0,), std=(20.0,))


def test_gamma_distributed_rates_have_the_exact_posterior():
    """s ~ Gamma(a, b), independent in each pixel: p(s | k) = Gamma(a + k, b + 1)."""
    a, b = 2.0, 0.4
    rng = np.random.default_rng(0)
    signal = rng.gamma(a, 1 / b, (6, 96, 96))
    counts = rng.poisson(signal).astype(np.float32)
    noise_model = PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0))
    settings = {
        "network": "classic", "features": 8, "depth": 1, "batch_size": 8, "patch_size": 32, "learning_rate": 6e-3,
        "synthetic_weight": 0.0,
    }  # fmt: skip
    model = nw.train("gap", counts, noise=noise_model, steps=400, **settings)
    fresh = rng.poisson(rng.gamma(a, 1 / b, (96, 96))).astype(np.float32)
    post = model.predict(fresh, average=False)
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
    ours = poisson_quantile(torch.full_like(normal, rate), normal).numpy()
    exact = scipy.stats.poisson.ppf(scipy.stats.norm.cdf(normal.numpy()), rate)
    assert np.abs(ours - exact).max() <= (0 if rate < 16 else 2)


@pytest.mark.parametrize(
    ("noise_model", "expected"),
    [
        (PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0)), (1.0, 0.0)),
        (
            PoissonGaussian(1.03, 0.2, 0.1, Quantization(1.0)),
            (1.0, 0.0),
        ),  # counts whose noise was measured slightly wrong
        (PoissonGaussian(2.5, 100.0, 0.5, Quantization(1.0)), (2.5, 100.0)),
    ],
)
def test_gain_and_offset_of_photon_counts(noise_model: Noise, expected: tuple[float, float]):
    assert gain_and_offset(noise_model, 100.0 + 5 * expected[0], 10.0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("noise_model", "reason"),
    [
        (Gaussian(4.0), "does not grow with the signal"),
        (PoissonGaussian(2.0, 100.0, 3.0), "read noise of 1.5 electrons"),
        (GammaPoisson(5.0, 1.0, 0.0, 1.0, 0.0), "excess noise"),
    ],
)
def test_images_that_are_not_photon_counts_are_refused(noise_model: Noise, reason: str):
    image = np.random.default_rng(0).poisson(20, (40, 40)).astype(np.float32)
    with pytest.raises(nw.UserError, match=reason) as error:
        nw.train("gap", image, noise=noise_model, steps=2, features=4, depth=1)
    assert "noisewise methods" in str(error.value)


@pytest.mark.parametrize("exposure", [0.1, 0.5, 3.0])
def test_photons_of_another_exposure_are_scaled_to_one(exposure: float):
    """Photons scaled to exposure 1 have the right mean, and unit variance once they are stabilised."""
    net = GAP(network="fast", features=4).build(SPEC, [PoissonGaussian(2.0, 100.0, 0.1)])
    generator = torch.Generator().manual_seed(0)
    shown = torch.poisson(torch.full((2, 1, 200, 200), 40 * exposure), generator=generator)
    image, features = as_image(net, shown, torch.full((2, 1, 1, 1), exposure))
    assert float(image.mean()) == pytest.approx(100 + 2 * 40, rel=0.01)
    assert float(features.stabilizer(image).var()) == pytest.approx(1, abs=0.06)


def test_synthetic_scenes_have_the_noise_of_their_exposures(monkeypatch: pytest.MonkeyPatch):
    """The images, signals and noise features that the supervised loss gets, each patch with its own exposure."""
    method, given = GAP(network="fast", features=4, self_weight=0.0), []
    net = method.build(SPEC, [PoissonGaussian(2.0, 100.0, 0.1)])
    noisy = 100 + 2 * torch.poisson(torch.full((6, 1, 64, 64), 40.0), generator=torch.Generator().manual_seed(0))
    batch = Batch(noisy=noisy, valid=noisy > 0, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(gap, "supervised_loss", lambda net, batch, *rest: given.extend(rest) or noisy.new_zeros(()))
    method.loss(net, batch)
    image, signal, features = given
    errors = (features.stabilizer(image) - features.stabilizer(signal)).flatten(1)
    assert float(signal.min()) >= 100
    torch.testing.assert_close(errors.var(1), torch.ones(6), atol=0.15, rtol=0)
    assert float(features.stabilizer.slope.max()) > 2 * float(features.stabilizer.slope.min())


def test_it_denoises_and_samples_without_training():
    signal = 8 + 6 * np.sin(np.mgrid[:96, :96][0] / 9)
    counts = np.random.default_rng(0).poisson(signal).astype(np.float32)
    model = nw.train("gap", counts, noise=PoissonGaussian(1.0, 0.0, 0.0), steps=0)
    post = model.predict(counts, average=False)
    error = np.mean((post.mean - signal) ** 2)
    assert error < 0.05 * np.mean((counts - signal) ** 2)
    assert 0.5 < np.sqrt(np.mean(post.std**2) / error) < 2
    assert np.mean((post.sample(1)[0] - signal) ** 2) < 3 * error + 0.02 * signal.mean()


def test_the_camera_makes_no_difference():
    """The same photons through another gain and offset: the same answer, in the units of that image."""
    photons = np.random.default_rng(0).poisson(6.0, (64, 64)).astype(np.float32)
    settings = {"steps": 6, "features": 8, "depth": 1, "patch_size": 32}
    plain = nw.train("gap", photons, noise=PoissonGaussian(1.0, 0.0, 0.0), **settings)
    seen = nw.train("gap", 2.0 * photons + 100, noise=PoissonGaussian(2.0, 100.0, 0.2), **settings)
    first, second = (
        model.predict(image, average=False) for model, image in ((plain, photons), (seen, 2.0 * photons + 100))
    )
    np.testing.assert_allclose(second.mean, 2.0 * first.mean + 100, rtol=1e-3)
    np.testing.assert_allclose(second.std, 2.0 * first.std, rtol=2e-2)


def test_samples_grow_from_the_photons_that_are_there():
    """They have the mean of the image, and differ more where there were fewer photons to begin with."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    signal = 6 + 4 * np.sin(y / 6) * np.cos(x / 5)
    settings = {"steps": 250, "features": 16, "depth": 1, "patch_size": 32, "learning_rate": 4e-3, "faintest": 0.05}
    noise_model = PoissonGaussian(1.0, 0.0, 0.0)
    model = nw.train("gap", rng.poisson(signal).astype(np.float32), noise=noise_model, **settings)
    assert isinstance(model.method, GAP) and model.method.lights(0.5)[::11] == [0.5, 200.0]
    spread = []
    for exposure in (0.5, 0.0625):
        model.method = replace(model.method, exposure=exposure, growth=1 / exposure)
        counts = rng.poisson(exposure * signal).astype(np.float32)
        drawn = model.predict(counts, average=False).sample(4)
        assert drawn.mean() == pytest.approx(exposure * signal.mean(), rel=0.06)
        spread.append(drawn.std(0).mean() / exposure)
    assert spread[1] > 1.8 * spread[0] > 0
