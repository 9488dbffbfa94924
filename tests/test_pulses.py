"""Pulses of a multiplying detector: what they are made of, and how it is told from one image."""

import math

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.noise.curve import Line
from noisewise.noise.digital import Digital
from noisewise.noise.poisson_gaussian import PoissonGaussian
from noisewise.noise.pulses import Pulses
from tests.conftest import blobs

WHOLE = Digital(1.0)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def at(value, count=1):
    return torch.full((count,), value, dtype=torch.float64)


def test_pulses_that_are_all_alike_are_counting():
    signal = torch.linspace(101, 115, 60, dtype=torch.float64)
    noisy = signal + 3 * (signal - 100 + 1).sqrt() * torch.linspace(-2, 2, 60, dtype=torch.float64)
    same, counting = Pulses(3.0, 0.0, 100.0, 2.0, 100.0), PoissonGaussian(3.0, 100.0, 2.0)
    torch.testing.assert_close(same.log_prob(noisy, signal), counting.log_prob(noisy, signal), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("photons", [0.5, 2.0, 5.0])
def test_without_a_photon_x_is_the_offset(photons):
    law = Pulses(5.0, 0.2, 20.0, 0.5, 20.0)
    signal = at(20.0 + 5.0 * photons)
    # Up to two fifths of a pulse above the offset, hardly a pulse ends.
    assert law.cdf(at(22.0), signal).item() == pytest.approx(math.exp(-photons), abs=0.01)


def test_the_excess_noise_factor_is_that_of_the_heights():
    law, signal = Pulses(5.0, 0.7, 20.0, 3.0, 20.0), at(80.0, 400_000)
    variance = law.sample(signal, dice()).var().item()
    assert variance == pytest.approx((1 + 0.7**2) * 5.0 * 60.0 + 3.0**2, rel=0.02)
    assert variance == pytest.approx(law.mean_var(signal[:1])[1].item(), rel=0.02)


@pytest.mark.parametrize("dark", [1.0, 30.0])
def test_below_the_darkest_signal_the_noise_stays_what_it_is_there(dark):
    law = Pulses(5.0, 0.5, 20.0, 1.0, 24.0)
    moved = [law.log_prob(at(24.0 + off - dark), at(24.0 - dark)).item() for off in (-5.0, 0.0, 8.0)]
    there = [law.log_prob(at(24.0 + off), at(24.0)).item() for off in (-5.0, 0.0, 8.0)]
    assert moved == pytest.approx(there)


@pytest.mark.parametrize(("spread", "read_noise"), [(0.5, 0.3), (0.8, 1.0), (0.5, 4.0)])
def test_the_pairs_tell_what_the_line_leaves_open(spread, read_noise):
    planted = Pulses(6.0, spread, 10.0, read_noise, 10.0, WHOLE)
    signal = 11 + 60 * torch.rand(40_000, generator=dice(), dtype=torch.float64) ** 2
    noisy = planted.sample(signal, dice(1))
    slope = (1 + spread**2) * 6.0
    line = Line(slope, read_noise**2 - slope * 10.0 + 1 / 12, ((0.0, 0.0), (0.0, 0.0)))
    found = Pulses.on_line(line, 11.0, noisy, signal, WHOLE)
    torch.testing.assert_close(found.mean_var(signal)[1], planted.mean_var(signal)[1], rtol=1e-6, atol=1e-6)
    lost = (planted.log_prob(noisy, signal) - found.log_prob(noisy, signal)).mean().item()
    assert lost < 0.01
    if read_noise < 3:  # else it hides the pulses
        assert float(found.spread) == pytest.approx(spread, abs=0.16)


def test_one_image_of_a_photomultiplier_tells_its_pulses():
    """Gamma-distributed pulses, which the law takes for Gaussian ones."""
    chance = np.random.default_rng(0)
    photons = blobs((256, 256)) / 25
    pulses = 5.0 * chance.gamma(np.maximum(2.0 * chance.poisson(photons), 1e-9), 0.5)
    image = np.clip(np.rint(8.0 + pulses), 0, 255).astype(np.uint8)
    found = nw.measure(image)
    signal, noisy = 8.0 + 5.0 * torch.from_numpy(photons).double(), torch.from_numpy(image).double()
    counting = PoissonGaussian.from_line(found.line, found.signal_range[0], WHOLE)
    assert isinstance(found.pixel_noise, Pulses)
    assert (found.pixel_noise.log_prob(noisy, signal) - counting.log_prob(noisy, signal)).mean() > 0.1
