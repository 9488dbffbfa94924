"""PSNR and SSIM against scikit-image's."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from noisewise.evaluate.metrics import psnr, ssim


@pytest.fixture(params=[(40, 56), (11, 11)])
def pair(request):
    rng = np.random.default_rng(3)
    truth = rng.normal(100, 20, request.param).cumsum(0).cumsum(1)
    return (truth + rng.normal(0, 0.1 * truth.std(), truth.shape)).astype(np.float32), truth.astype(np.float32)


@pytest.mark.parametrize("data_range", [50.0, 4000.0])
def test_psnr(pair, data_range):
    image, truth = pair
    expected = peak_signal_noise_ratio(truth.astype(float), image.astype(float), data_range=data_range)
    assert psnr(image, truth, data_range) == pytest.approx(expected, rel=1e-6)
    assert psnr(truth, truth, data_range) == np.inf


@pytest.mark.parametrize("data_range", [50.0, 4000.0])
def test_ssim(pair, data_range):
    image, truth = pair
    expected = structural_similarity(
        truth.astype(float), image.astype(float), data_range=data_range, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert ssim(image, truth, data_range) == pytest.approx(expected, rel=1e-6)
    assert ssim(truth, truth, data_range) == pytest.approx(1.0)
