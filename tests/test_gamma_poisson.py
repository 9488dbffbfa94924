"""Gamma-Poisson noise of multiplying detectors: its density, its moments, and its fit to pairs and to one image."""

import math

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.noise.fit.variance_line import VarianceLine
from noisewise.noise.models.gamma_poisson import MOST, GammaPoisson
from noisewise.noise.models.poisson_gaussian import PoissonGaussian, log_poisson
from noisewise.noise.quantization import Quantization
from tests.conftest import blobs

WHOLE = Quantization(1.0)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def at(value, count=1):
    return torch.full((count,), value, dtype=torch.float64)


@pytest.mark.parametrize("response_std", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("photons", [0.2, 3.0, 50.0, MOST, 2000.0])
def test_the_density_is_the_sum_over_photon_numbers(response_std, photons):
    a = 1 / response_std**2
    u = torch.tensor([0.05, 0.5, 1.0, 2.0, 0.9 * photons, photons, 1.3 * photons], dtype=torch.float64)[:, None]
    k = torch.arange(1.0, 8000.0, dtype=torch.float64)
    gamma = torch.distributions.Gamma(a * k, torch.tensor(a, dtype=torch.float64)).log_prob(u)
    expected = torch.logsumexp(log_poisson(k, torch.tensor(photons, dtype=torch.float64)) + gamma, 1)
    noise_model = GammaPoisson(1.0, response_std, 0.0, 0.0, 0.0)
    found = noise_model.log_density(u[:, 0], at(photons))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-6)
    single = noise_model.log_density(u[:, 0].float(), at(photons).float())
    torch.testing.assert_close(single.double(), expected, atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("response_std", [0.0, 0.1, -1.0, math.nan])
def test_too_narrow_responses_are_refused(response_std):
    with pytest.raises(nw.UserError, match="out of range; give 0"):
        GammaPoisson(1.0, response_std, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("photons", [0.5, 2.0, 5.0])
def test_pixels_without_photons_have_the_offset(photons):
    noise_model = GammaPoisson(5.0, 0.2, 20.0, 0.5, 20.0)
    signal = at(20.0 + 5.0 * photons)
    # Hardly any response is below two fifths of its mean.
    assert noise_model.cdf(at(22.0), signal).item() == pytest.approx(math.exp(-photons), abs=0.01)


@pytest.mark.parametrize("response_std", [0.5, 0.7, 1.0])
def test_variance_and_skewness_are_those_of_gamma_responses(response_std):
    """κ₂ = λ E[h²], κ₃ = λ E[h³] of the responses h: (1 + c²) and (1 + c²)(1 + 2 c²), in units of their mean."""
    noise_model, signal = GammaPoisson(5.0, response_std, 20.0, 3.0, 20.0), at(80.0, 1_000_000)
    drawn, photons = noise_model.sample(signal, rng()) - 80.0, 60 / 5.0
    variance = photons * (1 + response_std**2) * 5.0**2 + 3.0**2
    third = photons * (1 + response_std**2) * (1 + 2 * response_std**2) * 5.0**3
    assert drawn.var().item() == pytest.approx(variance, rel=0.01)
    assert drawn.var().item() == pytest.approx(noise_model.mean_var(signal[:1])[1].item(), rel=0.01)
    assert (drawn**3).mean().item() == pytest.approx(third, rel=0.05)


@pytest.mark.parametrize("dark", [1.0, 30.0])
def test_below_the_darkest_signal_the_noise_does_not_change(dark):
    noise_model = GammaPoisson(5.0, 0.5, 20.0, 1.0, 24.0)
    below = [noise_model.log_prob(at(24.0 + off - dark), at(24.0 - dark)).item() for off in (-5.0, 0.0, 8.0)]
    there = [noise_model.log_prob(at(24.0 + off), at(24.0)).item() for off in (-5.0, 0.0, 8.0)]
    assert below == pytest.approx(there)


@pytest.mark.parametrize(("response_std", "read_noise"), [(0.5, 0.3), (0.8, 1.0), (1.0, 2.0), (0.5, 4.0)])
def test_pairs_determine_what_the_variance_line_does_not(response_std, read_noise):
    planted = GammaPoisson(6.0, response_std, 10.0, read_noise, 10.0, WHOLE)
    signal = 11 + 60 * torch.rand(12_000, generator=rng(), dtype=torch.float64) ** 2
    noisy = planted.sample(signal, rng(1))
    slope = (1 + response_std**2) * 6.0
    line = VarianceLine(slope, read_noise**2 - slope * 10.0 + 1 / 12, ((0.0, 0.0), (0.0, 0.0)))
    found = GammaPoisson.from_line(line, 11.0, noisy, signal, WHOLE)
    torch.testing.assert_close(found.mean_var(signal)[1], planted.mean_var(signal)[1], rtol=1e-6, atol=1e-6)
    lost = (planted.log_prob(noisy, signal) - found.log_prob(noisy, signal)).mean().item()
    assert lost < 0.01
    if read_noise < 3:  # more read noise hides the single responses
        assert float(found.response_std) == pytest.approx(response_std, abs=0.16)


@pytest.mark.parametrize("response_std", [0.5**0.5, 1.0])
def test_excess_noise_is_estimated_from_one_image(response_std):
    """Of a photomultiplier and of an EMCCD. The variance does not determine it, the shape of the noise does."""
    generator, a = np.random.default_rng(0), 1 / response_std**2
    photons = blobs((256, 256)) / 25
    responses = 5.0 * generator.gamma(np.maximum(a * generator.poisson(photons), 1e-9), 1 / a)
    image = np.clip(np.rint(8.0 + responses), 0, 255).astype(np.uint8)
    found = nw.measure(image)
    signal, noisy = 8.0 + 5.0 * torch.from_numpy(photons).double(), torch.from_numpy(image).double()
    poisson_gaussian = PoissonGaussian.from_line(found.line, found.signal_range[0], WHOLE)
    assert isinstance(found.pixel_noise, GammaPoisson)
    if response_std == 1.0:
        assert float(found.pixel_noise.response_std) >= 0.8
    assert (found.pixel_noise.log_prob(noisy, signal) - poisson_gaussian.log_prob(noisy, signal)).mean() > 0.1
