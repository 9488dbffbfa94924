"""PN2V: prior times likelihood against dense integration, the minimum of its loss, and pixel maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor, nn

import noisewise as nw
from noisewise.axes import Layout
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.io.memory import MemorySink
from noisewise.methods.base import Batch, Denoiser
from noisewise.methods.pn2v import PN2V, particles
from noisewise.nets.blind import draw_mask, lattice_sides
from noisewise.noise.base import Noise
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.pixel_maps import PixelMaps
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import CONTINUOUS, Quantization
from noisewise.predict.outputs import Outputs
from noisewise.predict.run import Predictor
from noisewise.workflow.training import Training

from .conftest import blobs, denoiser
from .noise_models import example, heavy_tailed

WHOLE = Quantization(1.0)
CUT = Quantization(1.0, 90.0, 350.0)
ABOUT = (200.0, 60.0)  # mean and standard deviation of the images that pixels are taken from
SMALL: dict[str, Any] = {"network": "classic", "features": 4, "depth": 1, "batch_size": 2, "patch_size": 32}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def noise_model_of(kind: str) -> Noise:
    """A noise model, which keeps its table from test to test."""
    noise_models: dict[str, Callable[[], Noise]] = {
        "gaussian": lambda: Gaussian(15.0),
        "cut gaussian": lambda: Gaussian(15.0, CUT),
        "photons": lambda: PoissonGaussian(2.0, 100.0, 1.0, WHOLE),
        "noisy photons": lambda: PoissonGaussian(2.0, 100.0, 3.0, WHOLE),
        "cut photons": lambda: PoissonGaussian(2.0, 100.0, 3.0, CUT),
        "pure photons": lambda: PoissonGaussian(2.0, 100.0, 0.0, WHOLE),
        "mixture": lambda: heavy_tailed(WHOLE),
        "cut mixture": lambda: heavy_tailed(CUT),
        "histogram": lambda: example("histogram", WHOLE),
    }
    return noise_models[kind]()


Moments = tuple[np.ndarray, np.ndarray, np.ndarray]


def dense(noise_model: Noise, x: Tensor, weight: Tensor, mu: Tensor, tau: Tensor) -> Moments:
    """Log evidence, mean and standard deviation of each pixel by the trapezoid rule on 6001 signals."""
    found = []
    for i in range(len(x)):
        low, high = float((mu[i] - 8 * tau[i]).min()), float((mu[i] + 8 * tau[i]).max())
        s = torch.linspace(low, high, 6001, dtype=torch.float64)
        prior = sum(
            w * np.exp(-0.5 * ((s.numpy() - m) / t) ** 2) / (t * math.sqrt(2 * math.pi))
            for w, m, t in zip(*(part[i].tolist() for part in (weight, mu, tau)), strict=True)
        )
        log_prob = noise_model.log_prob(x[i].double().expand_as(s), s).numpy()
        joint = prior * np.exp(log_prob - log_prob.max())
        evidence = np.trapezoid(joint, s)
        mean = np.trapezoid(joint * s.numpy(), s) / evidence
        variance = np.trapezoid(joint * (s.numpy() - mean) ** 2, s) / evidence
        found.append((math.log(evidence) + log_prob.max(), mean, math.sqrt(variance)))
    evidences, means, stds = np.array(found).T
    return evidences, means, stds


def joined(noise_model: Noise, *given: Any) -> tuple[Tensor, Tensor]:
    """Signals and log weights, with the likelihood in them."""
    signal, log_weight, likelihood = particles(noise_model, ABOUT, *given)
    return signal, log_weight + likelihood


def few(noise_model: Noise, x: Tensor, weight: Tensor, mu: Tensor, tau: Tensor, nodes: int) -> Moments:
    """The same by `particles`."""
    signal, log_weight = joined(noise_model, x[:, None], weight.log(), mu, tau, nodes)
    assert signal.shape == log_weight.shape == (len(x), mu.shape[1] * nodes)
    share, signal = log_weight.double().softmax(-1), signal.double()
    mean = (share * signal).sum(-1)
    std = (share * (signal - mean[:, None]) ** 2).sum(-1).sqrt()
    return torch.logsumexp(log_weight.double(), -1).numpy(), mean.numpy(), std.numpy()


def off(noise_model: Noise, x: Any, weight: Any, mu: Any, tau: Any, nodes: int = 5) -> tuple[float, float, float]:
    """Largest error of the evidence (nats), of the mean (standard deviations), of the standard deviation (relative)."""
    given = [torch.as_tensor(np.asarray(part), dtype=torch.float32) for part in (x, weight, mu, tau)]
    given = [given[0], *(part.expand(len(given[0]), -1) if part.ndim == 1 else part for part in given[1:])]
    exact, found = dense(noise_model, *given), few(noise_model, *given, nodes)
    return (
        float(np.abs(found[0] - exact[0]).max()),
        float((np.abs(found[1] - exact[1]) / exact[2]).max()),
        float(np.abs(found[2] / exact[2] - 1).max()),
    )


def grid_of(noise_model: Noise, means: list[float], steps: list[float], widths: list[float]) -> tuple[Tensor, ...]:
    """x so many standard deviations from the prior's mean, for priors of widths in these units; whole values."""
    rows = [
        (float(round(m + d * std)), m, w * std)
        for m in means
        for std in [float(noise_model.mean_var(torch.tensor([m]).double())[1].sqrt())]
        for d in steps
        for w in widths
    ]
    x, mu, tau = torch.tensor(rows).T
    return x, torch.ones(len(x), 1), mu[:, None], tau[:, None]


