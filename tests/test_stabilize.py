"""The variance-stabilising transform, and the features that condition a network on its noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from noisewise.noise.models.correlated import Correlated, autocovariance, kernel_of
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.conditioning import FEATURES, LAGS, noise_features, stack_features
from noisewise.noise.ops.stabilize import Stabilizer
from noisewise.noise.ops.thinning import split_noisy
from noisewise.noise.quantization import Quantization


def line(slope: float, at_zero: float, read: float, mean: float) -> Stabilizer:
    return Stabilizer.from_variance(
        *(torch.tensor([value], dtype=torch.float64) for value in (slope, at_zero, read, mean))
    )


@pytest.mark.parametrize(
    ("slope", "at_zero", "read"),
    [(0.0, 4.0, 4.0), (1.0, 0.0, 0.0), (2.5, -20.0, 1.0), (1e-9, 9.0, 9.0), (3.0, 50.0, 50.0)],
)
def test_the_inverse_is_exact_everywhere(slope: float, at_zero: float, read: float) -> None:
    transform = line(slope, at_zero, read, 30.0)
    x = torch.linspace(-200, 3000, 1001, dtype=torch.float64)
    t = transform(x)
    assert (t.diff() > 0).all()
    torch.testing.assert_close(transform.inverse(t), x, rtol=1e-9, atol=1e-6)


def test_pure_photon_noise_gives_the_anscombe_transform() -> None:
    x = torch.linspace(0, 500, 101, dtype=torch.float64)
    anscombe = 2 * (x + 3 / 8).sqrt() - 2 * math.sqrt(40 + 3 / 8)
    torch.testing.assert_close(line(1.0, 0.0, 0.0, 40.0)(x), anscombe)


def test_gaussian_noise_gives_the_standard_score() -> None:
    x = torch.linspace(-50, 50, 101, dtype=torch.float64)
    torch.testing.assert_close(line(0.0, 9.0, 9.0, 10.0)(x), (x - 10) / 3)


@pytest.mark.parametrize(("photons", "read"), [(4.0, 0.0), (20.0, 0.0), (1.0, 3.0), (300.0, 2.0)])
def test_the_noise_has_unit_variance(photons: float, read: float) -> None:
    noise_model = PoissonGaussian(2.0, 100.0, 2.0 * read)
    signal = torch.full((200_000,), 100.0 + 2.0 * photons, dtype=torch.float64)
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(0))
    transform = line(2.0, (2.0 * read) ** 2 - 200.0, (2.0 * read) ** 2, float(signal[0]))
    assert float(transform(noisy).var()) == pytest.approx(1.0, abs=0.08)


def test_the_features_of_photon_noise() -> None:
    noise_model = PoissonGaussian(2.0, 100.0, 6.0, Quantization(1.0))
    found = noise_features(noise_model, 150.0, 20.0)
    variance = 2.0 * 50 + 36 + 1 / 12 + 3 / 8 * 4  # including the 3/8 of the Anscombe transform
    assert float(found.stabilizer.variance(torch.tensor([150.0]))) == pytest.approx(variance, rel=1e-4)
    read, step, *others = found.features[0].tolist()
    assert read == pytest.approx(math.sqrt((36 + 1 / 12) / (36 + 1 / 12 + 1.5)), rel=1e-4)
    assert step == pytest.approx(1 / math.sqrt(variance), rel=1e-4)
    assert others == [0.0] * (FEATURES - 2)
    assert found.white


def test_the_correlation_features_are_those_of_sampled_noise() -> None:
    rho = torch.zeros(4, 4)
    rho[0, 0], rho[0, 1], rho[1, 0], rho[1, 1] = 1.0, 0.4, 0.3, 0.12
    noise_model = Correlated(Gaussian(5.0), kernel_of(rho), row_kernel=2.0)
    found = noise_features(noise_model, 50.0, 10.0)
    noise = noise_model.sample(torch.full((8, 256, 256), 50.0), torch.Generator().manual_seed(1)) - 50
    seen = autocovariance((noise - noise.mean(-1, keepdim=True)).double(), 2)
    seen /= seen[0, 0].clone()
    for value, (y, x) in zip(found.features[0, 2:].tolist(), LAGS, strict=False):
        assert value == pytest.approx(float(seen[y, x]), abs=0.02)
    assert float(found.features[0, -2]) == pytest.approx(2 / 5, rel=1e-3)
    assert not found.white


def test_the_rest_of_a_thinned_image_has_the_variance_of_the_thinned_features() -> None:
    noise_model = PoissonGaussian(3.0, 20.0, 2.0)
    signal = torch.full((1, 1, 300, 300), 80.0)
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(0))
    rest, _ = split_noisy(noise_model, noisy, 0.4, (80.0, 15.0), torch.Generator().manual_seed(1))
    thinned = noise_features(noise_model, 80.0, 15.0).for_dims(2).thinned(0.4).stabilizer
    assert float(thinned(rest).var()) == pytest.approx(1.0, abs=0.04)


def test_channels_are_folded_like_their_images() -> None:
    found = stack_features(
        [noise_features(Gaussian(2.0), 0.0, 1.0), noise_features(Gaussian(4.0), 0.0, 1.0)], 3
    ).for_dims(3)
    maps = found.network_input(torch.full((6, 1, 2, 4, 4), 8.0))
    assert maps.shape == (6, 2 + FEATURES, 2, 4, 4)
    np.testing.assert_allclose(maps[:, 0, 0, 0, 0], [4, 2, 4, 2, 4, 2], rtol=1e-5)
