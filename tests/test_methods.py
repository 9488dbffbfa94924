"""Every method of the package, by name: a new file in methods/ is tested by being there."""

from __future__ import annotations

import json
import os
import signal as signal_module
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

import noisewise as nw
from noisewise import methods
from noisewise.axes import whole
from noisewise.io import open_source
from noisewise.io.memory import MemorySink
from noisewise.methods.base import Batch, ImageSpec, Method
from noisewise.model import Training
from noisewise.noise.base import Noise
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

from .conftest import blobs

NAMES = sorted(methods.modules())
SMALL = {"features": 8, "depth": 1}
BRIGHTNESS = 60.0  # about the mean of the planted signals, ADU


def spec(dims: int, channels: int = 1) -> ImageSpec:
    ones, zeros = (1.0,) * channels, (0.0,) * channels
    return ImageSpec(
        spatial="ZYX"[-dims:], channels=channels, spacing=(3.0, 1.0, 1.0)[-dims:], size=(3, 24, 24)[-dims:],
        mean=zeros, std=ones, target_mean=zeros, target_std=ones,
    )  # fmt: skip


def noise_for(method: Method | type[Method], std: float = 15.0) -> Noise | None:
    """The law of the planted noise, for a method that uses one."""
    if method.counts_only:
        return PoissonGaussian(std**2 / BRIGHTNESS, 0.0, 0.0)
    return Gaussian(std) if method.uses_noise else None


