"""Tabulated likelihoods against the laws themselves."""

import math
from functools import cache, partial
from itertools import product

import pytest
import torch

from noisewise.noise import models
from noisewise.noise.base import pack
from noisewise.noise.files import unpack
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.quantization import CONTINUOUS, Quantization
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.gmm_polynomial import GmmPolynomial
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

from .test_noise import example

KINDS = sorted(models.kinds())
WHOLE = Quantization(1.0)
CUT = Quantization(1.0, 90.0, 350.0)  # cuts off darkest and brightest
CLOSE = 0.05  # nats
ABOUT = (200.0, 60.0)  # mean and standard deviation of the images: a table from -1000 to 1400


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def heavy_tailed(quantization=CONTINUOUS, share=0.02, breadth=6.0):
    """A skewed core, and such a share of the values from a Gaussian so many times as broad."""
    knots = torch.tensor([100.0, 300.0, 800.0], dtype=torch.float64)
    log_weight = torch.tensor([[0.0, -0.5]] * 3)
    shift, log_scale = torch.tensor([[-0.2, 0.6], [-0.2, 0.5], [-0.1, 0.3]]), torch.tensor([[-0.3, 0.1]] * 3)
    return Mixture(knots, log_weight, shift, log_scale, torch.tensor([share, breadth]), 2.2, -200.0, 4.0, quantization)


@cache
def law_of(kind, quantization=CONTINUOUS):
    """A law of each kind that needs no long fit; it keeps its table from test to test."""
    if kind == "correlated":
        noise_model = Correlated(Gaussian(9.0), row_kernel=6.0, quantization=quantization)
    elif kind == "mixture":
        noise_model = heavy_tailed(quantization)
    elif kind == "gmm_polynomial":
        weight = torch.tensor([[0.0, 5.0], [0.0, -8.0], [5.0, 2.5], [6.5, 2.0], [1.0, 0.5], [0.0, 0.2]])
        noise_model = GmmPolynomial(weight.double(), 100.0, 800.0, 20.0, quantization)
    else:
        noise_model = example(kind, quantization)
    return noise_model


def both(noise_model, noisy, reach=(-8.5, 8.5), count=3000, about=ABOUT):
    """Signals (M, count) around noisy values (M,), and log p of the law and of its table."""
    std = noise_model.mean_var(noisy)[1].sqrt()
    signal = noisy[:, None] + std[:, None] * torch.linspace(*reach, count, dtype=torch.float64)
    exact = noise_model.log_prob(noisy[:, None].expand_as(signal), signal)
    found = noise_model.tabulated(noisy[:, None].float().expand_as(signal), signal.float(), about)
    assert found.dtype == torch.float32 and found.shape == signal.shape and torch.isfinite(found).all()
    return signal, exact, found.double()


