"""Tabulated likelihoods against the noise models themselves."""

import math
from functools import cache, partial
from itertools import product

import pytest
import torch

from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization

from .noise_models import CLIPPED, KINDS, example, heavy_tailed, rng

WHOLE = Quantization(1.0)
CLOSE = 0.05  # nats
STATISTICS = (200.0, 60.0)  # mean and standard deviation of the images: a table from -1000 to 1400


def noise_model_of(kind, quantization=CONTINUOUS):
    """The examples of each kind, but correlated noise with row offsets; cached, so that the tests share its tables."""
    return rows(quantization) if kind == "correlated" else example(kind, quantization)


@cache
def rows(quantization):
    return Correlated(Gaussian(9.0), row_kernel=6.0, quantization=quantization)


def both(noise_model, noisy, stds=(-8.5, 8.5), count=1500, statistics=STATISTICS):
    """Signals (M, count) around noisy values (M,), and log p of the noise model and of its table."""
    std = noise_model.mean_var(noisy)[1].sqrt()
    signal = noisy[:, None] + std[:, None] * torch.linspace(*stds, count, dtype=torch.float64)
    exact = noise_model.log_prob(noisy[:, None].expand_as(signal), signal)
    found = noise_model.tabulated(noisy[:, None].float().expand_as(signal), signal.float(), statistics)
    assert found.dtype == torch.float32 and found.shape == signal.shape and torch.isfinite(found).all()
    return signal, exact, found.double()


