"""Thinning splits one image into two: moments, independence, and the variance line."""

import math
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from noisewise import UserError
from noisewise.methods.base import Batch
from noisewise.methods.losses.thinning import thinned_pair
from noisewise.methods.r2r import R2R
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gamma_poisson import GammaPoisson
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops import thinning
from noisewise.noise.ops.linear_variance import linear_variance
from noisewise.noise.ops.thinning import as_photon_noise, neighbour_mean, split_noisy
from noisewise.noise.quantization import Quantization

from .conftest import denoiser

FRACTION = 0.15
PHOTONS = PoissonGaussian(2.0, 100.0, 0.0)


def heavy_tailed():
    knots = torch.tensor([100.0, 300.0, 800.0], dtype=torch.float64)
    log_weight, shift = torch.tensor([[0.0, -0.5]] * 3), torch.tensor([[-0.2, 0.6]] * 3)
    log_scale, outlier = torch.tensor([[-0.3, 0.1]] * 3), torch.tensor([0.01, 6.0])
    return Mixture(knots, log_weight, shift, log_scale, outlier, 2.2, -150.0, 4.0)


NOISE_MODELS = {
    # noise model, photons a pixel
    "gaussian": (Gaussian(7.0), None),
    "mixture": (heavy_tailed(), None),
    "poisson, 0.3": (PHOTONS, 0.3),
    "poisson, 3": (PHOTONS, 3.0),
    "poisson, 100": (PHOTONS, 100.0),
    "sharp peaks": (PoissonGaussian(2.0, 100.0, 0.3), 3.0),
    "broad peaks": (PoissonGaussian(2.0, 100.0, 3.0), 20.0),
    "bright": (PoissonGaussian(2.0, 100.0, 3.0), 400.0),
    "exponential pulses": (GammaPoisson(2.0, 1.0, 100.0, 0.6, 100.0), 2.0),
    "many exponential pulses": (GammaPoisson(2.0, 1.0, 100.0, 3.0, 100.0), 100.0),
    "gamma pulses": (GammaPoisson(2.0, 0.5, 100.0, 0.3, 100.0), 3.0),
}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def split(noise_model, noisy, fraction, generator):
    """As `r2r` does it."""
    net = denoiser(torch.nn.Identity(), [float(noisy.mean())], [30.0], [noise_model], dims=noisy.ndim - 2)
    return thinned_pair(net, noisy, fraction, generator)


@cache
def parts(name, fraction=FRACTION, size=(1, 1, 400, 500)):
    """x, x₁ and x₂ of an even signal, the signal, and the variance of the noise."""
    noise_model, photons = NOISE_MODELS[name]
    signal = 150.0 if photons is None else float(noise_model.offset) + float(noise_model.gain) * photons
    at = torch.full(size, signal)
    noisy = noise_model.sample(at, rng(1))
    variance = float(noise_model.mean_var(at.flatten()[:1].double())[1])
    return noisy, *split(noise_model, noisy, fraction, rng(2)), signal, variance


def errors_of(first, second):
    """The correlation of two images, in standard errors."""
    first, second = ((part - part.mean()).flatten().double() for part in (first, second))
    product = first * second
    return float(product.mean() / product.std() * math.sqrt(len(product)))


