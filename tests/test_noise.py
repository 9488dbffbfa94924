"""Noise models p(x|s): every kind is a distribution, finds what it is fitted to, and is the same after a file."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisewise import UserError
from noisewise.noise import models
from noisewise.noise.base import pack
from noisewise.noise.files import load_noise, unpack
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.gmm_polynomial import GmmPolynomial
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.quantization import CONTINUOUS, Quantization
from noisewise.plots.noise_model import plot_noise_model

from .noise_models import CLIPPED, KINDS, RANDOM, TRUTH, example, fitted, planted, random_models, rng

SIGNALS = (103.0, 130.0, 300.0, 780.0)
STEPS = Quantization(12.0)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def few(count):
    """The same random examples in every call, so that statistical tolerances hold for good."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


@st.composite
def quantizations(draw, limits=True):
    """No rounding, or steps of 0.5 to 12 ADU; without limits, or with limits on multiples of the step."""
    step = draw(st.sampled_from([0.0, 1.0]) | st.floats(0.5, 12))
    if not limits or draw(st.booleans()):
        return Quantization(step)
    low, high = draw(st.floats(60, 120)), draw(st.floats(200, 900))
    return Quantization(step, *((round(limit / step) * step for limit in (low, high)) if step else (low, high)))


def std_at(noise_model, signal):
    return float(noise_model.mean_var(torch.tensor([signal], dtype=torch.float64))[1].sqrt())


def test_there_are_examples_of_every_kind():
    assert sorted(RANDOM) == KINDS
    for kind in KINDS:
        assert isinstance(example(kind), models.get(kind)) and isinstance(RANDOM[kind](0), models.get(kind))


# -- every kind is a distribution, whatever its parameters ------------------------------------------


@EVERY_KIND
@few(3)
@given(st.data())
def test_densities_integrate_to_one(kind, data):
    noise_model = data.draw(random_models(kind))
    for signal in (SIGNALS[0], data.draw(st.floats(104, 780))):
        x = signal + std_at(noise_model, signal) * torch.linspace(-40, 40, 12_001, dtype=torch.float64)
        density = noise_model.log_prob(x, torch.full_like(x, signal)).exp()
        assert torch.trapezoid(density, x) == pytest.approx(1, abs=1e-3)


def total_mass(noise_model, signal):
    """The sum of all masses; between limits without steps, the integral of the density and the masses at the limits."""
    step, low, high = (getattr(noise_model.quantization, name) for name in ("step", "low", "high"))
    first, last = (signal + side * 30 * std_at(noise_model, signal) for side in (-1, 1))
    first, last = (first, last) if low is None else (min(max(first, low), high), min(max(last, low), high))
    limits = torch.tensor([] if low is None else [low, high], dtype=torch.float64)
    at_limits = noise_model.log_prob(limits, torch.full_like(limits, signal)).exp().sum()
    if step:
        x = step * torch.arange(math.floor(first / step), math.ceil(last / step) + 1).double()
        x = x if low is None else x[(x > low) & (x < high)]
        return step * (noise_model.log_prob(x, torch.full_like(x, signal)).exp().sum() + at_limits)
    x = torch.linspace(first, last, 6001, dtype=torch.float64)
    inside = x if low is None else x.clamp(low + 1e-6, high - 1e-6)
    return torch.trapezoid(noise_model.log_prob(inside, torch.full_like(x, signal)).exp(), x) + at_limits


@EVERY_KIND
@few(4)
@given(st.data())
def test_masses_add_up_to_one(kind, data):
    # Of sums of photon responses, the mass at a limit is approximate; see the next test.
    quantization = data.draw(quantizations(limits=kind != "gamma_poisson"))
    noise_model = data.draw(random_models(kind, quantization))
    for signal in (SIGNALS[0], data.draw(st.floats(104, 780))):
        assert total_mass(noise_model, signal) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("quantization", [CLIPPED, Quantization(4.0, 0.0, 4000.0), Quantization(0.0, 80.0, 900.0)])