def moved(exact, found):
    """Share of the likelihood (normalised over the signals) that the table has elsewhere or not at all."""
    return float(((exact.exp() - found.exp()).abs().sum(1) / exact.exp().sum(1)).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digital", [CONTINUOUS, CUT])
def test_the_table_is_the_law(kind, quantization):
    """Nearly all of the likelihood is where it should be, for dark and bright values."""
    noise_model = law_of(kind, quantization)
    if quantization.step:
        noisy = torch.tensor([91, 97, 100, 101, 104, 110, 130, 177, 240, 300, 333, 349], dtype=torch.float64)
    else:
        noisy = 92 + 250 * torch.rand(30, generator=rng(), dtype=torch.float64) ** 2
    _, exact, found = both(noise_model, noisy, reach=(-14, 25))
    assert moved(exact, found) < 0.015


@pytest.mark.parametrize(
    ("kind", "depth", "close"),
    [
        ("gaussian", 12, 0.02), ("correlated", 12, 0.02), ("gmm_polynomial", 12, 0.02), ("maps", 12, 0.001),
        # These bend more sharply than a column is wide: where outliers take over, or below a photon.
        ("mixture", 6, 0.1), ("poisson_gaussian", 6, 0.05), ("histogram", 2, 0.1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("digital", [CONTINUOUS, CUT])
def test_the_table_is_close_in_the_tails_too(kind, depth, close, quantization):
    """So many nats below the most likely signal."""
    noisy = torch.tensor([97.0, 104.0, 110.0, 130.0, 177.0, 240.0, 333.0], dtype=torch.float64)
    signal, exact, found = both(law_of(kind, quantization), noisy)
    likely = (exact > exact.amax(1, keepdim=True) - depth) & (signal > 102.2)
    assert likely.sum() > 2000
    assert float((found - exact)[likely].abs().max()) < close


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_value_at_a_limit_the_whole_tail_counts(kind):
    """What is saturated says only that the signal is bright, and what is zero that it is dark."""
    noise_model = law_of(kind, CUT)
    noisy = torch.tensor([90.0, 350.0], dtype=torch.float64)[:, None]
    signal = torch.linspace(40, 800, 3000, dtype=torch.float64).expand(2, -1)
    exact = noise_model.log_prob(noisy.expand_as(signal), signal)
    found = noise_model.tabulated(noisy.float(), signal.float(), ABOUT).double()
    assert moved(exact, found) < 0.015
    assert float(found[1, -1]) == pytest.approx(0.0, abs=0.01)  # as certain as can be


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digital", [CONTINUOUS, WHOLE])
def test_the_gradient_points_the_right_way_far_out(kind, quantization):
    """Twenty standard deviations off, also of the darkest and the brightest of the values."""
    noise_model = law_of(kind, quantization)
    noisy = torch.linspace(91, 349, 7, dtype=torch.float64)
    std = noise_model.mean_var(noisy)[1].sqrt()
    for side in (-1, 1):
        signal = (noisy + side * 20 * std).float().requires_grad_()
        value = noise_model.tabulated(noisy.float(), signal, ABOUT)
        value.sum().backward()
        assert torch.isfinite(value).all() and torch.isfinite(signal.grad).all()
        assert (side * signal.grad < -1e-4).all(), (side, signal.grad)


def test_the_gradient_points_the_right_way_where_that_of_the_law_does_not():
    """Of outliers from anywhere a darker signal is likelier, as its noise is less; nothing is learned from that."""
    noise_model, noisy = heavy_tailed(share=1e-4, breadth=100.0), torch.full((2,), 2000.0)
    slopes = []
    for evaluate in (noise_model.log_prob, partial(noise_model.tabulated, about=(2000.0, 300.0))):
        signal = torch.tensor([800.0, 1000.0], requires_grad=True)
        evaluate(noisy, signal).sum().backward()
        slopes.append(signal.grad)
    assert (slopes[0] < 0).all() and (slopes[1] > 1e-3).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "histogram"])
def test_the_gradient_is_that_of_the_law(kind):
    """But for steps between columns: the slope of a Gaussian changes by 1/4 from one to the next."""
    noise_model = law_of(kind, WHOLE)
    noisy = torch.arange(200, 300, 10, dtype=torch.float64)[:, None]
    std = noise_model.mean_var(noisy)[1].sqrt()
    signal = noisy + std * torch.linspace(-2, 2, 200, dtype=torch.float64)
    slopes = []
    for evaluate, dtype in ((noise_model.log_prob, torch.float64), (partial(noise_model.tabulated, about=ABOUT), torch.float32)):
        at = signal.detach().clone().to(dtype).requires_grad_()
        evaluate(noisy.to(dtype).expand_as(at), at).sum().backward()
        slopes.append(at.grad.double() * std)
    off = slopes[0] - slopes[1]
    assert float(off.abs().max()) < 0.3 and float(off.mean().abs()) < 0.02
    assert float(slopes[0].abs().max()) > 1


@pytest.mark.parametrize("digital", [CONTINUOUS, WHOLE])
@pytest.mark.parametrize("value", [-3000.0, 2000.0, 60_000.0])
def test_beyond_its_rows_a_table_is_moved(quantization, value):
    """Of noise that is alike everywhere nothing is lost; how far off x is does not matter."""
    noise_model = Gaussian(7.0, quantization)
    signal = value + torch.linspace(-40, 40, 500)
    found = noise_model.tabulated(torch.full_like(signal, value), signal, (100.0, 20.0))
    torch.testing.assert_close(found, noise_model.log_prob(torch.full_like(signal, value), signal), atol=CLOSE, rtol=0.02)


def test_of_a_pixel_beyond_its_rows_the_noise_is_that_of_its_brightness():
    """A spot of 20,000 photons in a dark image: the likelihood is as wide as the law says there."""
    noise_model, value = PoissonGaussian(2.0, 100.0, 3.0), 40_100.0
    signal = value + 283 * torch.linspace(-6, 6, 500, dtype=torch.float64)
    exact = noise_model.log_prob(torch.full_like(signal, value), signal)
    found = noise_model.tabulated(torch.full_like(signal, value), signal, (110.0, 20.0)).double()
    assert moved((exact - exact.max())[None], (found - found.max())[None]) < 0.015


@pytest.mark.parametrize("step", [1.0, 0.1])
def test_all_values_of_a_camera_of_eight_bits_have_their_own_row(step):
    """A law with a peak for each photon: neighbouring values differ by many nats, and none is a mean of two."""
    noise_model = PoissonGaussian(20 * step, 5 * step, 1.5 * step, Quantization(step, 0.0, 255 * step))
    noisy = step * torch.cat([torch.arange(0, 60), torch.arange(60, 256, 13)]).double()[:, None].expand(-1, 1200)
    signal = step * torch.linspace(-5, 500, 1200, dtype=torch.float64).expand(len(noisy), -1)
    exact = noise_model.log_prob(noisy, signal)
    assert float(exact[:60].diff(dim=0).abs().amax(1).median()) > 1  # nats, from value to value
    found = noise_model.tabulated(noisy.float(), signal.float(), (60 * step, 50 * step)).double()
    assert moved(exact, found) < 0.03
    signal, exact, found = (part[:, 60:] for part in (signal, exact, found))  # three quarters of a photon and more
    likely = exact > exact.amax(1, keepdim=True) - 4
    assert float((found - exact)[likely].abs().max()) < CLOSE


@pytest.mark.parametrize("digital", [CONTINUOUS, WHOLE, Quantization.of_bits(16)])
def test_hot_pixels_do_not_blur_the_likelihoods_of_the_dark(quantization):
    """Few pixels of 60,000 spread the image over thousands, and a noise of four grey values must still be known."""
    noise_model = heavy_tailed(quantization)
    noisy = torch.arange(98, 140, 3, dtype=torch.float64)
    for about in ((110.0, 15.0), (115.0, 500.0), (200.0, 3000.0)):
        signal, exact, found = both(noise_model, noisy, reach=(-14, 25), about=about)
        assert moved(exact, found) < 0.03
        means = [(p.softmax(1) * signal).sum(1) for p in (exact, found)]
        assert float(((means[0] - means[1]).abs() / noise_model.mean_var(noisy)[1].sqrt()).max()) < 0.02


@pytest.mark.parametrize("digital", [CONTINUOUS, WHOLE])
def test_an_image_with_a_thousand_times_more_contrast_than_noise(quantization):
    """There are fewer rows than standard deviations of the noise between dark and bright."""
    noise_model, about = Gaussian(3.0, quantization), (3000.0, 3000.0)
    noisy = torch.tensor([120.0, 1501.0, 3017.0, 9004.0, 25_011.0], dtype=torch.float64)
    _, exact, found = both(noise_model, noisy, about=about)
    assert moved(exact, found) < 0.02
    assert float((found - exact).abs().max()) < 0.15  # of 36 nats: single precision knows these x to 1/1000


def test_what_lies_at_a_limit_is_told_from_what_lies_beside_it():
    """Of 16 bits not every value has a row: the brightest one still says no more than that it was too bright."""
    noise_model = Gaussian(20.0, Quantization.of_bits(16))
    noisy = torch.tensor([0.0, 1.0, 65_534.0, 65_535.0], dtype=torch.float64)[:, None]
    signal = noisy + torch.linspace(-400, 400, 2001, dtype=torch.float64)
    exact = noise_model.log_prob(noisy.expand_as(signal), signal)
    for about in ((2000.0, 500.0), (20_000.0, 15_000.0)):  # limits far beyond the rows, and among them
        found = noise_model.tabulated(noisy.float().expand_as(signal), signal.float(), about).double()
        assert moved(exact, found) < 0.015


def test_values_that_the_camera_cannot_have_are_as_those_at_its_limit():
    """A model meets an image of another pixel type: as bright as can be, and no crash."""
    noise_model = Gaussian(5.0, Quantization(1.0, 0.0, 255.0))
    signal = torch.tensor([240.0, 250.0, 260.0])
    for about in ((100.0, 20.0), (9000.0, 20.0)):
        noisy = torch.tensor([256.0, 300.0, 9000.0])
        expected = noise_model.log_prob(noisy.clamp(max=255), signal)
        torch.testing.assert_close(noise_model.tabulated(noisy, signal, about), expected, atol=CLOSE, rtol=0)


def test_a_table_is_made_once_and_depends_on_the_images_alone():
    """Not on what was looked up before: a run that is resumed goes on as it began."""

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


def test_a_table_that_was_made_while_predicting_serves_training():
    noise_model, noisy = Gaussian(5.0), torch.tensor([100.0, 110.0])
    with torch.inference_mode():
        before = noise_model.tabulated(noisy, noisy + 3, (100.0, 20.0)).tolist()
    signal = (noisy + 3).requires_grad_()
    value = noise_model.tabulated(noisy, signal, (100.0, 20.0))
    value.sum().backward()
    assert value.tolist() == before
    torch.testing.assert_close(signal.grad, torch.full((2,), -3 / 25), atol=0.03, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_a_law_may_live_on_an_accelerator():
    """Made there, made here and moved: one table."""
    noisy = torch.tensor([91.0, 104.0, 177.0, 349.0])[:, None]
    signal = noisy + torch.linspace(-60, 60, 100)
    for kind, quantization in product(KINDS, (CONTINUOUS, CUT)):
        here = law_of(kind, quantization)
        expected, there = here.tabulated(noisy, signal, ABOUT), unpack(*pack(here)).to("cuda")
        for noise_model in (there, here) if kind != "maps" else (there,):  # those have no table to move
            found = noise_model.tabulated(noisy.to("cuda"), signal.to("cuda"), ABOUT)
            assert found.device.type == "cuda"
            torch.testing.assert_close(found.cpu(), expected, atol=0.01, rtol=1e-3)


@pytest.mark.parametrize("std", [0.0, 1e-6, 1.0])
@pytest.mark.parametrize("digital", [CONTINUOUS, WHOLE])
def test_an_image_with_less_contrast_than_noise(quantization, std):
    """As of a law that was measured elsewhere."""
    noise_model, signal = Gaussian(5.0, quantization), torch.linspace(-20, 20, 100)
    for value in (0.0, 3.0):
        found = noise_model.tabulated(torch.tensor([value]), signal, (0.0, std))
        torch.testing.assert_close(found, noise_model.log_prob(torch.full((100,), value), signal), atol=CLOSE, rtol=0.02)


def test_shapes_broadcast_and_arguments_of_any_type_give_single_precision():
    noise_model = Gaussian(5.0)
    noisy, signal = torch.linspace(90, 110, 4)[:, None], torch.linspace(80, 120, 7)
    expected = -0.5 * ((noisy - signal) / 5) ** 2 - math.log(5 * math.sqrt(2 * math.pi))
    found = noise_model.tabulated(noisy, signal, ABOUT)
    assert found.shape == (4, 7) and found.dtype == torch.float32 and found.device == signal.device
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    doubles = noise_model.tabulated(noisy.double(), signal.double(), ABOUT)
    assert torch.equal(doubles, found) and doubles.dtype == torch.float32


def test_maps_are_looked_up_in_no_table():
    """Each pixel has a law of its own: the likelihood is exact."""
    noise_model = PixelMaps(torch.tensor([2.0, 3.0]), torch.tensor([100.0, 90.0]), torch.tensor([2.0, 20.0]))
    noisy, signal = torch.tensor([120.0, 130.0]), torch.tensor([118.0, 118.0])
    assert torch.equal(noise_model.tabulated(noisy, signal, ABOUT), noise_model.log_prob(noisy, signal))
