"""Classical baselines: the transform against exact expectations, the denoisers on planted images."""

import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad_vec
from scipy.stats import norm, poisson

from noisewise import UserError
from noisewise.evaluate.metrics import psnr
from noisewise.testing.baselines import BRIGHT, anscombe, denoise_nlm, denoise_tv, denoise_wavelet, inverse_anscombe
from tests.conftest import blobs

DENOISERS = [denoise_nlm, denoise_wavelet, denoise_tv]
GAIN, OFFSET = 2.2, 100.0
READ_NOISES_E = [0.0, 0.3, 1.0, 1.6, 5.0]


def moments(electrons, read_noise_e):
    """Mean and variance of the stabilised value, by SciPy's adaptive quadrature over the read noise."""
    counts = np.arange(poisson.isf(1e-15, electrons) + 10)

    def powers(z):
        root = 2 * np.sqrt(np.maximum(counts + read_noise_e * z + 3 / 8 + read_noise_e**2, 0))
        return np.array([root, root**2])

    of_count = powers(0.0) if read_noise_e == 0 else quad_vec(lambda z: powers(z) * norm.pdf(z), -9, 9)[0]
    mean, square = of_count @ poisson.pmf(counts, electrons)
    return mean, square - mean**2


def expose(electrons, read_noise_e, seed=0):
    """An image in ADU."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(electrons) + rng.normal(0, read_noise_e, np.shape(electrons))
    return GAIN * counts + OFFSET


# -- the transform ---------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.floats(1, 100), st.just(0.0) | st.floats(0.01, 5))
@example(39.0, 0.0)  # on both sides of the closed form
@example(41.0, 1.6)
def test_the_inverse_is_unbiased(electrons, read_noise_e):
    mean, _ = moments(electrons, read_noise_e)
    found = (inverse_anscombe(mean, GAIN, OFFSET, GAIN * read_noise_e) - OFFSET) / GAIN
    assert found == pytest.approx(electrons, rel=0.001)  # ten times better than the requirement, 1 %


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.floats(0, 0.3), st.just(0.0) | st.floats(0.01, 5))
@example(0.0, 0.0)
@example(0.0, 1.6)
@example(0.3, 5.0)
def test_the_inverse_below_one_electron(electrons, read_noise_e):
    found = inverse_anscombe(moments(electrons, read_noise_e)[0], 1.0, 0.0, read_noise_e)
    assert found == pytest.approx(electrons, abs=0.003)


@pytest.mark.parametrize("read_noise_e", READ_NOISES_E)
def test_the_variance_is_one(read_noise_e):
    assert moments(10.0, read_noise_e)[1] == pytest.approx(1, abs=0.02)
    image = expose(np.full((300, 300), 10.0), read_noise_e)
    assert anscombe(image, GAIN, OFFSET, GAIN * read_noise_e).var() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("read_noise_e", READ_NOISES_E)
def test_the_inverse_rises_without_steps(read_noise_e):
    stable = np.linspace(0, 3 * np.sqrt(BRIGHT + read_noise_e**2), 20001)
    found = inverse_anscombe(stable, 1.0, 0.0, read_noise_e)
    steps = np.diff(found)
    assert (steps > 0).all() and np.isfinite(found).all()
    # the slope of the algebraic inverse is D/2; below its value without light, the inverse is linear
    assert steps.max() < 1.3 * stable.max() / 2 * (stable[1] - stable[0])


def test_units():
    image = np.array([[100.0, 104.4], [111.0, 320.0]])
    electrons = (image - OFFSET) / GAIN
    np.testing.assert_allclose(anscombe(image, GAIN, OFFSET, 2 * GAIN), anscombe(electrons, 1.0, 0.0, 2.0))
    stable = anscombe(image, GAIN, OFFSET, 2 * GAIN)
    in_electrons = inverse_anscombe(stable, 1.0, 0.0, 2.0)
    np.testing.assert_allclose(inverse_anscombe(stable, GAIN, OFFSET, 2 * GAIN), GAIN * in_electrons + OFFSET)


# -- the denoisers ---------------------------------------------------------------------------------


def planted(mean_e, seed=0):
    """A signal in electrons: smooth waves and a few discs with sharp edges."""
    signal = blobs((96, 100), seed).astype(float)
    y, x = np.mgrid[:96, :100]
    for centre_y, centre_x, radius in ((25, 30, 12), (60, 70, 18), (75, 20, 7)):
        signal[(y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2] *= 2
    return mean_e * signal / signal.mean()


@pytest.mark.parametrize("denoise", DENOISERS)
@pytest.mark.parametrize("read_noise_e", [0.0, 1.6])
@pytest.mark.parametrize(("mean_e", "least_db"), [(2.0, 11.0), (10.0, 8.0), (100.0, 5.0)])
def test_planted_images(denoise, read_noise_e, mean_e, least_db):
    """Averaging 13 pixels of a homogeneous image gains 11 dB, 6 pixels 8 dB, 3 pixels 5 dB."""
    truth = GAIN * planted(mean_e) + OFFSET
    noisy = expose(planted(mean_e), read_noise_e)
    denoised = denoise(noisy, GAIN, OFFSET, GAIN * read_noise_e)
    span = float(np.ptp(truth))
    assert denoised.shape == truth.shape
    assert psnr(denoised, truth, span) > psnr(noisy, truth, span) + least_db
    # tolerance: four standard errors of the noisy mean, and 0.5 % for blurred edges
    error = np.sqrt((mean_e + read_noise_e**2) / truth.size)
    assert (denoised.mean() - OFFSET) / GAIN == pytest.approx(mean_e, abs=4 * error + 0.005 * mean_e)


@pytest.mark.parametrize("denoise", DENOISERS)
@pytest.mark.parametrize("read_noise_e", [0.0, 1.0])
def test_half_a_photon(denoise, read_noise_e):
    truth, noisy = planted(0.5), (expose(planted(0.5), read_noise_e) - OFFSET) / GAIN
    denoised = denoise(noisy, 1.0, 0.0, read_noise_e)
    assert np.isfinite(denoised).all()
    assert denoised.min() > -0.1 - read_noise_e and denoised.max() < 2 * truth.max()
    assert psnr(denoised, truth, 1.0) > psnr(noisy, truth, 1.0) + 9
    assert denoised.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("denoise", DENOISERS)
@pytest.mark.parametrize("level_e", [0.0, 1.0, 20.0])
def test_a_homogeneous_image_keeps_its_mean(denoise, level_e):
    """The algebraic inverse, D²/4 − 3/8 − σ², would be a quarter of an electron too low."""
    denoised = denoise(expose(np.full((90, 90), level_e), 1.0), GAIN, OFFSET, GAIN)
    error = np.sqrt((level_e + 1) / denoised.size)
    assert (denoised.mean() - OFFSET) / GAIN == pytest.approx(level_e, abs=4 * error + 0.01 * level_e + 0.01)


@pytest.mark.parametrize("denoise", DENOISERS)
def test_stacks(denoise):
    truth = 4 * blobs((6, 32, 40)).astype(float) / 60
    noisy = np.random.default_rng(0).poisson(truth).astype(np.uint16)
    denoised = denoise(noisy, 1.0)
    assert denoised.shape == truth.shape
    assert psnr(denoised, truth, 5.0) > psnr(noisy, truth, 5.0) + 6


@pytest.mark.parametrize("denoise", DENOISERS)
def test_unusable_arguments_are_refused(denoise, monkeypatch):
    image = np.random.default_rng(0).poisson(5.0, (32, 32)).astype(float)
    for noise_model in ((0.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (1.0, np.nan, 0.0), (1.0, 0.0, -1.0), (np.inf, 0.0, 0.0)):
        with pytest.raises(UserError, match="gain"):
            denoise(image, *noise_model)
    with pytest.raises(UserError, match="shape"):
        denoise(image[0], 1.0)
    image[3, 4] = np.nan
    with pytest.raises(UserError, match="NaN"):
        denoise(image, 1.0)
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    with pytest.raises(UserError, match=r"skimage.*: pip install scikit-image pywavelets$"):
        denoise(image, 1.0)


def test_wavelets_need_pywavelets(monkeypatch):
    monkeypatch.setitem(sys.modules, "pywt", None)
    with pytest.raises(UserError, match=r"pywt.*: pip install scikit-image pywavelets$"):
        denoise_wavelet(np.ones((32, 32)), 1.0)