# -- prior times likelihood ------------------------------------------------------------------------


def test_gaussian_noise_and_a_gaussian_prior_against_the_closed_form() -> None:
    """Product of two Gaussians; the table is straight between columns, which costs a hundredth of a nat at most."""
    noise_model, rng = noise_model_of("gaussian"), np.random.default_rng(0)
    mu, tau = rng.uniform(120, 320, 200), rng.uniform(1, 60, 200)
    x = (mu + rng.uniform(-4, 4, 200) * np.hypot(tau, 15)).clip(92, 348)
    given = [torch.as_tensor(part, dtype=torch.float32) for part in (x, mu[:, None], tau[:, None])]
    evidence, mean, std = few(noise_model, given[0], torch.ones(200, 1), given[1], given[2], 5)
    np.testing.assert_allclose(evidence, stats.norm.logpdf(x, mu, np.hypot(tau, 15)), atol=0.02)
    precision = 1 / tau**2 + 1 / 15**2
    np.testing.assert_allclose(std, precision**-0.5, rtol=0.01)
    np.testing.assert_allclose(mean, (mu / tau**2 + x / 15**2) / precision, atol=0.01 * std.max())


def test_a_mixture_of_priors_against_the_closed_form() -> None:
    noise_model, rng = noise_model_of("gaussian"), np.random.default_rng(1)
    mu, tau = rng.uniform(120, 320, (100, 3)), rng.uniform(1, 60, (100, 3))
    x = (mu[:, 0] + rng.uniform(-3, 3, 100) * np.hypot(tau[:, 0], 15)).clip(92, 348)
    weight = rng.dirichlet([1, 1, 1], 100)
    each = np.log(weight) + stats.norm.logpdf(x[:, None], mu, np.hypot(tau, 15))
    expected = np.logaddexp.reduce(each, 1)
    share = np.exp(each - expected[:, None])
    variances = 1 / (1 / tau**2 + 1 / 15**2)
    means = variances * (mu / tau**2 + x[:, None] / 15**2)
    mean = (share * means).sum(1)
    std = np.sqrt((share * (variances + (means - mean[:, None]) ** 2)).sum(1))
    given = [torch.as_tensor(part, dtype=torch.float32) for part in (x, weight, mu, tau)]
    found = few(noise_model, *given, 5)
    np.testing.assert_allclose(found[0], expected, atol=0.02)
    np.testing.assert_allclose((found[1] - mean) / std, 0, atol=0.02)
    np.testing.assert_allclose(found[2], std, rtol=0.02)