def test_masses_of_photon_responses_add_up_to_one(quantization):
    for signal in SIGNALS:
        assert total_mass(example("gamma_poisson", quantization), signal) == pytest.approx(1, abs=2e-3)


def gradients_at(noise_model, signals, side):
    """The gradients in s of log p(x|s), x being 20 standard deviations above (1) or below (-1); float32."""
    signal = torch.tensor(signals, requires_grad=True)
    noisy = signal.detach() + 20 * side * noise_model.mean_var(signal.detach())[1].sqrt()
    value = noise_model.log_prob(noisy.round(), signal)
    value.sum().backward()
    assert value.dtype == torch.float32 and torch.isfinite(value).all() and torch.isfinite(signal.grad).all()
    return signal.grad


@EVERY_KIND
@few(4)
@given(st.data())
def test_gradients_far_below_the_value_point_to_it(kind, data):
    noise_model = data.draw(random_models(kind, data.draw(st.sampled_from([CONTINUOUS, Quantization(1.0)]))))
    signals = [*SIGNALS, data.draw(st.floats(103, 780))]
    assert (gradients_at(noise_model, signals, 1) > 1e-4).all()
    gradients_at(noise_model, signals, -1)  # finite; a brighter signal may be likelier since its noise is wider


@EVERY_KIND
@pytest.mark.parametrize("quantization", [CONTINUOUS, Quantization(1.0)])
def test_gradients_far_above_the_value_do_not_vanish(kind, quantization):
    assert (gradients_at(example(kind, quantization), SIGNALS, -1).abs() > 1e-4).all()


@EVERY_KIND
def test_the_gradient_is_the_derivative(kind):
    noise_model = example(kind)
    signal = torch.linspace(104.3, 741.7, 30, dtype=torch.float64, requires_grad=True)
    noisy = signal.detach() + 1.3 * noise_model.mean_var(signal.detach())[1].sqrt()
    noise_model.log_prob(noisy, signal).sum().backward()
    with torch.no_grad():
        step = 1e-4
        slope = (noise_model.log_prob(noisy, signal + step) - noise_model.log_prob(noisy, signal - step)) / (2 * step)
    # A table is linear between its rows and columns; where a step crosses one of them, the slope jumps.
    error = (signal.grad - slope).abs() / (1e-3 + slope.abs())
    assert error.median() < 1e-3 and (error < 0.02).float().mean() > 0.9


@EVERY_KIND
@few(3)
@given(st.data())
def test_samples_have_the_moments_and_the_distribution(kind, data):
    noise_model, signal = data.draw(random_models(kind)), data.draw(st.sampled_from(SIGNALS) | st.floats(103, 780))
    at = torch.full((160, 200), signal, dtype=torch.float64)
    drawn = noise_model.sample(at, rng()).flatten()
    mean, variance = (float(part[0, 0]) for part in noise_model.mean_var(at))
    count = drawn.numel()
    assert abs(float(drawn.mean()) - mean) < 5 * (variance / count) ** 0.5
    deviations = (drawn - mean) ** 2
    assert abs(float(deviations.mean()) - variance) < 5 * float(deviations.std()) / count**0.5 + 1e-3 * variance
    below = noise_model.cdf(drawn[::2], at.flatten()[::2]).sort().values
    distance = (below - (torch.arange(len(below)) + 0.5) / len(below)).abs().max()
    assert distance < 1.95 / len(below) ** 0.5  # Kolmogorov-Smirnov at a level of 0.001


@EVERY_KIND
def test_quantized_samples_have_their_masses(kind):
    noise_model = example(kind, CLIPPED)
    for signal in SIGNALS:
        at = torch.full((120, 150), signal, dtype=torch.float64)
        drawn = noise_model.sample(at, rng()).flatten()
        assert drawn.min() >= CLIPPED.low and drawn.max() <= CLIPPED.high and (drawn == drawn.round()).all()
        values = torch.arange(CLIPPED.low, CLIPPED.high + 1, dtype=torch.float64)
        expected = noise_model.log_prob(values, torch.full_like(values, signal)).exp() * drawn.numel()
        counted = torch.bincount((drawn - CLIPPED.low).long(), minlength=len(values))
        assert ((counted - expected).abs() < 5.5 * expected.sqrt() + 5).all()


