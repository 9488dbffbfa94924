"""Inverted images: their noise falls with the pixel value, is measured so, and is removed as well as that of others."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import noisewise as nw
from noisewise.noise.ops.stabilize import Stabilizer

from .conftest import blobs

SCENE = 20 + 1.5 * (blobs((128, 128)) - 20)
NOISY = np.random.default_rng(0).poisson(SCENE).astype(np.float32)


def test_the_line_falls():
    usual, inverted = nw.measure(NOISY), nw.measure(255 - NOISY)
    assert inverted.line.slope == pytest.approx(-usual.line.slope, rel=0.1)
    assert any("inverted" in warning for warning in inverted.warnings)
    models = inverted.pixel_noise, usual.pixel_noise
    for signal in (90.0, 120.0):
        found, expected = (
            float(model.mean_var(torch.tensor(at, dtype=torch.float64))[1])
            for model, at in zip(models, (255 - signal, signal), strict=True)
        )
        assert found == pytest.approx(expected, rel=0.1)


def test_constant_noise_has_no_slope():
    image = SCENE + np.random.default_rng(1).normal(0, 8, SCENE.shape)
    assert nw.measure(image).line.slope >= 0


def test_the_transform_of_an_inverted_image_is_that_of_the_image():
    one = torch.ones(1)
    usual = Stabilizer.from_variance(one, 4 * one, 4 * one, 50 * one)
    falling = Stabilizer.from_variance(-one, 4 * one, 4 * one, -50 * one)
    x = torch.linspace(-20, 300, 200)
    torch.testing.assert_close(falling(-x), usual(x))
    torch.testing.assert_close(falling.inverse(falling(-x)), -x, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(falling.variance(-x), usual.variance(x))
    torch.testing.assert_close(falling.relative_shot_noise(-x), usual.relative_shot_noise(x))


def test_denoised_as_well_as_the_image_itself():
    usual, inverted = nw.denoise(NOISY, steps=0), nw.denoise(255 - NOISY, steps=0)
    error, expected = (np.std(part - SCENE) for part in (255 - inverted.mean, usual.mean))
    assert error < 1.06 * expected


def test_noise_of_a_logarithm_is_followed():
    """Var[log(1 + n)] is about 1 / n: it falls, and not along a line."""
    photons = np.exp((SCENE - SCENE.min()) / np.ptp(SCENE) * np.log(30)) * 4
    noisy = np.log1p(np.random.default_rng(0).poisson(photons))
    found = nw.measure(noisy.astype("float32"))
    assert any("logarithm" in warning for warning in found.warnings)
    signal = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)
    variance = found.pixel_noise.mean_var(signal)[1].numpy()
    assert variance[:2] == pytest.approx(np.exp(-signal[:2].numpy()), rel=0.5) and variance[2] < 0.4 * variance[0]
    denoised = nw.denoise(noisy.astype("float32"), steps=0).mean
    repeats = np.random.default_rng(1).poisson(photons, (300, *photons.shape))
    truth = np.log1p(repeats).mean(0)
    assert np.std(denoised - truth) < 0.5 * np.std(noisy - truth)


def test_dark_texture_on_an_even_bright_field_does_not_make_the_noise_fall():
    rng = np.random.default_rng(0)
    texture = gaussian_filter(rng.normal(size=(256, 256)), 1.5)
    y, x = np.mgrid[:256, :256]
    inside = np.hypot(y - 128, x - 128) < 70
    bright = 200 - inside * (60 + 25 * texture / texture.std())
    found = nw.measure((bright + rng.normal(0, 5, bright.shape)).astype("float32"))
    assert not any("logarithm" in warning for warning in found.warnings)
