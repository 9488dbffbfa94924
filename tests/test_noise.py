"""Laws p(x|s): every kind is a law, fits what it is fitted to, and is the same after a file."""

from functools import cache

import numpy as np
import pytest
import torch

from noisewise import UserError
from noisewise.noise import models
from noisewise.noise.models.autoregressive import Autoregressive
from noisewise.noise.base import arguments
from noisewise.noise.files import load_noise
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.quantization import CONTINUOUS, Quantization
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.gmm_polynomial import GmmPolynomial
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.ops.causal_mixture import NARROWEST
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.models.gamma_poisson import GammaPoisson

KINDS = sorted(models.kinds())
SIGNALS = (103.0, 130.0, 300.0, 780.0)
TRUTH = PoissonGaussian(2.2, 100.0, 3.5)
STEPS = Quantization(12.0)
COARSE = Quantization(1.0, 90.0, 350.0)  # cuts off darkest and brightest


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@cache
def planted(quantization=CONTINUOUS, count=200_000, seed=0):
    """Noisy values of signals from 101 to 800, more of them dark, under the true law."""
    signal = 101 + 700 * torch.rand(count, generator=rng(seed), dtype=torch.float64) ** 2
    return PoissonGaussian(2.2, 100.0, 3.5, quantization).sample(signal, rng(seed + 1)), signal


@cache
def fitted(kind, quantization=CONTINUOUS):
    return models.get(kind).fit(*planted(quantization), quantization=quantization)


def example(kind, quantization=CONTINUOUS):
    """A law of each kind, of about the same noise; those without a formula are fitted."""
    if kind in ("gmm_polynomial", "histogram", "mixture"):
        noise_model = fitted(kind)
        return type(noise_model)(**{**arguments(noise_model), "digital": quantization})
    return {
        "autoregressive": lambda: forgetful(quantization),
        "correlated": lambda: Correlated(TRUTH, quantization=quantization),
        "gaussian": lambda: Gaussian(12.0, quantization),
        "maps": lambda: PixelMaps(2.2, 100.0, 3.5, quantization, typical_gain=2.1, typical_offset=99.0),
        "poisson_gaussian": lambda: PoissonGaussian(2.2, 100.0, 3.5, quantization),
        "pulses": lambda: GammaPoisson(1.7, 0.55, 100.0, 3.5, 101.0, quantization),
    }[kind]()