@EVERY_KIND
@pytest.mark.parametrize("quantization", [CONTINUOUS, CLIPPED])
def test_density_and_distribution_function_agree(kind, quantization):
    noise_model = example(kind, quantization)
    for signal in SIGNALS:
        if quantization.step:
            x = torch.arange(91, 350, dtype=torch.float64)
            before, width = x - 1, 1.0
        else:
            x = signal + std_at(noise_model, signal) * torch.linspace(-6, 6, 400, dtype=torch.float64)
            before, width = x - 1e-3, 1e-3
        at = torch.full_like(x, signal)
        mass = noise_model.cdf(x, at) - noise_model.cdf(before, at)
        middle = x if quantization.step else (x + before) / 2
        torch.testing.assert_close(mass / width, noise_model.log_prob(middle, at).exp(), atol=2e-6, rtol=2e-3)


@EVERY_KIND
def test_shapes_types_and_seeds(kind):
    noise_model = example(kind, Quantization.of_bits(16))
    for dtype in (torch.float32, torch.float64):
        signal = torch.linspace(102, 700, 60, dtype=dtype).reshape(3, 4, 5)
        noisy = noise_model.sample(signal, rng(3))
        assert noisy.shape == signal.shape and noisy.dtype == dtype
        assert torch.equal(noisy, noise_model.sample(signal, rng(3)))
        assert not torch.equal(noisy, noise_model.sample(signal, rng(4)))
        for value in (
            noise_model.log_prob(noisy, signal),
            noise_model.cdf(noisy, signal),
            *noise_model.mean_var(signal),
        ):
            assert value.shape == signal.shape and value.dtype == dtype
    single, double = (noise_model.log_prob(noisy.to(t), signal.to(t)) for t in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, atol=1e-3, rtol=1e-4)
    column, row = signal.reshape(-1, 1), noisy.reshape(1, -1)
    assert noise_model.log_prob(row, column).shape == (60, 60)


def assert_equal(noise_model, again):
    """Same class, quantization, parameters, samples and likelihoods, bit for bit."""
    assert type(again) is type(noise_model) and again.quantization == noise_model.quantization
    for name, value in noise_model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    signal = torch.linspace(102, 700, 60).reshape(6, 10)
    noisy = noise_model.sample(signal, rng())
    assert torch.equal(noisy, again.sample(signal, rng()))
    assert torch.equal(noise_model.log_prob(noisy, signal), again.log_prob(noisy, signal))


@EVERY_KIND
@few(2)
@given(st.data())
def test_packing_round_trip(kind, data):
    noise_model = data.draw(random_models(kind, data.draw(quantizations())))
    assert_equal(noise_model, unpack(*pack(noise_model)))


@EVERY_KIND
def test_a_file_keeps_every_bit(kind, tmp_path):
    noise_model = example(kind, CLIPPED).with_quantization(CLIPPED)
    noise_model.provenance = {"signal_range": [101.0, 800.0], "warnings": ["µ"]}
    noise_model.save(tmp_path / "noise.safetensors")
    again = load_noise(tmp_path / "noise.safetensors")
    assert_equal(noise_model, again)
    assert again.provenance == noise_model.provenance