@pytest.mark.parametrize("kind", ["photons", "noisy photons", "mixture", "histogram"])
@pytest.mark.parametrize("photons", [0.5, 2.0, 10.0, 100.0])
def test_five_signals_are_as_good_as_an_integral(kind: str, photons: float) -> None:
    """Priors that are narrower than the noise, and as wide."""
    noise_model = noise_model_of(kind)
    evidence, mean, std = off(noise_model, *grid_of(noise_model, [100 + 2 * photons], [-1, 0, 1, 2], [0.1, 0.3, 1.0]))
    assert evidence < 0.08 and mean < 0.15 and std < 0.15


@pytest.mark.parametrize("photons", [2.0, 10.0, 100.0])
def test_photons_without_read_noise(photons: float) -> None:
    """Signals below the offset are then impossible: the prior is above it."""
    noise_model = noise_model_of("pure photons")
    x = 100 + 2 * torch.arange(max(0, photons - 2 * photons**0.5), photons + 2 * photons**0.5).round()
    ones = torch.ones(len(x), 1)
    evidence, mean, std = off(noise_model, x, ones, ones * (100 + 2 * photons), ones * 0.6 * photons**0.5)
    assert evidence < 0.03 and mean < 0.05 and std < 0.03


@pytest.mark.parametrize("kind", ["noisy photons", "mixture"])
def test_a_sum_over_several_components_is_the_integral(kind: str) -> None:
    """One that fits x, one that does not, one that is narrow: the sum over them is the integral."""
    noise_model = noise_model_of(kind)
    x = torch.tensor([105.0, 120.0, 140.0, 200.0, 260.0])
    mu = torch.tensor([[110.0, 180.0, 140.0]]).expand(5, -1) + (x - 140)[:, None] * 0.5
    weight = torch.tensor([[0.6, 0.3, 0.1]]).expand(5, -1)
    tau = torch.tensor([[4.0, 25.0, 1.0]]).expand(5, -1)
    evidence, mean, std = off(noise_model, x, weight, mu, tau)
    assert evidence < 0.06 and mean < 0.1 and std < 0.1


@pytest.mark.parametrize("kind", ["gaussian", "noisy photons", "mixture", "histogram"])
def test_a_wide_prior_leaves_the_posterior_at_the_pixel(kind: str) -> None:
    """Of a bright image, or at an edge: x is many standard deviations of the noise off, but two of the prior's.

    That is no outlier. The posterior is about x.
    """
    x, mu, tau = torch.tensor([[300.0, 110.0, 120.0], [330.0, 130.0, 100.0], [250.0, 120.0, 65.0]]).T
    evidence, mean, std = off(noise_model_of(kind), x, torch.ones(3, 1), mu[:, None], tau[:, None])
    assert evidence < 0.08 and mean < 0.1 and std < 0.1


def test_outliers_of_heavy_tailed_noise_are_treated_as_outliers() -> None:
    """x far from the prior: the posterior is about the prior, where that of a Gaussian would be about x."""
    noise_model = noise_model_of("mixture")
    x, weight, mu, tau = grid_of(noise_model, [110.0, 150.0], [-6, 6, 9, 12], [0.1, 0.3])
    evidence, mean, std = off(noise_model, x, weight, mu, tau)
    assert evidence < 0.15 and mean < 0.1 and std < 0.06  # the table is linear above nine standard deviations
    found = few(noise_model, x, weight, mu, tau, 5)
    pulled = mu[:, 0] + (x - mu[:, 0]) * tau[:, 0] ** 2 / (tau[:, 0] ** 2 + noise_model.mean_var(mu[:, 0])[1])
    narrow = tau[:, 0] > 2  # where a Gaussian would move by more than the prior's width
    assert (np.abs(found[1] - mu[:, 0].numpy()) < 0.4 * (pulled - mu[:, 0]).abs().numpy())[narrow.numpy()].all()


def test_between_usual_and_outlier_the_posterior_has_two_peaks_and_is_roughly_right() -> None:
    noise_model = noise_model_of("mixture")
    evidence, mean, std = off(noise_model, *grid_of(noise_model, [110.0, 150.0], [3, 4, 5], [0.3, 1.0]))
    assert evidence < 0.25 and mean < 0.4 and std < 0.3


