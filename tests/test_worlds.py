"""Worlds with known posteriors, against dense linear algebra, enumeration and Monte Carlo."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.testing.worlds import FiniteWorld, GaussianWorld, decibel_gap

TINY = GaussianWorld(side=8, mean=100.0, std=20.0, length=2.0, roughness=1.5, sigma=15.0, border=0)
KERNEL = ((0.0, 0.3, 0.1), (0.4, 1.0, 0.4), (0.1, 0.3, 0.0))
CORRELATED = replace(TINY, kernel=KERNEL)
GAUSSIAN_WORLDS = pytest.mark.parametrize("world", [TINY, CORRELATED], ids=["white", "correlated"])


def covariance(world):
    """Covariance of the signals, (side², side²): the sum over waves that defines a stationary field on a torus."""
    side = world.side
    f = 2 * np.pi * np.fft.fftfreq(side)
    power = (1 + world.length**2 * (f[:, None] ** 2 + f**2)) ** -world.roughness
    power *= world.std**2 / power.mean()
    steps = np.arange(side)
    y, x = (np.repeat(steps, side), np.tile(steps, side))
    found = np.zeros((side**2, side**2))
    for i in range(side):
        for j in range(side):
            phase = f[i] * (y[:, None] - y) + f[j] * (x[:, None] - x)
            found += power[i, j] / side**2 * np.cos(phase)
    return found


def noise_covariance(world):
    """Covariance of the noise, (side², side²): white noise convolved with the kernel on a torus, pixel by pixel."""
    side, kernel = world.side, np.array(world.kernel)
    convolution = np.zeros((side**2, side**2))
    for pixel in range(side**2):
        for y in range(kernel.shape[0]):
            for x in range(kernel.shape[1]):
                row, column = (pixel // side + y) % side, (pixel % side + x) % side
                convolution[pixel, row * side + column] += kernel[y, x]
    return world.sigma**2 * convolution @ convolution.T / (kernel**2).sum()


# -- Gaussian worlds -------------------------------------------------------------------------------


def test_the_planted_covariance_has_the_planted_variance():
    np.testing.assert_allclose(np.diag(covariance(TINY)), TINY.std**2, rtol=1e-12)


@GAUSSIAN_WORLDS
def test_the_posterior_is_that_of_linear_algebra(world):
    """E[s|x] = m + C (C + N)⁻¹ (x − m), covariance C − C (C + N)⁻¹ C."""
    c = covariance(world)
    _, noisy = world.draw(3, seed=1)
    gain = c @ np.linalg.inv(c + noise_covariance(world))
    expected = 100 + (noisy.double().numpy().reshape(3, 64) - 100) @ gain.T
    found = world.posterior(noisy)
    np.testing.assert_allclose(found.mean.reshape(3, 64), expected, rtol=1e-9)
    np.testing.assert_allclose(found.std.reshape(3, 64), np.sqrt(np.diag(c - gain @ c))[None].repeat(3, 0), rtol=1e-9)


@GAUSSIAN_WORLDS
def test_the_blind_spot_posterior_is_that_of_linear_algebra(world):
    """Without the row and column of the pixel."""
    c, n = covariance(world), noise_covariance(world)
    _, noisy = world.draw(2, seed=2)
    found = world.blind_spot_posterior(noisy)
    x = noisy.double().numpy().reshape(2, 64)
    for pixel in (0, 7, 27, 63):
        rest = np.delete(np.arange(64), pixel)
        weights = np.linalg.solve((c + n)[np.ix_(rest, rest)], c[rest, pixel])
        expected = 100 + (x[:, rest] - 100) @ weights
        np.testing.assert_allclose(found.mean.reshape(2, 64)[:, pixel], expected, rtol=1e-9)
        variance = c[pixel, pixel] - c[pixel, rest] @ weights
        np.testing.assert_allclose(found.std.reshape(2, 64)[:, pixel], math.sqrt(variance), rtol=1e-9)


@GAUSSIAN_WORLDS
def test_the_blind_spot_posterior_does_not_depend_on_the_pixel(world):
    _, noisy = world.draw(1, seed=3)
    other = noisy.clone()
    other[0, 3, 4] += 1000
    one, two = world.blind_spot_posterior(noisy).mean, world.blind_spot_posterior(other).mean
    assert float((one - two).abs()[0, 3, 4]) < 1e-9 < 1 < float((one - two).abs()[0, 3, 5])


@GAUSSIAN_WORLDS
def test_draws_have_the_covariance_and_noise(world):
    signal, noisy = world.draw(6000, seed=4)
    assert signal.dtype == noisy.dtype == torch.float32
    c, residual = covariance(world), signal.double().reshape(-1, 64).numpy() - 100
    np.testing.assert_allclose(residual.T @ residual / len(residual), c, atol=6 * 400 / math.sqrt(len(residual)))
    noise = (noisy - signal).double()
    assert float(noise.std()) == pytest.approx(15, rel=0.01)
    residual = noise.reshape(-1, 64).numpy()
    np.testing.assert_allclose(
        residual.T @ residual / len(residual), noise_covariance(world), atol=6 * 225 / math.sqrt(len(residual))
    )


@GAUSSIAN_WORLDS
@pytest.mark.parametrize("answer", ["posterior", "blind_spot_posterior"])
def test_mean_squared_errors_equal_the_variance(answer, world):
    """E (s − E[s|x])² = E Var[s|x], over draws."""
    signal, noisy = world.draw(3000, seed=5)
    found = getattr(world, answer)(noisy)
    squares = (signal.double() - found.mean) ** 2
    error = float(squares.mean((1, 2)).std()) / math.sqrt(3000)
    assert abs(float(squares.mean()) - float((found.std**2).mean())) < 4 * error
    assert abs(float((signal.double() - found.mean).mean())) < 4 * float(signal.mean((1, 2)).std()) / math.sqrt(3000)


# -- finite worlds ---------------------------------------------------------------------------------

WORLDS = {
    "photons": FiniteWorld(PoissonGaussian(1.0, 0.0, 0.4), side=7),
    "camera": FiniteWorld(PoissonGaussian(2.0, 100.0, 3.0), side=7, brightnesses=(2.0, 5.0), gain=2.0, offset=100.0),
    "white": FiniteWorld(Gaussian(1.5), side=6, background=3.0, brightnesses=(1.0, 4.0)),
}


def all_signals(world):
    """All possible images of the world, drawn one by one: (figures · brightnesses · places, side, side)."""
    found = []
    for figure in world.figures.numpy():
        for brightness in world.brightnesses:
            for y in range(world.side - 4):
                for x in range(world.side - 4):
                    electrons = np.full((world.side, world.side), world.background)
                    electrons[y : y + 5, x : x + 5] += brightness * figure
                    found.append(world.offset + world.gain * electrons)
    return np.array(found)


def log_likelihood(world, noisy, signals):
    """log p(x_i | s_i) of each pixel for each possible image, (H, side, side)."""
    s = torch.as_tensor(signals)
    return world.noise.log_prob(noisy.double().expand_as(s), s).numpy()


def enumerated(name, seed):
    """A world, a noisy image, all possible signals, and log p(x_i | s_i) for each."""
    world = WORLDS[name]
    signals, (_, noisy) = all_signals(world), world.draw(1, seed)
    return world, noisy, signals, log_likelihood(world, noisy[0], signals)


def moments(weight, signals):
    mean = np.einsum("hyx,hyx->yx", weight, signals)
    return mean, np.sqrt(np.einsum("hyx,hyx->yx", weight, (signals - mean) ** 2))


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_posterior_is_that_of_enumeration(name, seed):
    world, noisy, signals, each = enumerated(name, seed)
    total = each.sum((1, 2))
    weight = np.exp(total - total.max())
    weight = np.broadcast_to((weight / weight.sum())[:, None, None], signals.shape)
    mean, std = moments(weight, signals)
    found = world.posterior(noisy)
    np.testing.assert_allclose(found.mean[0], mean, rtol=1e-8)
    np.testing.assert_allclose(found.std[0], std, rtol=1e-5, atol=1e-6 * world.gain)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_blind_spot_posterior_is_that_of_enumeration_without_the_pixel(name, seed):
    world, noisy, signals, each = enumerated(name, seed)
    without = each.sum((1, 2))[:, None, None] - each  # for each pixel, all others
    weight = np.exp(without - without.max(0))
    mean, std = moments(weight / weight.sum(0), signals)
    found = world.blind_spot_posterior(noisy)
    np.testing.assert_allclose(found.mean[0], mean, rtol=1e-8)
    np.testing.assert_allclose(found.std[0], std, rtol=1e-5, atol=1e-6 * world.gain)


@pytest.mark.parametrize("name", WORLDS)
def test_all_possible_images_are_drawn_equally_often(name):
    """By a chi-square test."""
    world = WORLDS[name]
    signals, (drawn, noisy) = all_signals(world).astype(np.float32), world.draw(4000, seed=6)
    keys = {image.tobytes(): i for i, image in enumerate(signals)}
    assert len(keys) == len(signals)
    counts = np.bincount([keys[image.tobytes()] for image in drawn.numpy()], minlength=len(signals))
    expected = 4000 / len(signals)
    degrees = len(signals) - 1
    assert abs(((counts - expected) ** 2 / expected).sum() - degrees) < 4 * math.sqrt(2 * degrees)
    variance = float(world.noise.mean_var(drawn.double())[1].mean())
    assert float(((noisy - drawn).double() ** 2).mean()) == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("name", WORLDS)
def test_mean_squared_errors_of_figures_equal_the_variance(name):
    """Also, the blind-spot posterior has a larger error than the posterior, and a smaller one than the noisy image."""
    world = WORLDS[name]
    signal, noisy = world.draw(300, seed=7)
    errors = []
    for found in (world.posterior(noisy), world.blind_spot_posterior(noisy)):
        squared = (signal.double() - found.mean) ** 2
        difference = (squared - found.std**2).mean((1, 2))
        assert abs(float(difference.mean())) < 4 * float(difference.std()) / math.sqrt(300)
        assert float((found.std**2).mean()) > 0.01 * world.gain**2  # the posterior is not degenerate
        errors.append(float(squared.mean()))
    assert errors[0] < errors[1] < float(((noisy - signal).double() ** 2).mean())


def test_the_gap_is_in_decibels():
    assert decibel_gap(torch.tensor([2.0, 2.0]), torch.tensor([1.0, 1.0])) == pytest.approx(20 * math.log10(2))
    assert decibel_gap(torch.tensor([1.0, -3.0]), torch.tensor([5.0**0.5, 5.0**0.5])) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "world",
    [
        GaussianWorld(side=32, border=0),
        GaussianWorld(side=32, border=0, kernel=KERNEL),
        FiniteWorld(PoissonGaussian(2.5, 50.0, 2.0), gain=2.5, offset=50.0),
    ],
    ids=["gaussian", "correlated", "finite"],
)
def test_samples_have_the_moments_of_the_posterior(world):
    noisy = world.draw(3, 5)[1]
    exact, drawn = world.posterior(noisy), world.sample(noisy, 2000, seed=0).double()
    assert drawn.shape == (3, 2000, world.side, world.side)
    floor = 0.02 * float(exact.std.max())
    assert ((drawn.mean(1) - exact.mean).abs() < 5 * exact.std / 2000**0.5 + floor).all()
    # All pixels together, since rare values are rarely sampled in one pixel.
    assert float(drawn.var(1).mean()) == pytest.approx(float((exact.std**2).mean()), rel=0.04)


def test_samples_of_a_finite_world_are_of_that_world():
    """Each sample shows one of the figures, in one of the brightnesses."""
    world = FiniteWorld(PoissonGaussian(1.0, 0.0, 0.0))
    drawn = world.sample(world.draw(4, 5)[1], 20, seed=1).flatten(0, 1)
    assert torch.isin(drawn, world.levels.float()).all()
    for image in drawn:
        inked = (image != image.min()).nonzero()
        assert ((inked.amax(0) - inked.amin(0)) == 4).all()


def test_the_spectral_likelihood_is_that_of_linear_algebra():
    """On a torus, log N(x; s, N) of all pixels together."""
    world = replace(TINY, side=16, kernel=((0.1, 0.3, 0.0), (0.2, 1.0, 0.1), (0.0, 0.1, 0.2)))
    signal, noisy = (part[:2].double() for part in world.draw(2, seed=8))
    found = world.noise.log_prob_image(noisy, signal).sum((1, 2))
    n = noise_covariance(world)
    rest = (noisy - signal).reshape(2, -1).numpy()
    _, log_det = np.linalg.slogdet(2 * np.pi * n)
    expected = -0.5 * np.einsum("ni,ij,nj->n", rest, np.linalg.inv(n), rest) - 0.5 * log_det
    np.testing.assert_allclose(found, expected, rtol=1e-6)