def test_a_noise_model_can_be_plotted(tmp_path):
    from PIL import Image

    noise_model = example("pixel_maps", Quantization.of_bits(16))
    plot_noise_model(noise_model, tmp_path / "noise.png", 102, 700)
    with Image.open(tmp_path / "noise.png") as image:
        assert min(image.size) > 300
    with pytest.raises(UserError, match="range of signals"):
        plot_noise_model(noise_model, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


# -- fits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "quantization"),
    [(kind, quantization) for kind in ("histogram", "mixture") for quantization in (CONTINUOUS, STEPS, CLIPPED)]
    + [("gmm_polynomial", CONTINUOUS), ("poisson_gaussian", Quantization(1.0))],
)
def test_a_fit_finds_the_planted_noise_model(kind, quantization):
    """From continuous values, from steps coarser than the darkest noise, and from clipped values."""
    noise_model, truth = fitted(kind, quantization), TRUTH.with_quantization(quantization)
    signal = torch.linspace(110, 330 if quantization.high else 700, 40, dtype=torch.float64)
    mean, variance = noise_model.mean_var(signal)
    assert ((mean - signal).abs() < 0.03 * variance.sqrt()).all()
    torch.testing.assert_close(variance, truth.mean_var(signal)[1], rtol=0.08, atol=0)
    fresh, at = planted(quantization, 40_000, seed=7)
    lost = truth.log_prob(fresh, at).mean() - noise_model.log_prob(fresh, at).mean()
    assert -0.002 < lost < 0.01


def test_a_gaussian_fit_is_the_mean_square():
    noisy = torch.tensor([1.0, 5.0, -3.0, 4.0]) + 100
    assert float(Gaussian.fit(noisy, torch.full((4,), 100.0)).std) == pytest.approx((51 / 4) ** 0.5)


@pytest.mark.parametrize("kind", ["histogram", "mixture"])
def test_fits_are_deterministic(kind):
    again = models.get(kind).fit(*planted())
    for name, value in fitted(kind).state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize("kind", ["gmm_polynomial", "histogram", "mixture"])
def test_pairs_that_do_not_determine_a_noise_model(kind):
    noisy, signal = (part[:1000] for part in planted())
    noise_model = models.get(kind)
    with pytest.raises(UserError, match="at least 100 pairs"):
        noise_model.fit(noisy[:50], signal[:50])
    with pytest.raises(UserError, match="finite"):
        noise_model.fit(noisy / 0, signal)
    with pytest.raises(UserError, match="range"):
        noise_model.fit(noisy, torch.full_like(signal, 100))


def test_pixel_maps_and_correlated_noise_are_not_fitted_to_pairs():
    with pytest.raises(UserError, match="dark frames"):
        PixelMaps.fit(*planted())
    with pytest.raises(UserError, match="images"):
        Correlated.fit(*planted())


@pytest.mark.parametrize("kind", [Histogram, Mixture])
def test_hot_pixels_do_not_affect_a_fit(kind):
    noisy, signal = (part.clone() for part in planted())
    hot = slice(None, None, 10_000)
    noisy[hot], signal[hot] = 60_000.0, torch.where(torch.arange(len(signal[hot])) % 2 == 0, signal[hot], 30_000.0)
    found = kind.fit(noisy, signal)
    at = torch.linspace(110, 700, 20, dtype=torch.float64)
    fresh, where = planted(count=40_000, seed=9)
    assert TRUTH.log_prob(fresh, where).mean() - found.log_prob(fresh, where).mean() < 0.01
    assert torch.isfinite(found.log_prob(at + 1e6, at)).all()


# -- single kinds ----------------------------------------------------------------------------------