@pytest.mark.parametrize("kind", ["cut gaussian", "cut photons", "cut mixture"])
def test_values_at_the_limits_of_the_camera(kind: str) -> None:
    """A saturated pixel shows that the signal is bright, a pixel at zero that it is dark; not how much."""
    noise_model = noise_model_of(kind)
    above = torch.tensor([[300.0, 30.0], [340.0, 10.0], [360.0, 30.0], [450.0, 30.0], [450.0, 100.0]])
    below = torch.tensor([[95.0, 10.0], [60.0, 10.0], [110.0, 5.0]])
    for value, priors in ((350.0, above), (90.0, below)):
        mu, tau = priors.T[..., None]
        x, ones = torch.full((len(mu),), value), torch.ones_like(mu)
        evidence, mean, std = off(noise_model, x, ones, mu, tau)
        assert evidence < 0.3 and mean < 0.5 and std < 0.4
    # Where the prior lies above the limit already, prior and posterior are equal.
    found = few(
        noise_model, torch.tensor([350.0]), torch.ones(1, 1), torch.tensor([[600.0]]), torch.tensor([[30.0]]), 5
    )
    assert found[0][0] == pytest.approx(0, abs=0.01)
    assert found[1][0] == pytest.approx(600, abs=0.3) and found[2][0] == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize("kind", ["gaussian", "pure photons", "photons", "mixture", "histogram"])
@pytest.mark.parametrize("nodes", [1, 5, 16, 32])
def test_the_evidence_is_never_above_the_greatest_likelihood(kind: str, nodes: int) -> None:
    """It is a mean of likelihoods. Whatever a network puts out, and however many signals are looked at."""
    noise_model, rng = noise_model_of(kind), np.random.default_rng(0)
    x = 2.0 * torch.as_tensor(rng.integers(46, 174, 100), dtype=torch.float32)  # photons of 2 ADU
    mu = x[:, None] + torch.as_tensor(rng.normal(0, 40, (100, 2)), dtype=torch.float32)
    tau = torch.as_tensor(rng.lognormal(1, 1.5, (100, 2)), dtype=torch.float32)
    evidence, mean, _ = few(noise_model, x, torch.full((100, 2), 0.5), mu, tau, nodes)
    s = x.double()[:, None] + torch.linspace(-30, 30, 121, dtype=torch.float64)
    greatest = noise_model.log_prob(x.double()[:, None].expand_as(s), s).amax(1).numpy()
    # With few nodes a sum is not a mean: a factor of a few is its error, not hundreds of nats.
    assert (evidence < greatest + 2.5).all(), float((evidence - greatest).max())
    assert np.isfinite(mean).all()


@pytest.mark.parametrize("kind", ["gaussian", "pure photons", "noisy photons", "mixture", "histogram"])
def test_gradients_are_finite_wherever_the_prior_is(kind: str) -> None:
    noise_model, rng = noise_model_of(kind), np.random.default_rng(0)
    x = torch.as_tensor(rng.uniform(92, 348, (300, 1)), dtype=torch.float32).round()
    free = [
        torch.as_tensor(part, dtype=torch.float32).requires_grad_()
        for part in (rng.normal(0, 1, (300, 2)), rng.uniform(-300, 900, (300, 2)), rng.lognormal(1, 2, (300, 2)))
    ]
    _, log_weight = joined(noise_model, x, free[0].log_softmax(-1), free[1], free[2], 5)
    torch.logsumexp(log_weight, -1).sum().backward()
    assert all(torch.isfinite(part.grad).all() for part in free)


# -- the loss --------------------------------------------------------------------------------------