def forgetful(quantization):
    """A law with a memory that makes no use of it: z ~ N(0, 1)."""
    noise_model = Autoregressive(
        Gaussian(12.0, quantization), torch.empty(0), signal_range=torch.tensor([0.0, 800.0]), quantization=quantization
    )
    with torch.no_grad():
        for weights in noise_model.memory.parameters():
            weights.zero_()
        last = noise_model.memory.told.bias
        last[2 * len(last) // 3 :] = torch.log(torch.expm1(torch.tensor(1.0 - NARROWEST)))
    return noise_model


def std_at(noise_model, signal):
    return float(noise_model.mean_var(torch.tensor([signal], dtype=torch.float64))[1].sqrt())


def test_there_is_an_example_of_every_kind():
    for kind in KINDS:
        assert isinstance(example(kind), models.get(kind))


# -- every kind is a law ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_densities_integrate_to_one(kind, signal):
    noise_model = example(kind)
    x = signal + std_at(noise_model, signal) * torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    assert torch.trapezoid(noise_model.log_prob(x, torch.full_like(x, signal)).exp(), x) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digital", [COARSE, Quantization(1.0), Quantization(4.0, 0.0, 4000.0), Quantization(0.0, 80.0, 900.0)])
def test_masses_add_up_to_one(kind, quantization):
    noise_model = example(kind, quantization)
    for signal in SIGNALS:
        if quantization.step:
            values = quantization.step * torch.arange(-500, 1500, dtype=torch.float64)
            kept = values[(values >= (quantization.low or -1e9)) & (values <= (quantization.high or 1e9))]
            total = quantization.step * noise_model.log_prob(kept, torch.full_like(kept, signal)).exp().sum()
        else:  # a density between the limits, and a mass at each
            x = torch.linspace(quantization.low, quantization.high, 40_001, dtype=torch.float64)[1:-1]
            ends = torch.tensor([quantization.low, quantization.high], dtype=torch.float64)
            masses = noise_model.log_prob(ends, torch.full_like(ends, signal)).exp().sum()
            total = torch.trapezoid(noise_model.log_prob(x, torch.full_like(x, signal)).exp(), x) + masses
        assert total == pytest.approx(1, abs=2e-3), signal


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digital", [CONTINUOUS, Quantization(1.0)])
@pytest.mark.parametrize("side", [-20, 20])
def test_the_gradient_lives_far_out(kind, quantization, side):
    noise_model = example(kind, quantization)
    signal = torch.tensor(SIGNALS, requires_grad=True)
    noisy = signal.detach() + side * noise_model.mean_var(signal.detach())[1].sqrt()
    value = noise_model.log_prob(noisy.round(), signal)
    value.sum().backward()
    assert value.dtype == torch.float32 and torch.isfinite(value).all()
    assert (signal.grad.abs() > 1e-4).all() and torch.isfinite(signal.grad).all()
    if side > 0:  # below, a brighter signal may be likelier since its noise is wider
        assert (signal.grad > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_derivative(kind):
    noise_model = example(kind)
    signal = torch.linspace(104.3, 741.7, 30, dtype=torch.float64, requires_grad=True)
    noisy = signal.detach() + 1.3 * noise_model.mean_var(signal.detach())[1].sqrt()
    noise_model.log_prob(noisy, signal).sum().backward()
    with torch.no_grad():
        step = 1e-4
        slope = (noise_model.log_prob(noisy, signal + step) - noise_model.log_prob(noisy, signal - step)) / (2 * step)
    # A table is linear between its rows and columns; where a step crosses one of them, the slope jumps.
    off = (signal.grad - slope).abs() / (1e-3 + slope.abs())
    assert off.median() < 1e-3 and (off < 0.02).float().mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_samples_have_the_moments_and_the_distribution(kind, signal):
    noise_model = example(kind)
    at = torch.full((200, 250), signal, dtype=torch.float64)
    drawn = noise_model.sample(at, rng()).flatten()
    mean, variance = (float(part[0, 0]) for part in noise_model.mean_var(at))
    count = drawn.numel()
    assert abs(float(drawn.mean()) - mean) < 5 * (variance / count) ** 0.5
    deviations = (drawn - mean) ** 2
    assert abs(float(deviations.mean()) - variance) < 5 * float(deviations.std()) / count**0.5 + 1e-3 * variance
    below = noise_model.cdf(drawn[::3], at.flatten()[::3]).sort().values
    distance = (below - (torch.arange(len(below)) + 0.5) / len(below)).abs().max()
    assert distance < 1.95 / len(below) ** 0.5  # one in a thousand is farther off


@pytest.mark.parametrize("kind", KINDS)
def test_whole_samples_have_their_masses(kind):
    noise_model = example(kind, COARSE)
    for signal in SIGNALS:
        at = torch.full((200, 250), signal, dtype=torch.float64)
        drawn = noise_model.sample(at, rng()).flatten()
        assert drawn.min() >= COARSE.low and drawn.max() <= COARSE.high and (drawn == drawn.round()).all()
        values = torch.arange(COARSE.low, COARSE.high + 1, dtype=torch.float64)
        expected = noise_model.log_prob(values, torch.full_like(values, signal)).exp() * drawn.numel()
        seen = torch.bincount((drawn - COARSE.low).long(), minlength=len(values))
        assert ((seen - expected).abs() < 5.5 * expected.sqrt() + 5).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digital", [CONTINUOUS, COARSE])
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


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_types_and_seeds(kind):
    noise_model = example(kind, Quantization.of_bits(16))
    for dtype in (torch.float32, torch.float64):
        signal = torch.linspace(102, 700, 60, dtype=dtype).reshape(3, 4, 5)
        noisy = noise_model.sample(signal, rng(3))
        assert noisy.shape == signal.shape and noisy.dtype == dtype
        assert torch.equal(noisy, noise_model.sample(signal, rng(3))) and not torch.equal(noisy, noise_model.sample(signal, rng(4)))
        for value in (noise_model.log_prob(noisy, signal), noise_model.cdf(noisy, signal), *noise_model.mean_var(signal)):
            assert value.shape == signal.shape and value.dtype == dtype
    single, double = (noise_model.log_prob(noisy.to(t), signal.to(t)) for t in (torch.float32, torch.float64))
    torch.testing.assert_close(single.double(), double, atol=1e-3, rtol=1e-4)
    column, row = signal.reshape(-1, 1), noisy.reshape(1, -1)
    assert noise_model.log_prob(row, column).shape == (60, 60)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digital", [CONTINUOUS, COARSE])
def test_a_file_keeps_every_bit(kind, quantization, tmp_path):
    noise_model = example(kind, quantization)
    noise_model.provenance = {"signal_range": [101.0, 800.0], "warnings": ["µ"]}
    noise_model.save(tmp_path / "law.safetensors")
    again = load_noise(tmp_path / "law.safetensors")
    assert type(again) is type(noise_model) and again.quantization == quantization and again.provenance == noise_model.provenance
    for name, value in noise_model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    signal = torch.linspace(102, 700, 60).reshape(6, 10)
    noisy = noise_model.sample(signal, rng())
    assert torch.equal(noisy, again.sample(signal, rng()))
    assert torch.equal(noise_model.log_prob(noisy, signal), again.log_prob(noisy, signal))


@pytest.mark.parametrize("kind", ["histogram", "maps"])
def test_a_law_can_be_drawn(kind, tmp_path):
    from PIL import Image

    noise_model = example(kind, Quantization.of_bits(16))
    noise_model.figure(tmp_path / "law.png", 102, 700)
    with Image.open(tmp_path / "law.png") as image:
        assert min(image.size) > 300
    noise_model.provenance = {}
    with pytest.raises(UserError, match="range of signals"):
        noise_model.figure(tmp_path / "none.png")


# -- what is fitted is found -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "digital"),
    [(kind, quantization) for kind in ("histogram", "mixture") for quantization in (CONTINUOUS, STEPS, COARSE)]
    + [("gmm_polynomial", CONTINUOUS), ("poisson_gaussian", Quantization(1.0))],
)
def test_a_fit_finds_the_planted_law(kind, quantization):
    """Of values that are whole, in steps coarser than the darkest noise, and of values that are cut off."""
    noise_model, truth = fitted(kind, quantization), PoissonGaussian(2.2, 100.0, 3.5, quantization)
    signal = torch.linspace(110, 330 if quantization.high else 700, 40, dtype=torch.float64)
    mean, variance = noise_model.mean_var(signal)
    assert ((mean - signal).abs() < 0.03 * variance.sqrt()).all()
    torch.testing.assert_close(variance, truth.mean_var(signal)[1], rtol=0.08, atol=0)
    fresh, at = planted(quantization, 100_000, seed=7)
    lost = truth.log_prob(fresh, at).mean() - noise_model.log_prob(fresh, at).mean()
    assert -0.002 < lost < 0.01


def test_a_gaussian_fit_is_the_mean_square():
    noisy = torch.tensor([1.0, 5.0, -3.0, 4.0]) + 100
    assert float(Gaussian.fit(noisy, torch.full((4,), 100.0)).std) == pytest.approx((51 / 4) ** 0.5)


@pytest.mark.parametrize("kind", ["histogram", "mixture"])
def test_fits_repeat(kind):
    noisy, signal = planted(count=5_000)
    first, second = (models.get(kind).fit(noisy, signal) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


@pytest.mark.parametrize("kind", ["gmm_polynomial", "histogram", "mixture"])
def test_pairs_that_do_not_determine_a_law(kind):
    noisy, signal = (part[:1000] for part in planted())
    noise_model = models.get(kind)
    with pytest.raises(UserError, match="at least 100 pairs"):
        noise_model.fit(noisy[:50], signal[:50])
    with pytest.raises(UserError, match="finite"):
        noise_model.fit(noisy / 0, signal)
    with pytest.raises(UserError, match="range"):
        noise_model.fit(noisy, torch.full_like(signal, 100))


def test_maps_and_images_of_correlated_noise_are_not_fitted_to_pairs():
    with pytest.raises(UserError, match="dark frames"):
        PixelMaps.fit(*planted())
    with pytest.raises(UserError, match="images"):
        Correlated.fit(*planted())


@pytest.mark.parametrize("law", [Histogram, Mixture])
def test_hot_pixels_neither_stretch_nor_widen(noise_model):
    noisy, signal = (part.clone() for part in planted())
    hot = slice(None, None, 10_000)
    noisy[hot], signal[hot] = 60_000.0, torch.where(torch.arange(len(signal[hot])) % 2 == 0, signal[hot], 30_000.0)
    found = noise_model.fit(noisy, signal)
    at = torch.linspace(110, 700, 20, dtype=torch.float64)
    fresh, where = planted(count=100_000, seed=9)
    assert TRUTH.log_prob(fresh, where).mean() - found.log_prob(fresh, where).mean() < 0.01
    assert torch.isfinite(found.log_prob(at + 1e6, at)).all()


# -- single kinds ----------------------------------------------------------------------------------


def test_the_mean_of_a_mixture_is_the_signal():
    signal = torch.linspace(-50, 3000, 500, dtype=torch.float64)
    torch.testing.assert_close(fitted("mixture").mean_var(signal)[0], signal, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("kind", ["mixture", "histogram"])
def test_beyond_the_recording_the_variance_goes_on_along_the_line(kind):
    signal = torch.tensor([1500.0, 4000.0], dtype=torch.float64)
    torch.testing.assert_close(fitted(kind).mean_var(signal)[1], TRUTH.mean_var(signal)[1], rtol=0.05, atol=0)


def test_a_mixture_follows_skewed_noise():
    """Noise behind an EM register, whose exact third cumulant is 1.5 slope² (s − o)."""
    signal = 205 + 2000 * torch.rand(400_000, generator=rng(), dtype=torch.float64)
    rng = np.random.default_rng(0)
    noisy = 200 + rng.gamma(rng.poisson((signal.numpy() - 200) / 20).clip(1e-9), 20.0) + rng.normal(0, 5, len(signal))
    noise_model = Mixture.fit(torch.from_numpy(noisy), signal)
    at = torch.full((400_000,), 600.0, dtype=torch.float64)
    drawn = noise_model.sample(at, rng(1)) - 600
    assert float((drawn**2).mean()) == pytest.approx(2 * 20 * 400 + 25, rel=0.03)
    assert float((drawn**3).mean()) == pytest.approx(1.5 * 40**2 * 400, rel=0.1)


def test_a_histogram_of_numpy():
    """The table against a plain histogram of many pairs of nearly one signal."""
    signal = 298 + 4 * torch.rand(2_000_000, generator=rng(), dtype=torch.float64)
    noisy = TRUTH.sample(signal, rng(1))
    noise_model = Histogram.fit(noisy, signal)
    at = TRUTH.sample(torch.full((500_000,), 300.0, dtype=torch.float64), rng(2)).numpy()
    share, edges = np.histogram(at, 40, (230, 380))
    below = noise_model.cdf(torch.from_numpy(edges), torch.full((41,), 300.0, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(np.diff(below), share / len(at), atol=1.5e-3)


def test_maps_take_the_pattern_off():
    """A signal free of pattern, recorded by pixels of different gain and offset: the mean is that of each pixel."""
    rng = np.random.default_rng(0)
    gain, offset = (torch.from_numpy(rng.normal(*noise_model, (20, 30))) for noise_model in ((2.2, 0.05), (100, 2)))
    read_noise = torch.from_numpy(rng.lognormal(1, 0.3, (20, 30)))
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


def test_wild_gains_become_typical():
    gain = torch.full((10, 10), 2.0, dtype=torch.float64)
    gain[0, :4] = torch.tensor([-972.0, 4276.0, float("nan"), 0.0])
    variance = torch.full((10, 10), 9.0, dtype=torch.float64)
    variance[1, :2] = torch.tensor([float("inf"), 1696.0])
    noise_model = PixelMaps.of_maps(gain, torch.full((10, 10), 100.0, dtype=torch.float64), variance)
    assert (noise_model.gain == 2).all()
    assert noise_model.read_noise[1].tolist() == pytest.approx([3.0, 1696**0.5] + [3.0] * 8)


def test_a_polynomial_mixture_against_its_formula():
    """Evaluated by numpy as PPN2V's code does, but for the numerical floor."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(9, 3))
    weight[3:6] += 3
    noise_model = GmmPolynomial(torch.from_numpy(weight), 50.0, 900.0, 30.0)
    signal, noisy = rng.uniform(50, 900, 200), rng.uniform(30, 950, 200)
    found = noise_model.log_prob(torch.from_numpy(noisy), torch.from_numpy(signal)).exp().numpy()
    np.testing.assert_allclose(found, polynomial_mixture(weight, 50, 900, 30, noisy, signal), rtol=1e-9, atol=1e-300)


def polynomial_mixture(weight, low, high, least, noisy, signal):
    place = (signal - low) / (high - low)
    mean, log_variance, log_alpha = (
        [sum(c * place**i for i, c in enumerate(row)) for row in part]
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
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 2)).astype(np.float32)
    weight[2:4] += 4
    file = tmp_path / "gmm.npz"
    np.savez(file, trained_weight=weight, min_signal=np.array([74.0], np.float32), max_signal=[191], min_sigma=50.0)
    noise_model = load_noise(file)
    signal = rng.uniform(74, 191, 300)
    noisy = signal + rng.normal(0, 15, 300)
    expected = polynomial_mixture(weight.astype(float), 74, 191, 50, noisy, signal)
    found = noise_model.log_prob(torch.from_numpy(noisy), torch.from_numpy(signal)).exp().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert noise_model.provenance["signal_range"] == [74, 191]
    noise_model.save(tmp_path / "ours.safetensors")
    assert type(load_noise(tmp_path / "ours.safetensors")) is GmmPolynomial


def test_a_histogram_of_pn2v(tmp_path):
    """Made as PN2V does, of many pairs; then the density is the share of a bin over its width."""
    bins, low, high = 256, 60.0, 900.0
    noisy, signal = (part.numpy() for part in planted(count=2_000_000, seed=5))
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
