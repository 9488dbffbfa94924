"""What a denoiser removes, compared with closed forms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import noisewise as nw
from noisewise.evaluate.consistency import OTHER_SHAPE, ConsistencyCheck, check_consistency
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.posterior import Normal, Point, Posterior
from noisewise.workflow.consistency import described
from noisewise.workflow.packaged import packaged_denoiser

SIGMA, SPREAD = 3.0, 4.0
SHAPE = (1, 1, 400, 400)


def independent_pixels(seed: int = 0) -> Tensor:
    """Signals N(0, SPREAD²), each pixel for itself, seen through noise N(0, SIGMA²)."""
    generator = torch.Generator().manual_seed(seed)
    return SPREAD * torch.randn(SHAPE, generator=generator) + SIGMA * torch.randn(SHAPE, generator=generator)


def shrinking(sigma: float) -> object:
    """The posterior of that world for somebody who believes that the noise is sigma."""
    kept = SPREAD**2 / (SPREAD**2 + sigma**2)

    def posterior(x: Tensor) -> Posterior[Tensor]:
        return Normal(kept * x, torch.full_like(x, (kept * sigma**2) ** 0.5))

    return posterior


@pytest.mark.parametrize("believed", [0.7 * SIGMA, SIGMA, 1.4 * SIGMA])
def test_linear_shrinkage_agrees_with_its_closed_form(believed: float) -> None:
    found = check_consistency(independent_pixels(), Gaussian(believed), shrinking(believed))
    kept = SPREAD**2 / (SPREAD**2 + believed**2)
    taken = (1 - kept) ** 2 * (SPREAD**2 + SIGMA**2) / believed**2
    assert found.residual == pytest.approx(taken / (1 - kept), rel=0.02)  # 1 for the true noise
    assert found.residual_noise_fraction == pytest.approx(kept, rel=0.01)
    error = kept**2 * SIGMA**2 + (1 - kept) ** 2 * SPREAD**2
    if believed == SIGMA:
        assert found.risk == pytest.approx(error / SIGMA**2, abs=5 * found.risk_error)
        assert found.risk_error < 0.01
    assert found.correlation == pytest.approx({"Y": 0.0, "X": 0.0}, abs=0.01)
    again = (1 - kept) ** 2 * kept**2 * (SPREAD**2 + SIGMA**2) + kept**2 * believed**2
    assert found.stability == pytest.approx((again / (kept * believed**2)) ** 0.5, rel=0.02)
    assert (believed != SIGMA) or found.residual == pytest.approx(1, abs=0.02)


def test_a_denoiser_that_removes_structure_is_detected() -> None:
    noisy = 6 * torch.sin(torch.arange(200.0) / 3) + torch.randn(
        1, 1, 200, 200, generator=torch.Generator().manual_seed(0)
    )
    found = check_consistency(noisy, Gaussian(1.0), lambda image: Normal(0 * image, 0 * image + 0.1))
    assert found.correlation["X"] > 0.5
    warnings = list(described(found, white=True))
    assert any("has structure" in warning for warning in warnings)
    assert any("more than the measured noise" in warning for warning in warnings)


def test_invented_structure_shows_as_a_change() -> None:
    def sharpens(image: Tensor) -> Posterior[Tensor]:
        return Normal(1.5 * image, torch.full_like(image, 0.3))

    found = check_consistency(independent_pixels(), Gaussian(SIGMA), sharpens)
    assert any("invented" in warning for warning in described(found, white=True))
    good = ConsistencyCheck(1.0, 0.1, {"Y": 0.0, "X": 0.0}, 0.0, 0.8, 0.1, 0.0, 1.0, 1.0, 0.05)
    assert not list(described(good, white=True))
    assert "tails" in next(described(replace(good, shape=-0.4), white=True))


def test_sharp_texture_is_not_spread_as_noise() -> None:
    """A denoiser that removes sharp spots with normal noise leaves tails that normal noise has not."""
    generator = torch.Generator().manual_seed(0)
    noise = SIGMA * torch.randn(1, 1, 256, 256, generator=generator)
    there = torch.rand(noise.shape, generator=generator) < 0.25
    spots = 5 * SIGMA * torch.randn(noise.shape, generator=generator) * there

    def remove_all(noisy: Tensor) -> Posterior[Tensor]:
        return Point(torch.zeros_like(noisy))

    found = [check_consistency(image, Gaussian(SIGMA), remove_all) for image in (noise, noise + spots)]
    assert abs(found[0].shape) < 0.02
    assert found[1].shape > OTHER_SHAPE and found[1].other_noise


@pytest.mark.parametrize(
    "noise_model", [Gaussian(10.0), PoissonGaussian(1.0, 0.0, 0.0), PoissonGaussian(20.0, 100.0, 3.0)]
)
@pytest.mark.parametrize("level", [0.5, 5.0, 50.0])
def test_empty_regions_stay_empty(noise_model: nw.Noise, level: float) -> None:
    signal = torch.full((1, 1, 128, 128), level)
    if isinstance(noise_model, PoissonGaussian):
        signal = noise_model.offset.float() + noise_model.gain.float() * signal
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(3))
    found = packaged_denoiser(noisy, noise_model)(noisy)
    noise = float(noisy.std())
    assert float(found.mean.std()) < 0.1 * noise
    assert float((found.mean - signal).abs().quantile(0.999)) < 0.5 * noise  # a lone speck may be one
    assert float(found.std.mean()) < 0.2 * noise