class Prior(nn.Module):
    """Puts out the same prior everywhere: one map a number."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.zeros(heads))

    def forward(self, x: Tensor) -> Tensor:
        return self.numbers.reshape(1, -1, *[1] * (x.ndim - 2)).expand(len(x), -1, *x.shape[2:])


def heads_of(method: PN2V) -> int:
    return 1 + 3 * method.components


def constant(method: PN2V, noise_model: Noise, mean: float = 110.0, std: float = 25.0) -> Denoiser:
    return denoiser(Prior(heads_of(method)), [mean], [std], [noise_model], heads=heads_of(method))


def prior_of(method: PN2V, net: Denoiser, channel: int = 0) -> tuple[float, float]:
    """Mean and standard deviation: the posterior with so much noise that a pixel carries no information."""
    mean, std = (float(part[channel].flatten()[0]) for part in (net.mean, net.std))
    silent = constant(method, Gaussian(1e4 * std), mean, std)
    silent.backbone.load_state_dict(net.backbone.state_dict())
    with torch.no_grad():
        found = method.posterior(silent, torch.full((1, 1, 3, 3), mean))
    assert found.std is not None
    return float(found.mean[0, 0, 1, 1]), float(found.std[0, 0, 1, 1])


def product_of(mu: float, tau: float, x: Any, sigma: float) -> tuple[Any, float]:
    """Mean and standard deviation of the product of two Gaussians."""
    precision = 1 / tau**2 + 1 / sigma**2
    return (mu / tau**2 + x / sigma**2) / precision, precision**-0.5


def batch_of(noisy: Tensor, held_out: bool = False) -> Batch:
    return Batch(noisy=noisy, valid=torch.ones_like(noisy, dtype=torch.bool), generator=rng(9), held_out=held_out)


def test_the_validation_loss_is_the_evidence_as_a_variance() -> None:
    """In normalised units, of held-out pixels. One in a thousand may have any value within ten deviations."""
    method, noise_model = PN2V(components=1), noise_model_of("gaussian")
    net = constant(method, noise_model)
    noisy = 110 + 25 * torch.randn((2, 1, 120, 120), generator=rng())
    noisy[0, 0, 3, 6] = 900.0  # hot
    batch = batch_of(noisy, held_out=True)
    batch.valid[:] = False
    batch.valid[..., ::3, ::3] = True
    mu, tau = prior_of(method, net)
    density = 0.999 * stats.norm.pdf(noisy[batch.valid].numpy(), mu, math.hypot(tau, 15)) + 0.001 / 250
    nats = -np.log(25 * density).mean()
    held_out = method.loss(net, batch).item()
    # The table's chords lie below a parabola, by 1/192 nats on average.
    assert 0.5 * math.log(2 * math.pi * math.e * held_out) == pytest.approx(nats, abs=0.01)
    assert stats.norm.logpdf(900.0, mu, math.hypot(tau, 15)) < -500  # which would have swayed the mean


def minimise(method: PN2V, net: Denoiser, noisy: Tensor) -> Tensor:
    """Fit the constants of a prior to the pixels that are blind, always the same ones, which are returned."""
    optimiser = torch.optim.LBFGS(net.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = method.loss(net, batch_of(noisy))
        loss.backward()
        return loss

    optimiser.step(closure)
    return noisy[draw_mask(noisy.shape, lattice_sides(method.mask_percent, (), 2), rng(9))]


def test_the_best_gaussian_prior_is_that_of_the_signals() -> None:
    """s ~ N(130, 20²) and noise of 15: least at the mean of x and at its variance less that of the noise."""
    method, noise_model = PN2V(components=1, mask_percent=25.0), noise_model_of("gaussian")
    net = constant(method, noise_model)
    noisy = 130 + 20 * torch.randn((1, 1, 120, 120), generator=rng(1))
    noisy += 15 * torch.randn(noisy.shape, generator=rng(2))
    blind = minimise(method, net, noisy)
    mu, tau = prior_of(method, net)
    assert mu == pytest.approx(float(blind.mean()), abs=0.1)
    assert tau == pytest.approx(math.sqrt(float(blind.var()) - 15**2), rel=0.02)


def test_the_best_prior_of_few_photons_is_that_of_the_exact_evidence() -> None:
    """Signals of 4 to 8 photons: the minimum of the loss is where that of a dense integral is."""
    method, noise_model = PN2V(components=1, mask_percent=25.0), noise_model_of("noisy photons")
    signal = 108 + 8 * torch.rand((1, 1, 100, 100), generator=rng(3))
    noisy = noise_model.sample(signal, rng(4))
    net = constant(method, noise_model, 112.0, 6.0)
    noisy = minimise(method, net, noisy)
    mu, tau = prior_of(method, net)
    values, counts = noisy.unique(return_counts=True)
    s = torch.linspace(80, 160, 1601, dtype=torch.float64)
    likelihood = (
        noise_model.log_prob(values.double()[:, None].expand(-1, 1601), s.expand(len(values), -1)).exp().numpy()
    )

    def cost(place: np.ndarray) -> float:
        evidence = np.trapezoid(likelihood * stats.norm.pdf(s.numpy(), place[0], math.exp(place[1])), s, axis=1)
        return -float((counts.numpy() * np.log(evidence)).sum() / counts.sum())

    best = optimize.minimize(cost, [112.0, 1.0], method="Nelder-Mead").x
    assert mu == pytest.approx(best[0], abs=0.15)  # a fortieth of the noise
    assert tau == pytest.approx(math.exp(best[1]), rel=0.1)
    assert cost(np.array([mu, math.log(tau)])) - cost(best) < 1e-3


def test_the_posterior_joins_prior_and_pixel_in_image_units() -> None:
    method, noise_model = PN2V(components=1), noise_model_of("gaussian")
    net, noisy = constant(method, noise_model), torch.linspace(70, 160, 2 * 6 * 7).reshape(2, 1, 6, 7)
    with torch.no_grad():
        found = method.posterior(net, noisy)
    mean, std = product_of(*prior_of(method, net), noisy, 15)
    torch.testing.assert_close(found.mean, mean, rtol=0, atol=0.3)
    torch.testing.assert_close(found.std, torch.full_like(noisy, std), rtol=0.03, atol=0)


def test_each_channel_has_its_own_noise_model_and_units() -> None:
    method = PN2V(components=1)
    noise_models = [Gaussian(15.0), Gaussian(300.0)]
    net = denoiser(Prior(heads_of(method)), [110.0, 1000.0], [25.0, 200.0], noise_models, heads=heads_of(method))
    noisy = torch.stack([torch.full((5, 5), 140.0), torch.full((5, 5), 1500.0)])[None]
    with torch.no_grad():
        found = method.posterior(net, noisy)
    for channel, sigma in enumerate((15.0, 300.0)):
        mean, std = product_of(*prior_of(method, net, channel), float(noisy[0, channel, 0, 0]), sigma)
        assert found.mean[0, channel, 2, 2].item() == pytest.approx(mean, abs=0.02 * std)
        assert found.std is not None and found.std[0, channel, 2, 2].item() == pytest.approx(std, rel=0.02)


# -- maps of the pixels ----------------------------------------------------------------------------


def maps(size: tuple[int, int], quantization: Quantization = CONTINUOUS) -> PixelMaps:
    """Pixels whose gain and offset differ, one of them with forty times the read noise."""
    rng = np.random.default_rng(5)
    gain, offset = (torch.from_numpy(rng.normal(*moments, size)) for moments in ((2.0, 0.1), (100.0, 3.0)))
    read_noise = torch.full(size, 2.0, dtype=torch.float64)
    read_noise[2, 3] = 80.0
    return PixelMaps(gain, offset, read_noise, quantization)


def test_each_pixel_has_its_own_noise_model() -> None:
    """Against dense integration with the noise model of that pixel alone; a noisy pixel has little weight."""
    method, noise_model, size = PN2V(components=1, nodes=9), maps((6, 7)), (6, 7)
    net = constant(method, noise_model, 160.0, 20.0)
    noisy = torch.full((1, 1, *size), 190.0)
    with torch.no_grad():
        found = method.posterior(net, noisy)
    mu, tau = (torch.tensor([[part]]) for part in prior_of(method, net))
    for y, x in ((0, 0), (2, 3), (5, 6), (1, 4)):
        alone = noise_model.of_pixels(torch.tensor([7 * y + x]))
        exact = dense(alone, torch.tensor([190.0]), torch.ones(1, 1), mu, tau)
        assert found.mean[0, 0, y, x].item() == pytest.approx(exact[1][0], abs=0.05 * exact[2][0])
        assert found.std[0, 0, y, x].item() == pytest.approx(exact[2][0], rel=0.05)
    weight = (found.mean[0, 0] - float(mu)) / (190 - float(mu))
    assert weight[2, 3] < 0.1 < 0.4 < float(weight[torch.arange(6) != 2].min())


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("tile", [None, (4, 5)])
def test_tiles_and_rotations_keep_the_noise_model_of_each_pixel(average: bool, tile: tuple[int, int] | None) -> None:
    """The prior is the same everywhere, so nothing may change."""
    method, noise_model = PN2V(components=1), maps((10, 13))
    net = constant(method, noise_model, 160.0, 20.0)
    noisy = 160 + 30 * torch.rand((1, 1, 10, 13), generator=rng())
    with torch.no_grad():
        expected = method.posterior(net, noisy)
    source = open_source(noisy[0, 0].numpy())
    sinks = [MemorySink(source.shape, np.float32) for _ in range(2)]
    predictor = Predictor(method, net, tile=tile, average=average)
    predictor.halo = (1, 1)  # the network sees nothing
    predictor.predict_to(source, Layout("YX", "YX"), Outputs(*sinks))
    np.testing.assert_allclose(sinks[0].array, expected.mean[0, 0], atol=0.02)
    np.testing.assert_allclose(sinks[1].array, expected.std[0, 0], atol=0.02)


@pytest.mark.parametrize("size", [(40, 48), (37, 45)])
def test_a_model_with_maps_trains_and_predicts_on_an_image_of_their_size(size: tuple[int, int]) -> None:
    noise_model = maps(size, WHOLE)
    noisy = noise_model.sample(torch.from_numpy(100 + blobs(size)).double(), rng()).numpy().astype(np.uint16)
    model = nw.train("pn2v", noisy, noise=noise_model, steps=3, **SMALL)
    found = model.predict(noisy, average=False)
    assert found.mean.shape == found.std.shape == size and np.isfinite(found.mean).all() and (found.std > 0).all()


TOO_LARGE = r"^cells\.tif: has 44 x 48 pixels, the noise model only 40 x 48; crop the image, or calibrate .*[^\n]$"


@pytest.fixture
def too_large(monkeypatch: pytest.MonkeyPatch) -> Source:
    """An image with more rows than the sensor, and no work that could begin."""
    monkeypatch.setattr("noisewise.workflow.training.fit", None)
    monkeypatch.setattr("noisewise.model.Predictor", None)
    return named(np.random.default_rng(0).poisson(150, (44, 48)).astype(np.uint16))


def named(image: np.ndarray) -> Source:
    source = open_source(image)
    source.name = "cells.tif"
    return source


def test_an_image_larger_than_the_maps_is_refused_before_the_work(too_large: Source) -> None:
    noise_model = maps((40, 48), WHOLE)
    with pytest.raises(nw.UserError, match=TOO_LARGE):
        nw.train("pn2v", too_large, noise=noise_model, steps=2, **SMALL)
    with pytest.raises(nw.UserError, match=TOO_LARGE):
        Training(PN2V(**SMALL), [too_large], noise_models=[noise_model])


def test_an_image_larger_than_the_maps_of_a_model_is_refused_before_the_work(too_large: Source, tmp_path: Path) -> None:
    training = Training(PN2V(**SMALL), [named(too_large.read()[:40])], noise_models=[maps((40, 48), WHOLE)])
    with pytest.raises(nw.UserError, match=TOO_LARGE):
        training.model.predict(too_large)
    np.save(tmp_path / "fits.npy", too_large.read()[:40])
    np.save(tmp_path / "large.npy", too_large.read())
    given = [tmp_path / "fits.npy", tmp_path / "large.npy"]
    with pytest.raises(nw.UserError, match=r"large\.npy: has 44 x 48 pixels, the noise model only 40 x 48"):
        training.model.predict(given, output=[tmp_path / "a.npy", tmp_path / "b.npy"])
    assert sorted(tmp_path.iterdir()) == given  # the first of the two was not written either
