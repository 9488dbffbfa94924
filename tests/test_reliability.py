"""Reliability of standard deviations, against exact posteriors: with and without the ground truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisewise.evaluate.calibration import Errors, reliability, reliability_without_truth, squared_errors
from noisewise.evaluate.noisy_share import noisy_share
from noisewise.methods.base import Denoiser, ImageSpec
from noisewise.noise.base import Noise
from noisewise.noise.fit.pairs import interpolate
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.specks import surround
from noisewise.noise.quantization import Quantization
from noisewise.posterior import Normal, Posterior
from noisewise.testing.worlds import GaussianWorld

WORLD = GaussianWorld(side=128)


def wiener(claim: float = 1.0):
    """The exact posterior of the world, with standard deviations multiplied by `claim`."""

    def denoise(x: Tensor) -> Posterior[Tensor]:
        exact = WORLD.posterior(x[:, 0])
        return Normal(exact.mean.float()[:, None], claim * exact.std.float()[:, None])

    return denoise


def smooth(radius: int, std: float):
    """The mean over a window, with a constant standard deviation."""

    def denoise(x: Tensor) -> Posterior[Tensor]:
        mean = torch.nn.functional.avg_pool2d(
            torch.nn.functional.pad(x, [radius] * 4, mode="reflect"), 2 * radius + 1, 1
        )
        return Normal(mean, torch.full_like(mean, std))

    return denoise


def test_an_exact_posterior_is_calibrated():
    signal, noisy = WORLD.draw(8, 1)
    post = wiener()(noisy[:, None])
    found = reliability(post.mean[:, 0], post.std[:, 0], signal)
    assert found.ratio == pytest.approx(1, abs=0.02) and found.ence < 0.03
    for coverage, fraction in found.coverage.items():
        assert fraction == pytest.approx(coverage, abs=0.01)


@pytest.mark.parametrize("claim", [0.6, 1.5])
def test_wrong_standard_deviations_are_found(claim):
    signal, noisy = WORLD.draw(8, 1)
    post = wiener(claim)(noisy[:, None])
    found = reliability(post.mean[:, 0], post.std[:, 0], signal)
    assert found.std_scale == pytest.approx(1 / claim, rel=0.03)
    assert found.ence == pytest.approx(abs(1 / claim - 1), rel=0.05)
    assert found.coverage[0.9] == pytest.approx(math.erf(1.6449 * claim / math.sqrt(2)), abs=0.01)


@pytest.mark.parametrize("claim", [0.6, 1.0, 1.5])
def test_reliability_without_the_truth(claim):
    """The noisy image and its noise model give the same ratio within the standard error."""
    signal, noisy = WORLD.draw(16, 2)
    generator = torch.Generator().manual_seed(0)
    estimated = reliability_without_truth(squared_errors(noisy[:, None], [WORLD.noise], wiener(claim), generator))
    post = wiener(claim)(noisy[:, None])
    true = reliability(post.mean[:, 0], post.std[:, 0], signal)
    assert abs(estimated.ratio - true.ratio) < 4 * estimated.ratio_error
    assert estimated.ratio_error * claim**2 < 0.02
    assert estimated.std_scale == pytest.approx(1 / claim, rel=0.06)


NOISE_MODELS = [
    Gaussian(12.0), PoissonGaussian(2.5, 20.0, 4.0, Quantization(1.0, 0.0, 4095.0)),
    Correlated(Gaussian(10.0), torch.tensor([[0.0, 0.3, 0.0], [0.3, 1.0, 0.3], [0.0, 0.3, 0.0]]), row_kernel=3.0),
]  # fmt: skip


@pytest.mark.parametrize("noise_model", NOISE_MODELS, ids=lambda noise_model: type(noise_model).__name__)
@pytest.mark.parametrize("radius", [0, 1, 3])
def test_squared_errors_of_any_filter_and_noise_model(noise_model: Noise, radius: int):
    """Includes a filter that removes no noise, and one that removes structure."""
    signal = 150 + 3 * (WORLD.draw(12, 3)[0] - 100)
    noisy = noise_model.sample(signal.double(), torch.Generator().manual_seed(4)).float()
    denoise = smooth(radius, 5.0)
    generator = torch.Generator().manual_seed(5)
    errors = squared_errors(noisy[:, None], [noise_model], denoise, generator)[0]
    truth = float(((denoise(noisy[:, None]).mean[:, 0] - signal) ** 2).mean())
    assert float(errors.squared.mean()) == pytest.approx(truth, abs=0.04 * float(errors.variance.mean()))


def test_pixels_near_the_limits_of_the_camera_are_excluded():
    noise_model = Gaussian(5.0, Quantization(1.0, 0.0, 255.0))
    noisy = torch.full((1, 1, 20, 20), 100.0)
    noisy[..., :10] = 2.0
    errors = squared_errors(noisy, [noise_model], smooth(0, 1.0), torch.Generator().manual_seed(0))[0]
    assert len(errors.squared) == len(errors.std) == 200


def test_photon_counts_near_zero_are_not_clipped():
    """Counts are never negative; with read noise, values are, and those are clipped."""
    noisy, generator = torch.full((1, 1, 20, 20), 2.0), torch.Generator().manual_seed(0)
    for read_noise, count in ((0.0, 400), (0.1, 400), (0.5, 0)):
        noise_model = PoissonGaussian(1.0, 0.0, read_noise, Quantization(1.0, 0.0, 255.0))
        assert len(squared_errors(noisy, [noise_model], smooth(0, 1.0), generator)[0].squared) == count


def test_an_uncertain_ratio_changes_the_scale_little():
    one = torch.ones(100)
    errors = Errors(level=one, std=one, removed=104 * one, variance=100 * one, kept=0 * one)
    precise, imprecise = (reliability_without_truth([errors], error) for error in (0.0, 0.5))
    assert precise.std_scale == pytest.approx(2.0, rel=1e-3)
    assert 1 < imprecise.std_scale < 1.01


@pytest.mark.parametrize("noise_model", NOISE_MODELS[:2], ids=lambda noise_model: type(noise_model).__name__)
def test_a_result_that_errs_by_more_than_the_noise_keeps_noisy_pixels(noise_model: Noise):
    """A denoiser that is right in the dark, and wrong by 60 ADU where it is bright."""
    cells = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.1
    signal = torch.where(cells, 900.0, 150.0).repeat_interleave(8, 2).repeat_interleave(8, 3)
    noisy = noise_model.sample(signal.double(), torch.Generator().manual_seed(2)).float()

    def denoise(x: torch.Tensor) -> Normal[torch.Tensor]:
        mean = torch.where(x > 600, 840.0 + 0.2 * (x - 900), 150.0 + 0.1 * (x - 150))
        return Normal(mean, torch.ones_like(mean))

    errors = squared_errors(noisy, [noise_model], denoise, torch.Generator().manual_seed(3))
    levels, shares = noisy_share(errors)
    assert float(shares[levels < 200].max()) == 0 and float(shares[-1]) > 0.5
    mean = denoise(noisy).mean
    kept = interpolate(surround(mean), levels, shares[:, None])[..., 0]
    bright = surround(signal) > 800
    before, after = ((one[bright] - 900).square().mean() for one in (mean, torch.lerp(mean, noisy, kept)))
    assert float(after) < 0.6 * float(before)
    assert float(kept[surround(signal) < 160].mean()) < 0.01
    above = [Errors(**{name: part[one.level > 500] for name, part in vars(one).items()}) for one in errors]
    levels, shares = noisy_share(above)  # as where the noise of dark pixels is clipped
    unknown = interpolate(torch.linspace(0, 1000, 101), levels, shares[:, None])[..., 0]
    assert not unknown[:50].any() and float(unknown[-1]) > 0.5


def test_a_posterior_mean_keeps_none():
    _, noisy = WORLD.draw(16, 2)
    errors = squared_errors(noisy[:, None], [WORLD.noise], wiener(1.0), torch.Generator().manual_seed(0))
    assert not noisy_share(errors)[1].any()


@pytest.mark.parametrize("pixels", [0, 1, 20])
def test_hardly_any_pixels_are_no_estimate(pixels: int) -> None:
    """Nearly all pixels of a dark image are clipped: the standard deviation of one value is not a number."""
    few = torch.ones(pixels)
    with pytest.raises(ValueError, match="nearly every pixel is near the camera's limits"):
        reliability_without_truth([Errors(few, few, few, few, few)])


def test_dark_pixels_keep_nothing_where_bright_ones_keep_a_share() -> None:
    """Many classes of brightness are more than a network has room for."""
    one = (1.0,)
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=(8, 8), mean=one, std=one, target_mean=one, target_std=one
    )
    net = Denoiser(torch.nn.Identity(), spec)
    levels, shares = torch.linspace(0, 230, 24), torch.zeros(24)
    shares[9:11] = torch.tensor([0.3, 0.5])
    net.keep_noisy(0, levels, shares)
    found = net.kept_of(levels[None, None])[0, 0]
    torch.testing.assert_close(found, shares, atol=1e-6, rtol=0)
    alternating = 0.4 * (torch.arange(24.0) % 2)
    net.keep_noisy(0, levels, alternating)
    assert not net.kept_of(levels[None, None, :9]).any()