@pytest.mark.parametrize("fraction", [0.15, 0.5])
@pytest.mark.parametrize("name", NOISE_MODELS)
def test_the_parts_add_up_to_the_image(name, fraction):
    noisy, first, second, *_ = parts(name, fraction, (2, 1, 40, 50))
    assert first.shape == second.shape == noisy.shape and first.dtype == noisy.dtype
    torch.testing.assert_close((1 - fraction) * first + fraction * second, noisy, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("fraction", [0.15, 0.5])
@pytest.mark.parametrize("name", NOISE_MODELS)
def test_moments_of_the_parts(name, fraction):
    """Mean s, variances v / (1 − α) and v / α."""
    _, first, second, signal, variance = parts(name, fraction)
    for part, expected in ((first, variance / (1 - fraction)), (second, variance / fraction)):
        part = part.flatten().double()
        assert abs(float(part.mean()) - signal) < 5 * math.sqrt(expected / len(part))
        squares = (part - signal) ** 2
        assert abs(float(squares.mean()) - expected) < 5 * float(squares.std()) / math.sqrt(len(part)) + 0.01 * expected


@pytest.mark.parametrize("name", NOISE_MODELS)
def test_the_parts_are_uncorrelated(name):
    """Neither the parts, nor their squares, nor a part and the square of the other are correlated."""
    _, first, second, signal, _ = parts(name)
    first, second = first - signal, second - signal
    if name == "mixture":  # which is not thinned; Gaussian noise of its variance is added instead
        assert abs(float(np.corrcoef(first.flatten(), second.flatten())[0, 1])) < 0.015
        return
    if name in ("sharp peaks", "broad peaks", "bright") or "pulses" in name:
        # The number of photons is drawn by a guess of the signal, so independence is not exact: a percent is allowed.
        correlation = float(np.corrcoef(first.flatten(), second.flatten())[0, 1])
        assert abs(correlation) < 0.01
        squares = float(np.corrcoef(first.flatten() ** 2, second.flatten() ** 2)[0, 1])
        assert abs(squares) < 0.015
        return
    assert abs(errors_of(first, second)) < 4
    assert abs(errors_of(first**2, second**2)) < 4
    assert abs(errors_of(first**2, second)) < 4 and abs(errors_of(first, second**2)) < 4


@pytest.mark.parametrize(("gain", "read_noise", "photons"), [(1.0, 1.6, 0.05), (2.0, 1.0, 0.5)])
def test_hardly_correlated_where_read_noise_hides_single_photons(gain, read_noise, photons):
    noise_model, signal = PoissonGaussian(gain, 100.0, read_noise), 100 + gain * photons
    noisy = noise_model.sample(torch.full((1, 1, 500, 500), signal), rng(1))
    first, second = (part.flatten() for part in split(noise_model, noisy, FRACTION, rng(2)))
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.03
    variance = gain**2 * photons + read_noise**2
    assert float(first.var()) == pytest.approx(variance / (1 - FRACTION), rel=0.03)
    assert float(second.var()) == pytest.approx(variance / FRACTION, rel=0.07)


@pytest.mark.parametrize("spread", [0.5, 1.0])
@pytest.mark.parametrize("photons", [0.3, 2.0, 20.0])
def test_gamma_poisson_noise_of_a_known_signal_has_independent_parts(monkeypatch, spread, photons):
    """With s itself as the guess. Split as counted photons of the same variance, the parts would be dependent."""
    noise_model = GammaPoisson(5.0, spread, 100.0, 1.0, 100.0)
    signal = 100 + 5.0 * photons
    noisy = noise_model.sample(torch.full((1, 1, 500, 500), signal), rng(1))
    monkeypatch.setattr(thinning, "neighbour_mean", lambda image: torch.full_like(image, signal))
    first, second = (part - signal for part in split_noisy(noise_model, noisy, 0.5, (signal, 5.0), rng(2)))
    assert abs(errors_of(first, second)) < 4
    assert abs(errors_of(first**2, second)) < 4 and abs(errors_of(first, second**2)) < 4
    counted = PoissonGaussian(5.0 * (1 + spread**2), 100.0, 0.0)
    first, second = (part - signal for part in split_noisy(counted, noisy, 0.5, (signal, 5.0), rng(2)))
    if spread == 1.0:
        assert abs(errors_of(first**2, second)) > 4


@pytest.mark.parametrize("photons", [0.3, 3.0])
def test_counts_are_independent_poisson_numbers(photons):
    """The joint table of both counts against the product of two Poisson distributions: chi-square."""
    noisy, first, second, *_ = parts(f"poisson, {photons:g}", 0.3)
    counts = [((part - 100) / 2 * share).flatten().numpy() for part, share in ((first, 0.7), (second, 0.3))]
    for part in counts:
        np.testing.assert_allclose(part, part.round(), atol=1e-3)
    sides = [int(part.max()) + 2 for part in counts]
    table = np.histogram2d(*(part.round() for part in counts), [np.arange(side) - 0.5 for side in sides])[0]
    mass = [stats.poisson.pmf(np.arange(n - 1), photons * share) for n, share in zip(sides, (0.7, 0.3), strict=True)]
    expected = noisy.numel() * np.outer(*mass)
    enough = expected > 5
    chi_squared = ((table - expected)[enough] ** 2 / expected[enough]).sum()
    assert enough.sum() > 5
    assert stats.chi2.sf(chi_squared, int(enough.sum())) > 1e-3


def test_a_split_image_is_as_good_a_target_as_in_noise2noise():
    """The best linear prediction of x₂ from x₁, over signals of all brightnesses, is that of s."""
    noise_model = PoissonGaussian(2.0, 100.0, 3.0)
    signal = (150 + 100 * torch.rand((1, 1, 500, 20), generator=rng())).repeat_interleave(25, 3)
    first, second = (
        part.flatten().double() for part in split(noise_model, noise_model.sample(signal, rng(1)), FRACTION, rng(2))
    )
    s = signal.flatten().double()
    slopes = [float(((first - first.mean()) * (y - y.mean())).mean() / first.var()) for y in (second, s)]
    assert slopes[0] == pytest.approx(slopes[1], abs=0.015)
    leaking = float(((first - first.mean()) * (first - first.mean())).mean() / first.var())
    assert leaking - slopes[1] > 0.1  # with a target that shared the noise, the slope would be larger


def test_splits_are_reproducible():
    noise_model, _ = NOISE_MODELS["broad peaks"]
    noisy = noise_model.sample(torch.full((1, 1, 30, 30), 130.0), rng())
    one, two, other = (split(noise_model, noisy, FRACTION, rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1]) and not torch.equal(one[1], other[1])


def test_images_in_double_precision_are_split():
    noisy = PHOTONS.sample(torch.full((1, 1, 30, 30), 130.0), rng()).double()
    first, second = split_noisy(PHOTONS, noisy, FRACTION, (130.0, 30.0), rng())
    torch.testing.assert_close((1 - FRACTION) * first + FRACTION * second, noisy)


@pytest.mark.parametrize("size", [(7, 9), (1, 6), (3, 5, 4)])
def test_the_neighbour_mean_against_a_loop(size):
    image = torch.rand((2, 1, *size), generator=rng())
    found = neighbour_mean(image)
    for at in np.ndindex(*size):
        window = tuple(slice(max(0, a - 1), a + 2) for a in at)
        values = image[(0, 0, *window)]
        expected = (values.sum() - image[(0, 0, *at)]) / (values.numel() - 1)
        assert float(found[(0, 0, *at)]) == pytest.approx(float(expected), abs=1e-5)


# -- noise models that give only the size of the noise ---------------------------------------------


def few_photons():
    """Noise of about two photons, rounded, and a measured model of it: a mixture with the same variance line."""
    noise_model = PoissonGaussian(2.2, 90.9, 0.7, Quantization(1.0))
    noisy = noise_model.sample(torch.full((1, 1, 400, 500), 95.3), rng(1))
    mixture = Mixture(
        torch.tensor([90.0, 130.0], dtype=torch.float64), torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, 1),
        torch.tensor([0.001, 6.0]), 2.2, -2.2 * 90.9 + 0.5, 0.5, Quantization(1.0),
    )  # fmt: skip
    return noisy, mixture


