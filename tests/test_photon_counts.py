"""Images of few photons: recognised, measured, denoised with the right mean; and the mean of every method's result."""

import contextlib

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise import methods
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from noisewise.predict.mean import measure_correction

from .conftest import blobs

SHAPE = (128, 128)
SCENE = blobs(SHAPE) / blobs(SHAPE).mean()


def counts(rate, seed=0, step=1):
    return (step * np.random.default_rng(seed).poisson(rate * SCENE)).astype(np.uint16)


@pytest.mark.parametrize("step", [1, 257])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3, 1.5])
def test_few_photons_are_white_with_a_gain_of_one(rate, step):
    report = nw.measure(counts(rate, step=step))
    assert report.few_photons and report.kind == "white" and "photon" in report.verdict
    assert report.gain_adu_per_e.value == step
    assert report.std(rate * step) == pytest.approx(step * rate**0.5)
    assert isinstance(report.noise, PoissonGaussian) and report.noise.rounding_variance == 0
    assert not any("clipped" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    "image",
    [
        (SCENE > 1.2).astype(np.uint8),  # a mask
        np.clip(np.random.default_rng(0).normal(0, 3, SHAPE), 0, 255).astype(np.uint8),  # clipped at zero
        np.random.default_rng(0).poisson(100 + SCENE).astype(np.uint16),  # with an offset
        3 * np.random.default_rng(0).poisson(SCENE) + np.random.default_rng(1).poisson(2.0, SHAPE),
    ],
)
def test_other_images_are_not_photon_counts(image):
    with contextlib.suppress(nw.UserError):  # a mask has no noise
        assert not nw.measure(image.astype(np.uint16)).few_photons


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3])
def test_few_photons_are_denoised_by_gap_and_keep_their_mean(rate):
    image = counts(rate)
    result = nw.denoise(image, budget="2s")
    assert result.model.provenance["method"] == "gap"
    assert result.mean.mean() == pytest.approx(image.mean(), rel=0.005)
    assert result.mean.min() >= 0
    error, noise = (float(np.mean((part - rate * SCENE) ** 2)) for part in (result.mean, image))
    assert error < 0.2 * noise
    assert any("too few to learn from" in note for note in result.notes) == (image.sum() < 5000)


def test_samples_and_std_of_few_photons_have_the_mean_too():
    image = counts(0.3)
    posterior = nw.denoise(image, budget="1s").posterior
    assert posterior.sample(4).mean() == pytest.approx(image.mean(), rel=0.05)
    assert (posterior.std > 0).all()


@pytest.mark.parametrize("name", ["n2v", "pn2v", "r2r", "sure", "simulated", "n2n"])
def test_every_method_keeps_the_mean_of_each_channel_after_a_few_steps(name):
    scene = np.stack([100 + 40 * SCENE, 100 + 40 * SCENE[::-1]])
    image, second = (np.random.default_rng(seed).poisson(scene).astype(np.float32) for seed in (0, 1))
    model = nw.train(name, image, second if name == "n2n" else None, axes="CYX", steps=2)
    dim = np.random.default_rng(2).poisson(100 + 0.1 * (scene - 100)).astype(np.float32)
    for noisy in (image, dim):
        mean = model.predict(noisy, axes="CYX").mean
        np.testing.assert_allclose(mean.mean((1, 2)), noisy.mean((1, 2)), rtol=0.005)


def test_outliers_and_clean_targets_do_not_move_the_mean():
    image = np.random.default_rng(0).poisson(100 + 40 * SCENE).astype(np.float32)
    model = nw.train("n2v", image, steps=2)
    noisy = image[None, None].copy()
    noisy[..., ::16, ::16] += 3000
    for bias in (0.0, 5.0):
        pairs = iter([(noisy, 100 + 40 * SCENE[None, None] + bias)])
        found = measure_correction(model.net, pairs, np.array([np.nan]))
        np.testing.assert_allclose(found.shift.ravel(), -bias, atol=0.5)
    trained = nw.train("care", image, 2 * image, steps=2)
    mean = trained.predict(image).mean.mean()
    assert abs(mean / image.mean() - 1) > 0.2


def test_rounding_adds_nothing_to_photon_counts():
    signal = torch.tensor([0.01, 1.0], dtype=torch.float64)
    exact = PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0))
    torch.testing.assert_close(exact.mean_var(signal)[1], signal)
    analogue = PoissonGaussian(1.5, 0.0, 0.0, Quantization(1.0))
    torch.testing.assert_close(analogue.mean_var(signal)[1], 1.5 * signal + 1 / 12)


def test_trained_photon_counting_is_never_worse_than_untrained():
    """Few steps end within the warm-up of the learning rate: the packaged weights are kept unless these are better."""
    image = counts(0.05)
    trained, untrained = (nw.denoise(image, method="gap", steps=steps).mean for steps in (20, 0))
    truth = 0.05 * SCENE
    assert np.mean((trained - truth) ** 2) < 1.2 * np.mean((untrained - truth) ** 2)
    assert "gap" in methods.having(lambda traits: traits.counts_only)
