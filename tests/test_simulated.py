"""The method that learns from drawn scenes: its prior, its photometry, what it says of its doubt."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise import methods
from noisewise.methods._scenes import CONTRAST, PRIOR, brightness, hardness, spread_of_means
from noisewise.methods.base import Batch, ImageSpec
from noisewise.methods.simulated import Simulated
from noisewise.noise.models.correlated import Correlated, kernel_of
from noisewise.noise.quantization import Quantization
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian


def spec(dims: int) -> ImageSpec:
    one = (1.0,)
    return ImageSpec(
        spatial="ZYX"[-dims:], channels=1, spacing=(3.0, 1.0, 1.0)[-dims:], size=(4, 64, 64)[-dims:],
        mean=(100.0,), std=(20.0,), target_mean=one, target_std=one,
    )  # fmt: skip


def scene(side: int = 160) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return 60 + 40 * torch.sin(x / 9) * torch.cos(y / 14) + 60 * ((x - 80) ** 2 + (y - 70) ** 2 < 900)


def test_the_packaged_prior_is_small() -> None:
    assert PRIOR.stat().st_size < 3 << 20


@pytest.mark.parametrize(
    "law",
    [Gaussian(15.0), PoissonGaussian(1.0, 0.0, 0.0), PoissonGaussian(10.0, 20.0, 5.0)],
    ids=["gaussian", "photons", "few photons"],
)
def test_the_prior_denoises_before_any_training(noise_model: torch.nn.Module) -> None:
    signal = scene()
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(0)).numpy()
    method = Simulated()
    own = ImageSpec(**(vars(spec(2)) | {"mean": (float(noisy.mean()),), "std": (float(noisy.std()),)}))
    net = method.build(own, [noise_model]).eval()
    with torch.no_grad():
        found = method.posterior(net, torch.from_numpy(noisy)[None, None])
    mean, std = found.mean[0, 0].numpy(), found.std[0, 0].numpy()
    before, after = np.mean((noisy - signal.numpy()) ** 2), np.mean((mean - signal.numpy()) ** 2)
    assert after < before / 20
    assert mean.mean() == pytest.approx(float(signal.mean()), rel=0.01)  # photometry
    assert 0.5 < np.sqrt(np.mean(std**2) / after) < 2


def test_in_three_dimensions_the_prior_takes_each_slice_for_itself() -> None:
    method, noise_model = Simulated(), Gaussian(10.0)
    flat, deep = (method.build(spec(dims), [noise_model]).eval() for dims in (2, 3))
    x = 100 + 20 * torch.randn(1, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = method.posterior(deep, x).mean
        slices = torch.stack([method.posterior(flat, x[:, :, z]).mean for z in range(4)], 2)
    torch.testing.assert_close(whole, slices, rtol=1e-4, atol=1e-2)


def test_correlated_noise_is_taken_off_too() -> None:
    rho = torch.zeros(3, 3)
    rho[0, 0], rho[0, 1], rho[1, 0], rho[1, 1] = 1.0, 0.6, 0.6, 0.36
    noise_model = Correlated(Gaussian(12.0), kernel_of(rho))
    signal = scene()
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(2)).numpy()
    errors = {}
    for name in ("simulated", "n2v"):
        given = {"noise": noise_model} if methods.get(name).uses_noise else {}
        mean = nw.train(name, noisy, steps=40, features=0 if given else 16, **given).predict(noisy).mean
        errors[name] = np.mean((mean - signal.numpy()) ** 2)
    assert errors["simulated"] < np.mean((noisy - signal.numpy()) ** 2) / 4
    assert errors["simulated"] < errors["n2v"] / 2


def test_without_the_prior_it_starts_from_nothing() -> None:
    torch.manual_seed(0)
    nets = [Simulated(prior=prior).build(spec(2), [Gaussian(1.0)]) for prior in (True, False)]
    first = [next(iter(net.backbone.parameters())) for net in nets]
    assert not torch.equal(*first)
    assert not Simulated(features=16).starts_from_prior


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (Correlated(Gaussian(10.0), torch.ones(1, 9, dtype=torch.float64)), "correlation of"),
        (Correlated(Gaussian(3.0), None, torch.tensor([30.0])), "rows or columns"),
        (PoissonGaussian(5.0, 0.0, 0.0), "photons in a pixel"),
    ],
)
def test_a_law_that_the_prior_does_not_know_is_said_and_trained_for(noise_model: nw.Noise, words: str) -> None:
    signal = torch.full((96, 96), 0.05) if isinstance(noise_model, PoissonGaussian) else scene(96)
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(1)).numpy()
    with pytest.raises(nw.UserError, match="not a number of training steps"):
        nw.train("simulated", noisy, noise=noise_model, steps=0)
    model = nw.train("simulated", noisy, noise=noise_model, budget=0.5)
    assert model.run.step > 0
    assert any(words in note and "packaged weights" in note for note in model.notes)


def test_clean_images_take_the_place_of_drawn_scenes(tmp_path: Path) -> None:
    noise_model, clean = Gaussian(15.0), scene(128).numpy()
    np.save(tmp_path / "clean.npy", np.stack([clean, clean.T]))
    noisy = noise_model.sample(torch.from_numpy(clean), torch.Generator().manual_seed(5)).numpy()
    errors = []
    for scenes in ("mixed", str(tmp_path / "clean.npy")):
        model = nw.train("simulated", noisy, noise=noise_model, scenes=scenes, own=0.0, steps=60)
        errors.append(float(np.mean((model.predict(noisy).mean - clean) ** 2)))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize(
    ("law", "own"), [(Gaussian(15.0), 0.0), (Correlated(Gaussian(15.0), torch.tensor([[0.5, 1.0, 0.5]])), 2.0)]
)
def test_nothing_to_learn_from_is_refused(noise_model: nw.Noise, own: float) -> None:
    noisy = noise_model.sample(scene(96), torch.Generator().manual_seed(6)).numpy()
    with pytest.raises(nw.UserError, match="leave drawn at 1"):
        nw.train("simulated", noisy, noise=noise_model, drawn=0.0, own=own, steps=2)


def test_a_run_that_came_out_worse_than_the_prior_is_given_up() -> None:
    noise_model = Gaussian(15.0)
    noisy = noise_model.sample(scene(96), torch.Generator().manual_seed(6)).numpy()
    spoiling = {"scenes": "puncta", "own": 1e-6, "learning_rate": 8e-3}  # the image is forgotten over these
    kept, spoilt = (nw.train("simulated", noisy, noise=noise_model, steps=steps, **spoiling) for steps in (0, 100))
    assert spoilt.run.validation_losses[-1][1] > spoilt.run.validation_losses[0][1]
    np.testing.assert_allclose(spoilt.predict(noisy).mean, kept.predict(noisy).mean, atol=0.01)


def test_no_scene_is_beyond_what_can_be_recorded() -> None:
    """Else saturated pixels are taken for as bright as the brightest scenes, and drag others with them."""
    noise_model = PoissonGaussian(4.0, 0.0, 3.0, Quantization(1.0, 0.0, 255.0))
    halves = torch.tensor([60.0, 230.0]).repeat_interleave(32).expand(8, 1, 64, 64)
    bright = noise_model.sample(halves, torch.Generator().manual_seed(0))
    own = ImageSpec(**(vars(spec(2)) | {"mean": (230.0,), "std": (25.0,)}))
    method = Simulated()
    batch = Batch(noisy=bright, valid=bright > 0, generator=torch.Generator().manual_seed(1))
    _, signal, _ = method.exposed(method.build(own, [noise_model]), batch)
    assert float(signal.min()) >= 0 and float(signal.max()) == 255


@pytest.mark.parametrize(("contrast", "little"), [(0.0, True), (150.0, False)])
def test_pixels_that_tell_little_of_themselves_teach_unseen(contrast: float, little: bool) -> None:
    """Of a plain image nearly all; of one whose neighbours know nothing of each other nearly none."""
    noise_model, lots = Gaussian(10.0), torch.Generator().manual_seed(0)
    signal = 200.0 + contrast * torch.randn((4, 1, 96, 96), generator=lots)
    noisy = noise_model.sample(signal, lots)
    own = ImageSpec(**(vars(spec(2)) | {"mean": (float(noisy.mean()),), "std": (float(noisy.std()),)}))
    method = Simulated()
    batch = Batch(noisy=noisy, valid=torch.ones_like(noisy, dtype=torch.bool), generator=lots)
    with torch.no_grad():
        error, part = method.taught_by_blind_spots(method.build(own, [noise_model]), batch)
    if little:
        assert part > 0.95
        assert float(error) == pytest.approx(1.0, abs=0.1)  # the noise of pixels that were seen could be told
    else:
        assert part < 0.05


LINES = Correlated(Gaussian(20.0), None, torch.tensor([30.0]))


@pytest.mark.parametrize("law", [Gaussian(40.0), LINES], ids=["white", "rows"])
def test_drawn_scenes_have_the_contrast_of_each_patch_and_not_of_its_noise(noise_model: nw.Noise) -> None:
    """A faint ramp and a strong one: from the darkest fifth to the brightest, as the smooth truth is."""
    generator = torch.Generator().manual_seed(3)
    ramps = torch.stack([5.0 * torch.linspace(-1, 1, 64), 200.0 * torch.linspace(-1, 1, 64)])
    signal = 300 + ramps[:, None, None].expand(2, 1, 64, 64)
    levels = [brightness(noise_model.sample(signal, generator), noise_model, generator) for _ in range(100)]
    low, high = (torch.stack(part)[..., 0, 0, 0].mean(0) for part in zip(*levels, strict=True))
    play = math.exp(CONTRAST**2 / 2)  # mean of the factor by which a scene may differ
    # Ranks are 0.1 and 1 − 0.2 / 3 in the mean: of a ramp from -1 to 1 its levels are -0.8 and 0.87.
    assert float(high[1] - low[1]) == pytest.approx(200 * 1.67 * play, rel=0.2)
    assert float(low[1]) == pytest.approx(300 - 0.8 * 200, rel=0.1)
    assert 5 * 1.67 * play < float(high[0] - low[0]) < 25  # with what the noise adds it would be 54 and 65


def test_scenes_as_dark_as_the_background_are_so_but_for_the_noise_of_a_patch() -> None:
    """Of rows with offsets of 30 a patch of 64 has a mean with a standard deviation of 30 / 8."""
    size, generator = torch.Size((64, 64)), torch.Generator().manual_seed(3)
    assert spread_of_means(LINES, 300.0, size, torch.device("cpu")) == pytest.approx(30 / 8, rel=0.25)
    signal = torch.tensor([300.0, 300.0, 380.0])[:, None, None, None].expand(3, 1, *size)
    levels = [brightness(LINES.sample(signal, generator), LINES, generator, (300.0, 5.0)) for _ in range(40)]
    low, high = (torch.stack(part).flatten(1) for part in zip(*levels, strict=True))
    assert float((low[:, :2] == 300.0).float().mean()) > 0.95 and not (low[:, 2] == 300.0).any()
    assert (high >= low).all() and float(low[:, 2].mean()) == pytest.approx(380, abs=12)
    uneven, _ = brightness(LINES.sample(signal, generator), LINES, generator, (300.0, 15.0))
    assert not (uneven == 300.0).any()
    faint = 312 + torch.zeros(1, 1, *size)  # each pixel for itself: so little stands out
    found = brightness(Gaussian(20.0).sample(faint, generator), Gaussian(20.0), generator, (300.0, 0.5))[0]
    assert float(found) == pytest.approx(312, abs=8) and float(found) != 300.0


def test_a_flat_scene_counts_like_one_full_of_details() -> None:
    squared = torch.tensor([0.01, 1.0])[:, None, None, None].expand(2, 1, 8, 8)
    torch.testing.assert_close(hardness(squared).flatten(), torch.tensor([0.114, 1.001]), atol=1e-3, rtol=0)