def noisy_for(method: Method | type[Method], planted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The planted noisy image; of the same brightness and noise in counts of photons, for a method that wants them."""
    signal, noisy = planted
    noise_model = noise_for(method)
    if not method.counts_only or noise_model is None:
        return noisy
    return noise_model.sample(torch.from_numpy(signal), torch.Generator().manual_seed(1)).numpy()


def laws_for(method: Method) -> list[Noise]:
    noise_model = noise_for(method, 1.0)
    return [] if noise_model is None else [noise_model]


def target_for(method: Method | type[Method], signal: np.ndarray, seed: int = 2) -> np.ndarray | None:
    noisy = signal + np.random.default_rng(seed).normal(0, 15, signal.shape)
    return {"noisy": None, "pairs": noisy.astype(np.float32), "clean": signal}[method.needs]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", ["fast", "classic", "n2v2"])
@pytest.mark.parametrize(("dims", "channels"), [(2, 1), (2, 3), (3, 2)])
def test_loss_has_a_finite_gradient_and_posterior_the_shape(name: str, network: str, dims: int, channels: int) -> None:
    method = methods.get(name)(network=network, **SMALL)
    torch.manual_seed(0)
    net = method.build(spec(dims, channels), laws_for(method))
    x = torch.randn(2, channels, *(3, 21, 26)[-dims:])
    target = None if method.needs == "noisy" else x + 1
    generator = torch.Generator().manual_seed(0)
    batch = Batch(noisy=x, valid=torch.ones_like(x, dtype=torch.bool), generator=generator, target=target)
    method.loss(net, batch).backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)
    assert any((g != 0).any() for g in gradients)
    assert method.posterior(net.eval(), x).mean.shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_nothing_may_teach_gives_no_gradient(name: str) -> None:
    method = methods.get(name)(**SMALL)
    net = method.build(spec(2), laws_for(method))
    x = torch.randn(1, 1, 24, 24)
    batch = Batch(
        noisy=x, valid=torch.zeros_like(x, dtype=torch.bool), generator=torch.Generator().manual_seed(0),
        target=None if method.needs == "noisy" else x,
    )  # fmt: skip
    assert method.loss(net, batch).item() == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive_json(name: str) -> None:
    kind = methods.get(name)
    method = kind(patch_size=48, learning_rate=1e-3)
    assert TypeAdapter(kind).validate_python(json.loads(json.dumps(asdict(method)))) == method
    assert methods.name_of(method) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_short_training_lowers_the_error(name: str, planted: tuple[np.ndarray, np.ndarray]) -> None:
    signal, kind = planted[0], methods.get(name)
    noisy = noisy_for(kind, planted)
    model = nw.train(
        name, noisy, target_for(kind, signal), noise=noise_for(kind), steps=120, features=16, depth=1, batch_size=8
    )
    mean = model.predict(noisy).mean
    assert mean.shape == noisy.shape
    before, after = np.mean((noisy - signal) ** 2), np.mean((mean - signal) ** 2)
    assert after < before / 4
    assert mean.mean() == pytest.approx(noisy.mean(), rel=0.02)  # photometry


@pytest.mark.parametrize("name", NAMES)
def test_tiled_equals_whole(name: str, planted: tuple[np.ndarray, np.ndarray]) -> None:
    signal, noisy = planted
    kind = methods.get(name)
    model = nw.train(name, noisy, target_for(kind, signal), noise=noise_for(kind), steps=10, **SMALL)
    source = open_source(noisy)
    results = []
    for tile in (None, (32, 40)):
        sink = MemorySink(source.shape, np.float32)
        model.predict_to(source, sink, tile=tile)
        results.append(sink.array[whole(source.shape)])
    np.testing.assert_allclose(results[0], results[1], atol=1e-3 * 15)


@pytest.mark.parametrize("name", NAMES)
def test_three_slices_are_enough_for_3d(name: str) -> None:
    signal = blobs((3, 32, 32))
    noisy = signal + np.random.default_rng(0).normal(0, 15, signal.shape).astype(np.float32)
    kind = methods.get(name)
    target = target_for(kind, signal)
    model = nw.train(name, noisy, target, noise=noise_for(kind), axes="ZYX", steps=4, **SMALL, spatial="auto")
    assert model.spec.spatial == "ZYX"
    assert model.predict(noisy, axes="ZYX").mean.shape == signal.shape


TINY = {"network": "classic", "features": 4, "depth": 1, "batch_size": 2, "patch_size": 32}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_interrupted_ends_like_an_unbroken_one(
    name: str, planted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Two channels; weights to the last bit, of laws too. Patches are parts of the image, with ranges of their own."""
    signal, noisy = (np.stack([image, image[::-1] + 40]) for image in planted)
    kind = methods.get(name)
    given = [noisy, target_for(kind, signal)]

    def training(resume: nw.Model | None = None) -> Training:
        noise_model = noise_for(kind)
        noisy_source, *targets = [open_source(image, "CYX") for image in given if image is not None]
        noise_models = [] if noise_model is None else [noise_model]
        return Training(kind(**TINY), [noisy_source], targets, noise_models=noise_models, resume=resume)

    def interrupt(progress: Any) -> None:
        if progress.step == 33:
            os.kill(os.getpid(), signal_module.SIGINT)

    unbroken = training().run(steps=48)
    half = training().run(steps=48, report=interrupt)
    assert half.run.step == 33 and not half.run.finished
    half.save(tmp_path / "half.safetensors")
    whole = training(nw.load(tmp_path / "half.safetensors")).run(steps=48)
    assert whole.run.finished and whole.run.validation_losses == unbroken.run.validation_losses
    for key, value in unbroken.net.state_dict().items():
        assert torch.equal(value, whole.net.state_dict()[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_a_file_predicts_the_same_to_the_last_bit(
    name: str, planted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """The law of the noise, with all that follows from it, is in the file."""
    signal, noisy = planted
    kind = methods.get(name)
    model = nw.train(name, noisy, target_for(kind, signal), noise=noise_for(kind), steps=3, **TINY)
    model.save(tmp_path / "model.safetensors")
    again = nw.load(tmp_path / "model.safetensors")
    assert [type(noise_model) for noise_model in again.noise_models] == [type(noise_model) for noise_model in model.noise_models]
    assert len(again.noise_models) == (1 if kind.uses_noise else 0)
    calm = 60 + (noisy - 60) / 3  # another image, of a smaller range
    before, after = model.predict(calm), again.predict(calm)
    assert np.array_equal(before.mean, after.mean)
    assert (before.std is None) == (after.std is None) == (not model.method.gives_std)
    assert before.std is None or np.array_equal(before.std, after.std)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("joint", [False, True])
def test_channels_may_have_laws_of_their_own(name: str, joint: bool) -> None:
    """Alone, a channel's answer does not depend on the others, and is that of its own law."""
    signal = blobs((2, 40, 44)) * np.array([1.0, 3.0])[:, None, None]
    noisy = (signal + np.random.default_rng(0).normal(0, 15, signal.shape)).astype(np.float32)
    kind = methods.get(name)
    noise_models = [noise_for(kind, 15.0), noise_for(kind, 40.0)] if kind.uses_noise else None
    target = target_for(kind, signal.astype(np.float32))
    settings = TINY | {"joint_channels": joint}
    model = nw.train(name, noisy, target, axes="CYX", noise=noise_models, steps=3, **settings)
    variances = [float(noise_model.mean_var(torch.tensor(BRIGHTNESS))[1]) for noise_model in model.noise_models]
    assert variances == pytest.approx([15.0**2, 40.0**2] if noise_models else [])
    found = model.predict(noisy, axes="CYX").mean
    assert found.shape == noisy.shape and np.isfinite(found).all()
    other = noisy.copy()
    other[1] += 50
    changed = model.predict(other, axes="CYX").mean
    assert np.array_equal(found[0], changed[0]) != joint
    assert not np.array_equal(found[1], changed[1])


def test_care_learns_the_units_of_its_target(planted: tuple[np.ndarray, np.ndarray]) -> None:
    """Input and target may differ in exposure; the prediction is in the target's units."""
    signal, noisy = planted
    model = nw.train("care", noisy, 10 * signal + 500, steps=100, features=16, depth=1, batch_size=8)
    assert model.predict(noisy).mean.mean() == pytest.approx((10 * signal + 500).mean(), rel=0.02)


def test_unknown_methods_get_a_suggestion() -> None:
    with pytest.raises(nw.UserError, match="did you mean 'n2v'"):
        methods.get("n2vv")
