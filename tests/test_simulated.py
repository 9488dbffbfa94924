"""The method trained on synthetic scenes: its packaged weights, photometry, uncertainty and training signals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.methods import _conditioned
from noisewise.methods._conditioned import PRETRAINED, starts_pretrained
from noisewise.methods.base import Batch
from noisewise.methods.losses.blind_spot import blind_spot_loss
from noisewise.methods.losses.conditioned import conditioning
from noisewise.methods.losses.supervised import (
    LOG_CONTRAST_STD,
    add_noise,
    patch_rmse,
    scene_range,
    std_of_means,
    synthetic_scenes,
)
from noisewise.methods.simulated import Simulated
from noisewise.noise.models.correlated import Correlated, kernel_of
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization

from .conftest import image_spec

pytestmark = pytest.mark.usefixtures("few_scenes")
QUICK = {"patch_size": 32, "batch_size": 2}


def scene(side: int = 160) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return 60 + 40 * torch.sin(x / 9) * torch.cos(y / 14) + 60 * ((x - 80) ** 2 + (y - 70) ** 2 < 900)


def test_the_packaged_weights_are_small() -> None:
    assert PRETRAINED.stat().st_size < 6_000_000


@pytest.mark.parametrize(
    "noise_model",
    [Gaussian(15.0), PoissonGaussian(1.0, 0.0, 0.0), PoissonGaussian(10.0, 20.0, 5.0)],
    ids=["gaussian", "photons", "few photons"],
)
def test_the_pretrained_network_denoises_before_any_training(noise_model: torch.nn.Module) -> None:
    signal = scene()
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(0)).numpy()
    method = Simulated()
    net = method.build(image_spec(mean=(float(noisy.mean()),), std=(float(noisy.std()),)), [noise_model]).eval()
    with torch.no_grad():
        found = method.posterior(net, torch.from_numpy(noisy)[None, None])
    mean, std = found.mean[0, 0].numpy(), found.std[0, 0].numpy()
    before, after = np.mean((noisy - signal.numpy()) ** 2), np.mean((mean - signal.numpy()) ** 2)
    assert after < before / 20
    assert mean.mean() == pytest.approx(float(signal.mean()), rel=0.01)  # photometry
    assert 0.5 < np.sqrt(np.mean(std**2) / after) < 2


def test_without_neighbours_each_slice_is_treated_on_its_own() -> None:
    method, noise_model = Simulated(neighbours=False), Gaussian(10.0)
    flat, deep = (method.build(image_spec(dims, (100.0,), (20.0,)), [noise_model]).eval() for dims in (2, 3))
    x = 100 + 20 * torch.randn(1, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = method.posterior(deep, x).mean
        slices = torch.stack([method.posterior(flat, x[:, :, z]).mean for z in range(4)], 2)
    torch.testing.assert_close(whole, slices, rtol=1e-4, atol=1e-2)


def test_correlated_noise_is_removed_too() -> None:
    rho = torch.zeros(3, 3)
    rho[0, 0], rho[0, 1], rho[1, 0], rho[1, 1] = 1.0, 0.6, 0.6, 0.36
    noise_model = Correlated(Gaussian(12.0), kernel_of(rho))
    signal = scene()
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(2)).numpy()
    errors = {}
    settings = {"simulated": {"noise": noise_model, "steps": 20, "batch_size": 2}, "n2v": {"steps": 40, "features": 16}}
    for name, given in settings.items():
        mean = nw.train(name, noisy, patch_size=32, **given).predict(noisy, average=False).mean
        errors[name] = np.mean((mean - signal.numpy()) ** 2)
    assert errors["simulated"] < np.mean((noisy - signal.numpy()) ** 2) / 4
    assert errors["simulated"] < errors["n2v"] / 2


def test_without_packaged_weights_it_starts_from_random_ones() -> None:
    torch.manual_seed(0)
    nets = [Simulated(pretrained=start).build(image_spec(), [Gaussian(1.0)]) for start in (True, False)]
    first = [next(iter(net.backbone.parameters())) for net in nets]
    assert not torch.equal(*first)
    assert starts_pretrained(Simulated()) and not starts_pretrained(Simulated(features=16))


@pytest.mark.parametrize(
    ("noise_model", "words"),
    [
        (Correlated(Gaussian(10.0), torch.ones(1, 9, dtype=torch.float64)), "correlation of"),
        (Correlated(Gaussian(3.0), None, torch.tensor([30.0])), "row or column offsets"),
        (PoissonGaussian(5.0, 0.0, 0.0), "photons in a pixel"),
    ],
)
def test_noise_unlike_that_of_the_pretraining_gives_a_warning_and_is_trained_for(
    noise_model: nw.Noise, words: str
) -> None:
    signal = torch.full((96, 96), 0.05) if isinstance(noise_model, PoissonGaussian) else scene(96)
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(1)).numpy()
    with pytest.raises(nw.UserError, match="needs at least 1 training step, not 0"):
        nw.train("simulated", noisy, noise=noise_model, steps=0)
    model = nw.train("simulated", noisy, noise=noise_model, budget=0.5, **QUICK)
    assert model.train_state.step > 0
    assert any(words in note and "packaged weights" in note for note in model.notes)


def test_clean_images_may_replace_synthetic_scenes(tmp_path: Path) -> None:
    noise_model, clean = Gaussian(15.0), scene(96).numpy()
    np.save(tmp_path / "clean.npy", np.stack([clean, clean.T]))
    noisy = noise_model.sample(torch.from_numpy(clean), torch.Generator().manual_seed(5)).numpy()
    errors = []
    for scenes in ("mixed", str(tmp_path / "clean.npy")):
        model = nw.train(
            "simulated", noisy, noise=noise_model, scenes=scenes, self_weight=0.0, steps=110, learning_rate=6e-3,
            **QUICK,
        )  # fmt: skip
        errors.append(float(np.mean((model.predict(noisy, average=False).mean - clean) ** 2)))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("noise_model", "weight"),
    [(Gaussian(15.0), 0.0), (Correlated(Gaussian(15.0), torch.tensor([[0.5, 1.0, 0.5]])), 2.0)],
)
def test_a_training_without_any_signal_is_refused(noise_model: nw.Noise, weight: float) -> None:
    noisy = noise_model.sample(scene(96), torch.Generator().manual_seed(6)).numpy()
    with pytest.raises(nw.UserError, match="leave synthetic_weight at 1"):
        nw.train("simulated", noisy, noise=noise_model, synthetic_weight=0.0, self_weight=weight, steps=2)


def test_a_training_that_ends_worse_than_the_pretrained_network_is_discarded() -> None:
    noise_model = Gaussian(15.0)
    noisy = noise_model.sample(scene(96), torch.Generator().manual_seed(6)).numpy()
    spoiling = {"scenes": "puncta", "self_weight": 1e-6, "learning_rate": 3e-2}  # scenes unlike the image
    kept, spoilt = (
        nw.train("simulated", noisy, noise=noise_model, steps=steps, **spoiling, **QUICK) for steps in (0, 44)
    )
    assert spoilt.train_state.validation_losses[-1][1] > spoilt.train_state.validation_losses[0][1]
    found, expected = (model.predict(noisy, average=False).mean for model in (spoilt, kept))
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_no_synthetic_scene_exceeds_the_recordable_range() -> None:
    """Otherwise saturated pixels would be estimated as bright as the brightest scenes, and others with them."""
    noise_model = PoissonGaussian(4.0, 0.0, 3.0, Quantization(1.0, 0.0, 255.0))
    halves = torch.tensor([60.0, 230.0]).repeat_interleave(32).expand(8, 1, 64, 64)
    bright = noise_model.sample(halves, torch.Generator().manual_seed(0))
    net = Simulated().build(image_spec(mean=(230.0,), std=(25.0,)), [noise_model])
    batch = Batch(noisy=bright, valid=bright > 0, generator=torch.Generator().manual_seed(1))
    _, signal = add_noise(net, synthetic_scenes(net, batch, "mixed"), batch.generator)
    assert float(signal.min()) >= 0 and float(signal.max()) == 255


@pytest.mark.parametrize(("contrast", "little"), [(0.0, True), (150.0, False)])
def test_pixels_with_little_influence_on_themselves_are_blind_spot_targets(contrast: float, little: bool) -> None:
    """Nearly all pixels of a constant image; nearly none where neighbours are independent."""
    noise_model, rng = Gaussian(10.0), torch.Generator().manual_seed(0)
    signal = 200.0 + contrast * torch.randn((4, 1, 96, 96), generator=rng)
    noisy = noise_model.sample(signal, rng)
    net = Simulated().build(image_spec(mean=(float(noisy.mean()),), std=(float(noisy.std()),)), [noise_model])
    batch = Batch(noisy=noisy, valid=torch.ones_like(noisy, dtype=torch.bool), generator=rng)
    with torch.no_grad():
        error, part = blind_spot_loss(net, batch, conditioning(net, len(noisy)))
    if little:
        assert part > 0.95
        assert float(error) == pytest.approx(1.0, abs=0.1)  # less if the network saw the pixels
    else:
        assert part < 0.05


LINES = Correlated(Gaussian(20.0), None, torch.tensor([30.0]))


@pytest.mark.parametrize("noise_model", [Gaussian(40.0), LINES], ids=["white", "rows"])
def test_synthetic_scenes_have_the_contrast_of_each_patch_without_its_noise(noise_model: nw.Noise) -> None:
    """A faint ramp and a strong one: from the darkest fifth to the brightest, as the smooth truth is."""
    generator = torch.Generator().manual_seed(3)
    ramps = torch.stack([5.0 * torch.linspace(-1, 1, 64), 200.0 * torch.linspace(-1, 1, 64)])
    signal = 300 + ramps[:, None, None].expand(2, 1, 64, 64)
    levels = [scene_range(noise_model.sample(signal, generator), noise_model, generator) for _ in range(100)]
    low, high = (torch.stack(part)[..., 0, 0, 0].mean(0) for part in zip(*levels, strict=True))
    factor = math.exp(LOG_CONTRAST_STD**2 / 2)  # the mean of the random factor of the contrast
    # Ranks are 0.1 and 1 − 0.2 / 3 in the mean: of a ramp from -1 to 1 its levels are -0.8 and 0.87.
    assert float(high[1] - low[1]) == pytest.approx(200 * 1.67 * factor, rel=0.2)
    assert float(low[1]) == pytest.approx(300 - 0.8 * 200, rel=0.1)
    assert 5 * 1.67 * factor < float(high[0] - low[0]) < 25  # with what the noise adds it would be 54 and 65


def test_dark_scenes_get_the_uniform_background() -> None:
    """With row offsets of 30 ADU the mean of a patch of 64 rows has a standard deviation of 30 / 8 ADU."""
    size, generator = torch.Size((64, 64)), torch.Generator().manual_seed(3)
    assert std_of_means(LINES, 300.0, size, torch.device("cpu")) == pytest.approx(30 / 8, rel=0.25)
    signal = torch.tensor([300.0, 300.0, 380.0])[:, None, None, None].expand(3, 1, *size)
    levels = [scene_range(LINES.sample(signal, generator), LINES, generator, (300.0, 5.0)) for _ in range(40)]
    low, high = (torch.stack(part).flatten(1) for part in zip(*levels, strict=True))
    assert float((low[:, :2] == 300.0).float().mean()) > 0.95 and not (low[:, 2] == 300.0).any()
    assert (high >= low).all() and float(low[:, 2].mean()) == pytest.approx(380, abs=12)
    uneven, _ = scene_range(LINES.sample(signal, generator), LINES, generator, (300.0, 15.0))
    assert not (uneven == 300.0).any()
    faint = 312 + torch.zeros(1, 1, *size)  # in white noise so small a difference is visible
    found = scene_range(Gaussian(20.0).sample(faint, generator), Gaussian(20.0), generator, (300.0, 0.5))[0]
    assert float(found) == pytest.approx(312, abs=8) and float(found) != 300.0


def test_a_homogeneous_scene_counts_like_a_detailed_one() -> None:
    squared = torch.tensor([0.01, 1.0])[:, None, None, None].expand(2, 1, 8, 8)
    torch.testing.assert_close(patch_rmse(squared).flatten(), torch.tensor([0.114, 1.001]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("noise_model", [Gaussian(10.0), PoissonGaussian(2.0, 0.0, 3.0)], ids=["gaussian", "photons"])
def test_scenes_with_more_light_have_the_noise_that_the_network_is_conditioned_on(
    noise_model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    monkeypatch.setattr(_conditioned, "MORE_LIGHT", 1.0)
    monkeypatch.setattr(
        _conditioned, "supervised_loss", lambda _net, _batch, *parts: seen.update(enumerate(parts)) or torch.zeros(())
    )
    method, noisy = Simulated(), noise_model.sample(torch.full((6, 1, 64, 64), 100.0), torch.Generator())
    net = method.build(image_spec(mean=(100.0,), std=(20.0,)), [noise_model])
    batch = Batch(noisy=noisy, valid=noisy > -1e9, generator=torch.Generator().manual_seed(1))
    _conditioned.synthetic_loss(method, net, batch, growth=400.0)
    image, signal, features = seen[0], seen[1], seen[2]
    expected = (features.read + features.shot_variance(signal)).mean((1, 2, 3))
    actual = ((image - signal) ** 2).mean((1, 2, 3))
    assert expected.max() > 3 * expected.min()  # lights differ from patch to patch
    torch.testing.assert_close(actual, expected, rtol=0.15, atol=0)
