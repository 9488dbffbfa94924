"""The network that reads the noise of a single image, and the line that is fitted to what it reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import noisewise as nw
from noisewise import UserError
from noisewise.estimate.block_statistics import COARSE, FINE, WHOLE
from noisewise.estimate.explanations import plane_statistics
from noisewise.estimate.learned import is_trained
from noisewise.estimate.measure import prepared
from noisewise.io import open_source
from noisewise.noise.fit.variance_line import fit_line, fit_log_line

GAIN, OFFSET = 2.0, 100.0
needs_weights = pytest.mark.skipif(not is_trained(), reason="needs the trained network")


def textured(blur: float, power: int, side: int, photons: float, seed: int = 0) -> np.ndarray:
    """White photon noise on a random field that is blurred and raised to a power."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), blur)
    scene = np.abs(field) ** power if power > 1 else field
    scene = (scene - scene.min()) / np.ptp(scene)
    return nw.Camera(gain=GAIN, offset=OFFSET, bits=16).expose(photons * scene, seed=1)


# -- the line ----------------------------------------------------------------------------------------


def test_a_line_with_independent_errors_is_that_of_least_squares() -> None:
    signal = torch.linspace(100, 500, 12, dtype=torch.float64)
    rng = np.random.default_rng(0)
    variance = (2 * (signal - 100) + 50) * torch.from_numpy(np.exp(0.02 * rng.normal(size=12)))
    covariance = 0.02**2 * torch.eye(12, dtype=torch.float64)
    found, expected = fit_log_line(signal, variance, covariance), fit_line(signal, variance, 2 / 0.02**2)
    assert found.slope == pytest.approx(expected.slope, rel=2e-3)
    assert found.slope_error == pytest.approx(expected.slope_error, rel=0.05)
    assert found(300.0) == pytest.approx(expected(300.0), rel=2e-3)


def test_shared_errors_widen_the_interval_and_it_holds_the_truth() -> None:
    signal = torch.linspace(100, 500, 12, dtype=torch.float64)
    true, rng = 2 * (signal - 100) + 20, np.random.default_rng(0)
    factors = torch.stack([torch.full((12,), 0.15), 0.1 * torch.linspace(-1, 1, 12)], 1).double()
    covariance = 0.03**2 * torch.eye(12, dtype=torch.float64) + factors @ factors.T
    root = torch.linalg.cholesky(covariance)
    lines = [
        fit_log_line(signal, true * (root @ torch.from_numpy(rng.normal(size=12))).exp(), covariance)
        for _ in range(300)
    ]
    inside = [abs(line.slope - 2) < 1.96 * line.slope_error for line in lines]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)
    assert np.median([line.slope for line in lines]) == pytest.approx(2, abs=0.05)


def test_a_line_needs_signals_that_differ() -> None:
    one = torch.ones(3, dtype=torch.float64)
    with pytest.raises(UserError, match="all signals are equal"):
        fit_log_line(one, one, torch.eye(3, dtype=torch.float64))


# -- what is read ------------------------------------------------------------------------------------


@needs_weights
@pytest.mark.parametrize(
    ("blur", "power", "side", "photons"), [(3.0, 1, 192, 200), (2.0, 2, 512, 155), (1.5, 1, 256, 100)]
)
def test_texture_that_optics_limit_is_not_correlated_noise(blur: float, power: int, side: int, photons: float) -> None:
    found = nw.measure(textured(blur, power, side, photons))
    assert found.kind == "white"
    assert max(abs(found.rho[axis][0]) for axis in "XY") < 0.1
    assert abs(found.line.slope / GAIN - 1) < max(0.15, 1.96 * found.line.slope_error / GAIN)


@needs_weights
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_what_is_read_has_the_unit_of_the_image(scale: float) -> None:
    image = textured(2.0, 1, 128, 100).astype(np.float32)
    one, other = nw.measure(image), nw.measure(scale * image)
    assert other.line.slope == pytest.approx(scale * one.line.slope, rel=1e-3)
    assert other.rho["X"] == pytest.approx(one.rho["X"], abs=1e-3)


def test_statistics_have_the_sizes_that_the_network_was_trained_for() -> None:
    image = textured(2.0, 1, 64, 100).astype(np.float32)
    pixel_values, _, sources = prepared(open_source(image), [("", [image.astype(np.float64)])])
    *_, found = plane_statistics(sources, pixel_values)
    assert found.fine.shape[1] == FINE and found.coarse.shape[1] == COARSE and found.whole.shape == (WHOLE,)
    assert all(np.isfinite(part).all() for part in (found.fine, found.coarse, found.whole))


def test_differences_of_frames_are_measured_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noisewise.estimate.explanations.read_noise", None)
    scene = gaussian_filter(np.random.default_rng(0).normal(size=(96, 96)), 2)
    frames = [nw.Camera(gain=GAIN, offset=OFFSET).expose(100 + 500 * scene.clip(0), seed=s) for s in range(3)]
    assert nw.measure(np.stack(frames), axes="TYX").line.slope == pytest.approx(GAIN, rel=0.1)