def test_noise_of_few_photons_is_split_as_photons_whatever_the_noise_model():
    """Skewed noise that is split as if it were Gaussian trains a network to keep what is bright."""
    noisy, noise_model = few_photons()
    first, second = (part.flatten().double() - 95.3 for part in split(noise_model, noisy, 0.3, rng(2)))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first**2, second)[0, 1]) < 0.02
    gaussian = [part.flatten().double() - 95.3 for part in split(Gaussian(float(noisy.std())), noisy, 0.3, rng(2))]
    assert abs(np.corrcoef(gaussian[0] ** 2, gaussian[1])[0, 1]) > 0.05


def test_the_photon_noise_has_the_variance_of_the_noise_model():
    _, noise_model = few_photons()
    found = as_photon_noise(noise_model, 110.0, 10.0)
    assert isinstance(found, PoissonGaussian)
    signal = torch.linspace(95, 140, 30, dtype=torch.float64)
    torch.testing.assert_close(found.mean_var(signal)[1], noise_model.mean_var(signal)[1], rtol=0.02, atol=0)


@pytest.mark.parametrize("noise_model", [Gaussian(7.0), Gaussian(0.4, Quantization(1.0)), PHOTONS])
def test_gaussian_noise_and_photons_are_split_as_they_are(noise_model):
    assert as_photon_noise(noise_model, 300.0, 40.0) is noise_model


# -- the variance line -----------------------------------------------------------------------------