def test_the_mean_of_a_mixture_is_the_signal():
    signal = torch.linspace(-50, 3000, 500, dtype=torch.float64)
    torch.testing.assert_close(fitted("mixture").mean_var(signal)[0], signal, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("kind", ["mixture", "histogram"])
def test_outside_the_recorded_signals_the_variance_follows_the_line(kind):
    signal = torch.tensor([1500.0, 4000.0], dtype=torch.float64)
    torch.testing.assert_close(fitted(kind).mean_var(signal)[1], TRUTH.mean_var(signal)[1], rtol=0.05, atol=0)


def test_a_mixture_fits_skewed_noise():
    """Noise behind an EM register, whose exact third cumulant is 1.5 slope² (s − o)."""
    signal = 205 + 2000 * torch.rand(400_000, generator=rng(), dtype=torch.float64)
    generator = np.random.default_rng(0)
    electrons = generator.poisson((signal.numpy() - 200) / 20).clip(1e-9)
    noisy = 200 + generator.gamma(electrons, 20.0) + generator.normal(0, 5, len(signal))
    noise_model = Mixture.fit(torch.from_numpy(noisy), signal)
    at = torch.full((400_000,), 600.0, dtype=torch.float64)
    drawn = noise_model.sample(at, rng(1)) - 600
    assert float((drawn**2).mean()) == pytest.approx(2 * 20 * 400 + 25, rel=0.03)
    assert float((drawn**3).mean()) == pytest.approx(1.5 * 40**2 * 400, rel=0.1)


def test_a_histogram_agrees_with_that_of_numpy():
    """For many pairs of nearly one signal."""
    signal = 298 + 4 * torch.rand(600_000, generator=rng(), dtype=torch.float64)
    noisy = TRUTH.sample(signal, rng(1))
    noise_model = Histogram.fit(noisy, signal)
    at = TRUTH.sample(torch.full((300_000,), 300.0, dtype=torch.float64), rng(2)).numpy()
    counts, edges = np.histogram(at, 40, (230, 380))
    below = noise_model.cdf(torch.from_numpy(edges), torch.full((41,), 300.0, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(np.diff(below), counts / len(at), atol=1.5e-3)


def test_pixel_maps_describe_the_fixed_pattern():
    """For a signal without pattern, E[x|s] is that of each pixel's gain and offset."""
    generator = np.random.default_rng(0)
    gain, offset = (torch.from_numpy(generator.normal(*moments, (20, 30))) for moments in ((2.2, 0.05), (100, 2)))
    read_noise = torch.from_numpy(generator.lognormal(1, 0.3, (20, 30)))
    noise_model = PixelMaps(gain, offset, read_noise)
    signal = torch.full((4000, 20, 30), 180.0, dtype=torch.float64)
    drawn = noise_model.sample(signal, rng())
    electrons = (180 - offset.median()) / gain.median()
    torch.testing.assert_close(noise_model.mean_var(signal[0])[0], offset + gain * electrons)
    error = (drawn.mean(0) - offset - gain * electrons) / (gain**2 * electrons + read_noise**2).sqrt() * 4000**0.5
    assert error.abs().max() < 5 and error.std() == pytest.approx(1, abs=0.1)
    part = noise_model.crop((slice(3, 9), slice(10, 12)))
    noisy = drawn[0]
    assert torch.equal(
        noise_model.log_prob(noisy, signal[0])[3:9, 10:12], part.log_prob(noisy[3:9, 10:12], signal[0, 3:9, 10:12])
    )


def test_implausible_gains_become_typical():
    gain = torch.full((10, 10), 2.0, dtype=torch.float64)
    gain[0, :4] = torch.tensor([-972.0, 4276.0, float("nan"), 0.0])
    variance = torch.full((10, 10), 9.0, dtype=torch.float64)
    variance[1, :2] = torch.tensor([float("inf"), 1696.0])
    noise_model = PixelMaps.of_maps(gain, torch.full((10, 10), 100.0, dtype=torch.float64), variance)
    assert (noise_model.gain == 2).all()
    assert noise_model.read_noise[1].tolist() == pytest.approx([3.0, 1696**0.5] + [3.0] * 8)


def test_a_polynomial_mixture_against_its_formula():
    """Evaluated by NumPy as in the code of PPN2V, without its numerical floor."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(9, 3))
    weight[3:6] += 3
    noise_model = GmmPolynomial(torch.from_numpy(weight), 50.0, 900.0, 30.0)
    signal, noisy = generator.uniform(50, 900, 200), generator.uniform(30, 950, 200)
    found = noise_model.log_prob(torch.from_numpy(noisy), torch.from_numpy(signal)).exp().numpy()
    np.testing.assert_allclose(found, polynomial_mixture(weight, 50, 900, 30, noisy, signal), rtol=1e-9, atol=1e-300)


def polynomial_mixture(weight, low, high, least, noisy, signal):
    t = (signal - low) / (high - low)
    mean, log_variance, log_alpha = (
        [sum(c * t**i for i, c in enumerate(row)) for row in part]
        for part in (
            weight[: len(weight) // 3],
            np.exp(weight[len(weight) // 3 : 2 * len(weight) // 3]),
            weight[2 * len(weight) // 3 :],
        )
    )
    alpha = np.exp(log_alpha) / np.exp(log_alpha).sum(0)
    std = np.sqrt(np.maximum(log_variance, least))
    centre = signal + mean - (alpha * mean).sum(0)
    density = np.exp(-0.5 * ((noisy - centre) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    return (alpha * density).sum(0)


# -- files of other programs -----------------------------------------------------------------------


def test_a_mixture_of_careamics(tmp_path):
    generator = np.random.default_rng(1)
    weight = generator.normal(size=(6, 2)).astype(np.float32)
    weight[2:4] += 4
    file = tmp_path / "gmm.npz"
    np.savez(file, trained_weight=weight, min_signal=np.array([74.0], np.float32), max_signal=[191], min_sigma=50.0)
    noise_model = load_noise(file)
    signal = generator.uniform(74, 191, 300)
    noisy = signal + generator.normal(0, 15, 300)
    expected = polynomial_mixture(weight.astype(float), 74, 191, 50, noisy, signal)
    found = noise_model.log_prob(torch.from_numpy(noisy), torch.from_numpy(signal)).exp().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert noise_model.provenance["signal_range"] == [74, 191]
    noise_model.save(tmp_path / "ours.safetensors")
    assert type(load_noise(tmp_path / "ours.safetensors")) is GmmPolynomial


def test_a_histogram_of_pn2v(tmp_path):
    """Made as in PN2V from many pairs; the density is the fraction in a bin over its width."""
    bins, low, high = 256, 60.0, 900.0
    noisy, signal = (part.numpy() for part in planted(count=600_000, seed=5))
    table = np.zeros((3, bins, bins))
    table[0] = np.histogram2d(signal, noisy, bins, ((low, high), (low, high)))[0] + 1e-30
    full = table[0].sum(1) > 1e-20
    table[0][full] /= table[0][full].sum(1, keepdims=True)
    table[1], table[2] = low, high
    np.save(tmp_path / "histogram.npy", table)
    noise_model = load_noise(tmp_path / "histogram.npy")
    assert isinstance(noise_model, Histogram)
    width = (high - low) / bins
    for row in (40, 100, 200):
        at = torch.full((bins,), low + width * (row + 0.5), dtype=torch.float64)
        edges = torch.from_numpy(low + width * np.arange(1, bins + 1))
        assert np.abs(noise_model.cdf(edges, at).numpy() - table[0, row].cumsum()).max() < 0.02


@pytest.mark.parametrize(
    "content",
    [
        {"weights": np.ones(3)}, {"trained_weight": np.ones((3, 2))}, {"a": np.array(["text"])},
        {"trained_weight": np.ones((4, 2)), "min_signal": 1.0, "max_signal": 2.0, "min_sigma": 1.0},
        {"trained_weight": np.ones((3, 2)), "min_signal": 2.0, "max_signal": 1.0, "min_sigma": 1.0},
        {"trained_weight": np.full((3, 2), np.nan), "min_signal": 1.0, "max_signal": 2.0, "min_sigma": 1.0},
        {"a": np.ones((3, 4, 5))}, {"a": np.zeros((3, 8, 8))}, {"a": np.ones((2, 8, 8))}, {},
    ],
)  # fmt: skip
def test_files_that_are_no_noise_models(tmp_path, content):
    file = tmp_path / "odd.npz"
    np.savez(file, **content)
    with pytest.raises(UserError, match="odd"):
        load_noise(file)


def test_no_pickle_is_loaded(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([[object()]]), allow_pickle=True)
    (tmp_path / "text.npy").write_text("Dear diary")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04cut")
    for name in ("objects.npy", "text.npy", "cut.npz", "nowhere.npz", "nowhere.safetensors"):
        with pytest.raises(UserError, match=name):
            load_noise(tmp_path / name)


def test_an_unknown_kind():
    with pytest.raises(UserError, match="unknown kind of noise 'gauss'"):
        models.get("gauss")
