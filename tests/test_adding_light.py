"""Samples by adding light, held against samples of the exact posterior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor
from torch.nn import functional as F

import noisewise as nw
from noisewise.methods._adding_light import add_light
from noisewise.methods.simulated import Simulated
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.ops.conditioning import noise_features
from noisewise.noise.ops.exposure import exposure_noise
from noisewise.noise.quantization import Quantization
from noisewise.posterior import Normal
from noisewise.testing.worlds import FiniteWorld, GaussianWorld

from .conftest import image_spec

WHITE, ALONG_X = ((1.0,),), (tuple(0.8 ** abs(lag) for lag in range(-5, 6)),)


def lights(passes: int = 12, growth: float = 400.0) -> list[float]:
    return Simulated(passes=passes, growth=growth).lights()


def in_gaussian_world(world: GaussianWorld, noisy: Tensor, count: int, steps: list[float]) -> Tensor:
    """Samples with the exact E[s | y] at every light, (count, side, side)."""
    generator = torch.Generator().manual_seed(1)

    def denoise(seen: Tensor, light: float) -> Tensor:
        gain = world.power / (world.power + world.noise_power / light)
        return world.mean + world.filtered(seen - world.mean, gain)

    def noise(signal: Tensor, light: float, step: int) -> Tensor:
        white = torch.randn(signal.shape, generator=generator, dtype=signal.dtype)
        return world.filtered(white, (world.noise_power / light).sqrt())

    image = noisy.double().expand(count, -1, -1)
    return add_light(image, denoise(image, 1.0), steps, denoise, noise)


def statistics(samples: Tensor, mean: Tensor) -> dict[str, np.ndarray]:
    """Of each sample: its mean, standard deviation, variance and neighbour correlation about the posterior mean."""
    residual = samples.double() - mean
    power = (residual**2).mean((-2, -1))
    correlation = (residual[..., 1:] * residual[..., :-1]).mean((-2, -1)) / power
    parts = {"mean": samples.mean((-2, -1)), "std": samples.std((-2, -1)), "variance": power, "neighbours": correlation}
    return {name: part.double().numpy() for name, part in parts.items()}


@pytest.mark.parametrize("kernel", [WHITE, ALONG_X], ids=["white", "correlated"])
def test_samples_are_those_of_the_exact_posterior(kernel: tuple[tuple[float, ...], ...]) -> None:
    world = GaussianWorld(side=48, kernel=kernel)
    noisy = world.draw(1, 3)[1]
    mean = world.posterior(noisy).mean
    found = in_gaussian_world(world, noisy, 400, lights(100, 1e4))
    exact = world.sample(noisy, 4000, seed=0)[0]
    for (name, ours), true in zip(statistics(found, mean).items(), statistics(exact, mean).values(), strict=True):
        assert ks_2samp(ours, true).statistic < 0.09, name


@pytest.mark.parametrize("kernel", [WHITE, ALONG_X], ids=["white", "correlated"])
def test_twelve_passes_have_the_variance_at_every_scale(kernel: tuple[tuple[float, ...], ...]) -> None:
    world = GaussianWorld(side=48, kernel=kernel)
    noisy = world.draw(1, 3)[1]
    mean = world.posterior(noisy).mean
    found, exact = in_gaussian_world(world, noisy, 400, lights()), world.sample(noisy, 4000, seed=0)[0]
    for side in (1, 2, 4, 8, 16):
        ours, true = (float((F.avg_pool2d(one - mean, side) ** 2).mean()) for one in (found, exact))
        assert ours == pytest.approx(true, rel=0.05), side


def figure_shares(world: FiniteWorld, images: Tensor) -> Tensor:
    """How often each figure is the nearest, (F,); whatever its brightness and place."""
    scores = log_likelihoods(world, images, 1e6).flatten(2).amax(2)
    best = scores.argmax(1) // len(world.brightnesses)
    return torch.bincount(best, minlength=len(world.figures)) / len(images)


def log_likelihoods(world: FiniteWorld, seen: Tensor, light: float) -> Tensor:
    """log p(y | figure, brightness, place) − log p(y | background) of photons with this light: (N, F · B, Y, X)."""
    levels, background = world.levels[1:, None, None], world.levels[0]
    per_pixel = light * (seen.double()[:, None] * (levels / background).log() - (levels - background))
    return F.conv2d(per_pixel, world.kernels)


def in_finite_world(world: FiniteWorld, light_of_sample: list[float], image: Tensor, count: int) -> Tensor:
    """Samples with the exact E[s | y] at every light, of photons."""
    features = noise_features(PoissonGaussian(1.0, 0.0, 0.0), 3.0, 2.0).for_dims(2)
    generator = torch.Generator().manual_seed(1)

    def denoise(seen: Tensor, light: float) -> Tensor:
        scores = log_likelihoods(world, seen[:, 0], light)
        weight = scores.flatten(1).softmax(1).reshape(scores.shape)
        above = F.conv_transpose2d(weight, world.kernels)
        return (world.levels[0] + torch.einsum("nlyx,l->nyx", above, world.levels[1:] - world.levels[0]))[:, None]

    def noise(signal: Tensor, light: float, step: int) -> Tensor:
        fields = [torch.randn(signal.shape, generator=generator, dtype=signal.dtype) for _ in range(2)]
        return exposure_noise(signal, features, light, *fields)

    many = image.double().expand(count, 1, -1, -1)
    return add_light(many, denoise(many, 1.0), light_of_sample, denoise, noise)[:, 0]


def test_a_finite_world_has_its_figures_as_often_as_the_exact_posterior() -> None:
    world = FiniteWorld(PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0)))
    for seed in range(1, 7):
        image = world.draw(1, seed)[1]
        found = in_finite_world(world, lights(), image, 1000)
        ours, exact = figure_shares(world, found), figure_shares(world, world.sample(image, 10_000, seed=0)[0])
        assert float((ours - exact).abs().max()) < 0.05, (ours, exact)


# -- exposures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("light", [0.5, 1.0, 30.0])
@pytest.mark.parametrize(
    "noise_model", [PoissonGaussian(2.0, 100.0, 3.0), PoissonGaussian(1.0, 0.0, 0.0)], ids=["read", "photons"]
)
def test_exposures_have_the_mean_and_variance_of_their_light(noise_model: PoissonGaussian, light: float) -> None:
    features = noise_features(noise_model, 110.0, 5.0).for_dims(2)
    offset = float(noise_model.offset)
    for electrons in (0.3, 5.0, 40.0):
        signal = torch.full((1, 1, 300, 300), offset + electrons * float(noise_model.gain))
        fields = (torch.randn(signal.shape, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
        found = signal + exposure_noise(signal, features, light, *fields)
        variance = float(noise_model.mean_var(signal.double())[1].mean()) / light
        assert float((found - signal).mean()) == pytest.approx(0.0, abs=4 * (variance / signal.numel()) ** 0.5 + 1e-6)
        assert float(found.var()) == pytest.approx(variance, rel=0.03, abs=1e-9)


def test_below_the_dark_signal_exposures_keep_their_mean() -> None:
    features = noise_features(PoissonGaussian(2.0, 100.0, 3.0), 110.0, 5.0).for_dims(2)
    signal = torch.full((1, 1, 200, 200), 98.0)
    fields = torch.randn((2, *signal.shape), generator=torch.Generator().manual_seed(0))
    found = signal + exposure_noise(signal, features, 1.0, *fields)
    assert float(found.mean()) == pytest.approx(98.0, abs=0.1) and float(found.std()) == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize(("actual", "spread"), [(1.0, 1.3), (1.05, 1.3 * 1.1025 ** (-1 / 0.6)), (0.5, 1.6), (3.0, 1.0)])
def test_the_spread_is_that_with_which_samples_vary_as_the_network_says(
    actual: float, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The variance of samples grows with the power 0.6 of the spread, from 1.3 on; the result is within 1 and 1.6.
    method, noise_model = Simulated(), PoissonGaussian(1.0, 0.0, 1.0)
    net = method.build(image_spec(mean=(50.0,), std=(10.0,)), [noise_model])
    patches = torch.full((8, 1, 64, 64), 50.0)

    def sampler(_self: Simulated, _net: object, noisy: Tensor, _where: object, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        return lambda numbers: noisy + actual * torch.randn((len(numbers), *noisy.shape), generator=generator)

    monkeypatch.setattr(Simulated, "sampler", sampler)
    monkeypatch.setattr(Simulated, "posterior", lambda _self, _net, noisy: Normal(noisy, torch.ones_like(noisy)))
    method.fit_samples(net, patches)
    assert float(net.spread) == pytest.approx(spread, rel=0.05)


def test_a_trained_model_knows_its_spread_and_its_file_keeps_it(tmp_path: Path, few_scenes: None) -> None:
    noisy = PoissonGaussian(1.0, 0.0, 1.0).sample(torch.full((96, 96), 50.0), torch.Generator().manual_seed(0)).numpy()
    model = nw.train("simulated", noisy, steps=2, patch_size=32, batch_size=2, network="fast", pretrained=False)
    assert 1.0 <= float(model.net.spread.squeeze()) <= 1.6
    model.save(tmp_path / "m.safetensors")
    assert float(nw.load(tmp_path / "m.safetensors").net.spread) == float(model.net.spread)


def test_each_channel_has_its_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    method, noise_model = Simulated(), PoissonGaussian(1.0, 0.0, 1.0)
    net = method.build(image_spec(2, mean=(50.0, 5e4), std=(10.0, 1e4)), [noise_model])
    size = torch.tensor([1.0, 1000.0])[:, None, None]

    def sampler(_self: Simulated, _net: object, noisy: Tensor, _where: object, seed: int = 0):
        generator, own = torch.Generator().manual_seed(seed), size * torch.tensor([1.0, 0.8])[:, None, None]
        return lambda numbers: noisy + own * torch.randn((len(numbers), *noisy.shape), generator=generator)

    monkeypatch.setattr(Simulated, "sampler", sampler)
    monkeypatch.setattr(
        Simulated, "posterior", lambda _self, _net, noisy: Normal(noisy, size * torch.ones_like(noisy))
    )  # fmt: skip
    method.fit_samples(net, torch.full((8, 2, 64, 64), 50.0))
    assert net.spread.flatten().tolist() == pytest.approx([1.3, 1.6], rel=0.05)
    monkeypatch.undo()
    with torch.inference_mode():
        drawn = method.sampler(net.eval(), torch.full((3, 2, 16, 16), 50.0))((0, 1))
    assert drawn.shape == (2, 3, 2, 16, 16) and torch.isfinite(drawn).all()