OTHERS = {
    "gaussian": Gaussian(7.0),
    "whole": Gaussian(0.4, Quantization(1.0)),
    "mixture": heavy_tailed(),
    "poisson": PHOTONS,
    "poisson-gaussian": PoissonGaussian(2.2, 100.0, 3.5, Quantization(4.0)),
    "with rows": Correlated(PoissonGaussian(2.2, 100.0, 3.5), row_kernel=4.0, quantization=Quantization(1.0)),
    "field": Correlated(Gaussian(5.0), torch.ones(1, 3), column_kernel=torch.tensor([2.0, 1.0])),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_variance_line_of_any_noise_model(name):
    noise_model, mean, std = OTHERS[name], 300.0, 40.0
    signal = torch.linspace(mean - 2.5 * std, mean + 2.5 * std, 50, dtype=torch.float64)
    slope, intercept = linear_variance(noise_model, mean, std)
    torch.testing.assert_close(slope * signal + intercept, noise_model.mean_var(signal)[1], rtol=0.01, atol=0)


def test_rounding_is_part_of_the_variance_line():
    noise_model = OTHERS["poisson-gaussian"]
    slope, intercept = linear_variance(noise_model, 110.0, 4.0)
    assert slope * 110 + intercept == pytest.approx(2.2 * 10 + 3.5**2 + 4**2 / 12, rel=1e-6)


def test_the_variance_line_is_that_of_sampled_noise():
    """Not that of `mean_var` alone: pixels of rows with a common offset, rounded."""
    noise_model = OTHERS["with rows"]
    drawn = noise_model.sample(torch.full((100, 60, 60), 300.0, dtype=torch.float64), rng()) - 300
    slope, intercept = linear_variance(noise_model, 300.0, 40.0)
    assert slope * 300 + intercept == pytest.approx(float(drawn.var()), rel=0.02)


# -- the method ------------------------------------------------------------------------------------


def test_each_channel_is_split_by_its_own_noise_model():
    """Parts of a noise-free scene: the variance added is v α / (1 − α) in x₁ and v (1 − α) / α in x₂."""
    net = denoiser(torch.nn.Identity(), [100.0, 200.0], [20.0, 30.0], [Gaussian(4.0), Gaussian(12.0)])
    noisy = torch.full((2, 2, 200, 200), 150.0)
    first, second = thinned_pair(net, noisy, 0.2, rng())
    for channel, std in enumerate((4.0, 12.0)):
        assert float(first[:, channel].std()) == pytest.approx(std * 0.25**0.5, rel=0.02)
        assert float(second[:, channel].std()) == pytest.approx(std * 4**0.5, rel=0.02)
        assert abs(float(second[:, channel].mean()) - 150) < 5 * std * 2 / 280


def test_the_loss_of_r2r_is_that_between_its_parts_at_valid_pixels():
    net = denoiser(torch.nn.Identity(), [100.0], [20.0], [Gaussian(4.0)])
    noisy, valid = 100 + torch.rand((1, 1, 20, 20), generator=rng()), torch.zeros((1, 1, 20, 20), dtype=torch.bool)
    valid[0, 0, 3:9] = True
    loss = R2R().loss(net, Batch(noisy=noisy, valid=valid, generator=rng(5)))
    first, second = thinned_pair(net, noisy, R2R().split_fraction, rng(5))
    assert float(loss) == pytest.approx(float((((first - second) / 20) ** 2)[valid].mean()), rel=1e-5)


def test_pixel_maps_are_split_or_refused_in_one_sentence():
    """Pixel maps hold a noise model for each pixel: r2r uses the typical one, or refuses them in one sentence."""
    noise_model = PixelMaps(torch.full((20, 20), 2.0), torch.full((20, 20), 100.0), torch.full((20, 20), 3.0))
    net = denoiser(torch.nn.Identity(), [150.0], [20.0], [noise_model])
    with suppress(UserError):
        first, second = thinned_pair(net, torch.full((1, 1, 20, 20), 150.0), 0.15, rng())
        assert torch.isfinite(first).all() and torch.isfinite(second).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 8, 8), (1, 1, 2, 8, 8), (1, 1, 5, 6, 7), (2, 1, 1, 9)])
def test_neighbours_of_small_stacks_are_averaged(shape):
    image = torch.arange(float(np.prod(shape))).reshape(shape)
    found = neighbour_mean(image)
    first = image[(0, 0)]
    corner = first[tuple(slice(0, 2) for _ in first.shape)].flatten()
    assert found.flatten()[0] == pytest.approx(float(corner[1:].mean()))