def distance(exact, found):
    """Total variation between the likelihoods (normalised over the signals) of the noise model and its table, twice."""
    return float(((exact.exp() - found.exp()).abs().sum(1) / exact.exp().sum(1)).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantization", [CONTINUOUS, CLIPPED])
def test_the_table_agrees_with_the_noise_model(kind, quantization):
    """The likelihood over the signals, for dark and bright values."""
    noise_model = noise_model_of(kind, quantization)
    if quantization.step:
        noisy = torch.tensor([91, 97, 100, 101, 104, 110, 130, 177, 240, 300, 333, 349], dtype=torch.float64)
    else:
        noisy = 92 + 250 * torch.rand(30, generator=rng(), dtype=torch.float64) ** 2
    _, exact, found = both(noise_model, noisy, stds=(-14, 25))
    assert distance(exact, found) < 0.015


@pytest.mark.parametrize(
    ("kind", "depth", "tolerance"),
    [
        ("gaussian", 12, 0.02), ("correlated", 12, 0.02), ("gmm_polynomial", 12, 0.02), ("pixel_maps", 12, 0.001),
        # These bend within one column: where outliers dominate, or below one photon.
        ("mixture", 6, 0.1), ("poisson_gaussian", 6, 0.05), ("histogram", 2, 0.1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("quantization", [CONTINUOUS, CLIPPED])
def test_the_table_agrees_in_the_tails(kind, depth, tolerance, quantization):
    """Up to `depth` nats below the most likely signal."""
    noisy = torch.tensor([97.0, 104.0, 110.0, 130.0, 177.0, 240.0, 333.0], dtype=torch.float64)
    signal, exact, found = both(noise_model_of(kind, quantization), noisy)
    likely = (exact > exact.amax(1, keepdim=True) - depth) & (signal > 102.2)
    assert likely.sum() > 1000
    assert float((found - exact)[likely].abs().max()) < tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_of_a_clipped_value_is_the_mass_of_its_tail(kind):
    """A saturated value only bounds the signal from below, a zero only from above."""
    noise_model = noise_model_of(kind, CLIPPED)
    noisy = torch.tensor([90.0, 350.0], dtype=torch.float64)[:, None]
    signal = torch.linspace(40, 800, 1500, dtype=torch.float64).expand(2, -1)
    exact = noise_model.log_prob(noisy.expand_as(signal), signal)
    found = noise_model.tabulated(noisy.float(), signal.float(), STATISTICS).double()
    assert distance(exact, found) < 0.015
    assert float(found[1, -1]) == pytest.approx(0.0, abs=0.01)  # probability one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantization", [CONTINUOUS, CLIPPED])
def test_the_gradient_points_to_the_value_from_far_away(kind, quantization):
    """Twenty standard deviations away, also for the darkest and the brightest values."""
    noise_model = noise_model_of(kind, quantization)
    noisy = torch.linspace(91, 349, 7, dtype=torch.float64)
    std = noise_model.mean_var(noisy)[1].sqrt()
    for side in (-1, 1):
        signal = (noisy + side * 20 * std).float().requires_grad_()
        value = noise_model.tabulated(noisy.float(), signal, STATISTICS)
        value.sum().backward()
        assert torch.isfinite(value).all() and torch.isfinite(signal.grad).all()
        assert (side * signal.grad < -1e-4).all(), (side, signal.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_of_a_missing_signal_is_missing(kind):
    noise_model = noise_model_of(kind, CLIPPED)
    noisy, signal = torch.full((2,), 200.0), torch.tensor([float("nan"), 200.0])
    for evaluate in (noise_model.log_prob, partial(noise_model.tabulated, image_statistics=STATISTICS)):
        assert evaluate(noisy, signal).isnan().tolist() == [True, False]


def test_the_gradient_points_to_the_value_where_that_of_the_noise_model_does_not():
    """With uniform outliers a darker signal is likelier, since its noise is weaker; a table avoids that gradient."""
    noise_model, noisy = heavy_tailed(fraction=1e-4, width=100.0), torch.full((2,), 2000.0)
    slopes = []
    for evaluate in (noise_model.log_prob, partial(noise_model.tabulated, image_statistics=(2000.0, 300.0))):
        signal = torch.tensor([800.0, 1000.0], requires_grad=True)
        evaluate(noisy, signal).sum().backward()
        slopes.append(signal.grad)
    assert (slopes[0] < 0).all() and (slopes[1] > 1e-3).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "histogram"])
def test_the_gradient_agrees_with_that_of_the_noise_model(kind):
    """Except for steps between columns: the slope of a Gaussian changes by 1/4 from one to the next."""
    noise_model = noise_model_of(kind, CLIPPED)
    noisy = torch.arange(200, 300, 10, dtype=torch.float64)[:, None]
    std = noise_model.mean_var(noisy)[1].sqrt()
    signal = noisy + std * torch.linspace(-2, 2, 200, dtype=torch.float64)
    slopes = []
    for evaluate, dtype in (
        (noise_model.log_prob, torch.float64),
        (partial(noise_model.tabulated, image_statistics=STATISTICS), torch.float32),
    ):
        at = signal.detach().clone().to(dtype).requires_grad_()
        evaluate(noisy.to(dtype).expand_as(at), at).sum().backward()
        slopes.append(at.grad.double() * std)
    off = slopes[0] - slopes[1]
    assert float(off.abs().max()) < 0.3 and float(off.mean().abs()) < 0.02
    assert float(slopes[0].abs().max()) > 1


@pytest.mark.parametrize("quantization", [CONTINUOUS, WHOLE])
@pytest.mark.parametrize("value", [-3000.0, 2000.0, 60_000.0])
def test_outside_its_rows_a_table_is_shifted(quantization, value):
    """For noise that does not depend on the signal this is exact, at any distance."""
    noise_model = Gaussian(7.0, quantization)
    signal = value + torch.linspace(-40, 40, 500)
    found = noise_model.tabulated(torch.full_like(signal, value), signal, (100.0, 20.0))
    torch.testing.assert_close(
        found, noise_model.log_prob(torch.full_like(signal, value), signal), atol=CLOSE, rtol=0.02
    )


def test_outside_its_rows_the_width_is_that_of_the_noise_at_this_signal():
    """A spot of 20,000 photons in a dark image."""
    noise_model, value = noise_model_of("poisson_gaussian"), 44_100.0
    signal = value + 311 * torch.linspace(-6, 6, 500, dtype=torch.float64)
    exact = noise_model.log_prob(torch.full_like(signal, value), signal)
    found = noise_model.tabulated(torch.full_like(signal, value), signal, STATISTICS).double()
    assert distance((exact - exact.max())[None], (found - found.max())[None]) < 0.015


@pytest.mark.parametrize("step", [1.0, 0.1])
def test_all_values_of_an_8_bit_camera_have_their_own_row(step):
    """With a peak for each photon, successive values differ by many nats; interpolation between them would be wrong."""
    noise_model = PoissonGaussian(20 * step, 5 * step, 1.5 * step, Quantization(step, 0.0, 255 * step))
    noisy = step * torch.cat([torch.arange(0, 60), torch.arange(60, 256, 13)]).double()[:, None].expand(-1, 1200)
    signal = step * torch.linspace(-5, 500, 1200, dtype=torch.float64).expand(len(noisy), -1)
    exact = noise_model.log_prob(noisy, signal)
    assert float(exact[:60].diff(dim=0).abs().amax(1).median()) > 1  # nats, from value to value
    found = noise_model.tabulated(noisy.float(), signal.float(), (60 * step, 50 * step)).double()
    assert distance(exact, found) < 0.03
    signal, exact, found = (part[:, 60:] for part in (signal, exact, found))  # three quarters of a photon and more
    likely = exact > exact.amax(1, keepdim=True) - 4
    assert float((found - exact)[likely].abs().max()) < CLOSE


@pytest.mark.parametrize("quantization", [CONTINUOUS, Quantization.of_bits(16)])
def test_hot_pixels_do_not_degrade_the_likelihood_of_dark_pixels(quantization):
    """A few pixels of 60,000 ADU raise the standard deviation of the image to thousands; the noise is 4 ADU."""
    noise_model = heavy_tailed(quantization)
    noisy = torch.arange(98, 140, 3, dtype=torch.float64)
    for statistics in ((110.0, 15.0), (115.0, 500.0), (200.0, 3000.0)):
        signal, exact, found = both(noise_model, noisy, stds=(-14, 25), statistics=statistics)
        assert distance(exact, found) < 0.03
        means = [(p.softmax(1) * signal).sum(1) for p in (exact, found)]
        assert float(((means[0] - means[1]).abs() / noise_model.mean_var(noisy)[1].sqrt()).max()) < 0.02


@pytest.mark.parametrize("quantization", [CONTINUOUS, WHOLE])
def test_an_image_with_a_thousand_times_more_contrast_than_noise(quantization):
    """The rows are farther apart than the standard deviation of the noise."""
    noise_model, statistics = Gaussian(3.0, quantization), (3000.0, 3000.0)
    noisy = torch.tensor([120.0, 1501.0, 3017.0, 9004.0, 25_011.0], dtype=torch.float64)
    _, exact, found = both(noise_model, noisy, statistics=statistics)
    assert distance(exact, found) < 0.02
    assert float((found - exact).abs().max()) < 0.15  # of 36 nats; single precision resolves these x to 1/1000


def test_a_value_at_a_limit_differs_from_the_value_next_to_it():
    """For 16 bits not every value has a row, but both limits do."""
    noise_model = Gaussian(20.0, Quantization.of_bits(16))
    noisy = torch.tensor([0.0, 1.0, 65_534.0, 65_535.0], dtype=torch.float64)[:, None]
    signal = noisy + torch.linspace(-400, 400, 2001, dtype=torch.float64)
    exact = noise_model.log_prob(noisy.expand_as(signal), signal)
    for statistics in ((2000.0, 500.0), (20_000.0, 15_000.0)):  # limits outside the rows, and among them
        found = noise_model.tabulated(noisy.float().expand_as(signal), signal.float(), statistics).double()
        assert distance(exact, found) < 0.015


def test_values_outside_the_limits_count_as_those_at_the_limit():
    """As in an image of another pixel type."""
    noise_model = Gaussian(5.0, Quantization(1.0, 0.0, 255.0))
    signal = torch.tensor([240.0, 250.0, 260.0])
    for statistics in ((100.0, 20.0), (9000.0, 20.0)):
        noisy = torch.tensor([256.0, 300.0, 9000.0])
        expected = noise_model.log_prob(noisy.clamp(max=255), signal)
        torch.testing.assert_close(noise_model.tabulated(noisy, signal, statistics), expected, atol=CLOSE, rtol=0)


def test_a_table_is_built_once_and_depends_on_the_image_statistics_alone():
    """Not on earlier look-ups, so that a resumed training gives the same result."""

    class Counted(Gaussian):
        made = 0

        def log_prob(self, noisy, signal):
            Counted.made += 1
            return super().log_prob(noisy, signal)

    noise_model, noisy = Counted(5.0, Quantization(1.0, 0.0, 255.0)), torch.tensor([100.0, 300.0])
    first = noise_model.tabulated(noisy, noisy, (100.0, 20.0))
    made = Counted.made
    noise_model.tabulated(torch.tensor([-50.0, 1e6]), torch.tensor([1e7, -1e7]), (100.0, 20.0))
    assert torch.equal(noise_model.tabulated(noisy, noisy, (100.0, 20.0)), first) and Counted.made == made > 0
    noise_model.tabulated(noisy, noisy, (90.0, 20.0))
    assert Counted.made > made


def test_a_table_that_was_built_in_inference_mode_is_differentiable():
    noise_model, noisy = Gaussian(5.0), torch.tensor([100.0, 110.0])
    with torch.inference_mode():
        before = noise_model.tabulated(noisy, noisy + 3, (100.0, 20.0)).tolist()
    signal = (noisy + 3).requires_grad_()
    value = noise_model.tabulated(noisy, signal, (100.0, 20.0))
    value.sum().backward()
    assert value.tolist() == before
    torch.testing.assert_close(signal.grad, torch.full((2,), -3 / 25), atol=0.03, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_a_noise_model_may_be_on_an_accelerator():
    """The table is the same whether it is built there, or here and moved."""
    noisy = torch.tensor([91.0, 104.0, 177.0, 349.0])[:, None]
    signal = noisy + torch.linspace(-60, 60, 100)
    for kind, quantization in product(KINDS, (CONTINUOUS, CLIPPED)):
        here = noise_model_of(kind, quantization)
        expected, there = here.tabulated(noisy, signal, STATISTICS), here.with_quantization(quantization).to("cuda")
        for noise_model in (there, here) if kind != "pixel_maps" else (there,):  # those have no table to move
            found = noise_model.tabulated(noisy.to("cuda"), signal.to("cuda"), STATISTICS)
            assert found.device.type == "cuda"
            torch.testing.assert_close(found.cpu(), expected, atol=0.01, rtol=1e-3)


@pytest.mark.parametrize("std", [0.0, 1e-6, 1.0])
@pytest.mark.parametrize("quantization", [CONTINUOUS, WHOLE])
def test_an_image_with_less_contrast_than_noise(quantization, std):
    """As with a noise model from another image."""
    noise_model, signal = Gaussian(5.0, quantization), torch.linspace(-20, 20, 100)
    for value in (0.0, 3.0):
        found = noise_model.tabulated(torch.tensor([value]), signal, (0.0, std))
        torch.testing.assert_close(
            found, noise_model.log_prob(torch.full((100,), value), signal), atol=CLOSE, rtol=0.02
        )


def test_shapes_broadcast_and_results_are_single_precision():
    noise_model = Gaussian(5.0)
    noisy, signal = torch.linspace(90, 110, 4)[:, None], torch.linspace(80, 120, 7)
    expected = -0.5 * ((noisy - signal) / 5) ** 2 - math.log(5 * math.sqrt(2 * math.pi))
    found = noise_model.tabulated(noisy, signal, STATISTICS)
    assert found.shape == (4, 7) and found.dtype == torch.float32 and found.device == signal.device
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    doubles = noise_model.tabulated(noisy.double(), signal.double(), STATISTICS)
    assert torch.equal(doubles, found) and doubles.dtype == torch.float32


def test_pixel_maps_use_no_table():
    """Each pixel has its own noise model; the likelihood is exact."""
    noise_model = PixelMaps(torch.tensor([2.0, 3.0]), torch.tensor([100.0, 90.0]), torch.tensor([2.0, 20.0]))
    noisy, signal = torch.tensor([120.0, 130.0]), torch.tensor([118.0, 118.0])
    assert torch.equal(noise_model.tabulated(noisy, signal, STATISTICS), noise_model.log_prob(noisy, signal))
