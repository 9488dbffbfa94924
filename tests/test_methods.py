"""Every method of the package, by name: a new file in methods/ is tested by being there."""

from __future__ import annotations

import json
import os
import signal as signal_module
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

import noisewise as nw
from noisewise import methods
from noisewise.io import open_source
from noisewise.io.memory import MemorySink
from noisewise.methods.base import Batch, Method
from noisewise.noise.base import Noise
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.predict.outputs import Outputs
from noisewise.progress import Stage
from noisewise.workflow.training import Training

from .conftest import blobs, image_spec

pytestmark = pytest.mark.usefixtures("few_scenes")
NAMES = sorted(set(methods.modules()) - {"unchanged"})  # in which there is nothing to train
BRIGHTNESS = 60.0  # about the mean of the planted signals, ADU
TINY = {"network": "classic", "features": 4, "depth": 1, "batch_size": 2, "patch_size": 32}
SMALL_LADDER = {"reading": 8, "width": 8, "latent": 4}


def small(name: str, **settings: Any) -> Method:
    """A method with these settings, and a small ladder if it has one."""
    kind = methods.get(name)
    default = {field.name: field.default for field in fields(kind)}
    ladder = SMALL_LADDER | {"levels": min(2, default["levels"])} if "levels" in default else {}
    return kind(**ladder, **settings)


def noise_for(method: Method, std: float = 15.0) -> Noise | None:
    """The noise model of the planted noise, for a method that uses one."""
    if method.traits.counts_only:
        return PoissonGaussian(std**2 / BRIGHTNESS, 0.0, 0.0)
    return None if method.traits.noise == "none" else Gaussian(std)


def noise_models_for(method: Method, std: float = 15.0) -> list[Noise]:
    noise_model = noise_for(method, std)
    return [] if noise_model is None else [noise_model]


def noisy_for(method: Method, planted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The planted noisy image; as photon counts of the same brightness and noise for a method that needs counts."""
    signal, noisy = planted
    noise_model = noise_for(method)
    if not method.traits.counts_only or noise_model is None:
        return noisy
    return noise_model.sample(torch.from_numpy(signal), torch.Generator().manual_seed(1)).numpy()


def target_for(method: Method, signal: np.ndarray, seed: int = 2) -> np.ndarray | None:
    noisy = signal + np.random.default_rng(seed).normal(0, 15, signal.shape)
    return {"noisy": None, "pairs": noisy.astype(np.float32), "clean": signal}[method.traits.needs]


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, planted: tuple[np.ndarray, np.ndarray]) -> tuple[nw.Model, np.ndarray]:
    """A method after a short training, and the image that it was trained on."""
    method = small(request.param, features=16, depth=1, batch_size=8, patch_size=32, learning_rate=5e-3)
    noisy = noisy_for(method, planted)
    model = nw.train(method, noisy, target_for(method, planted[0]), noise=noise_for(method), steps=100)
    return model, noisy


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("network", "dims", "channels"), [("fast", 2, 3), ("classic", 2, 1), ("fast", 3, 2), ("n2v2", 3, 2)]
)
def test_the_loss_has_a_finite_gradient_and_the_posterior_the_shape(
    name: str, network: str, dims: int, channels: int
) -> None:
    method = small(name, network=network, features=8, depth=1)
    torch.manual_seed(0)
    spec = image_spec(dims, (0.0,) * channels, (1.0,) * channels, size=(3, 24, 24))
    net = method.build(spec, noise_models_for(method, 1.0))
    x = torch.randn(2, channels, *(3, 21, 26)[-dims:])
    target = None if method.traits.needs == "noisy" else x + 1
    generator = torch.Generator().manual_seed(0)
    batch = Batch(noisy=x, valid=torch.ones_like(x, dtype=torch.bool), generator=generator, target=target)
    method.loss(net, batch).backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)
    assert any((g != 0).any() for g in gradients)
    assert method.posterior(net.eval(), x).mean.shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_valid_pixels_has_zero_loss(name: str) -> None:
    method = small(name, features=8, depth=1)
    net = method.build(image_spec(size=(24, 24)), noise_models_for(method, 1.0))
    x = torch.randn(1, 1, 24, 24)
    batch = Batch(
        noisy=x, valid=torch.zeros_like(x, dtype=torch.bool), generator=torch.Generator().manual_seed(0),
        target=None if method.traits.needs == "noisy" else x,
    )  # fmt: skip
    assert method.loss(net, batch).item() == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive_json(name: str) -> None:
    kind = methods.get(name)
    method = kind(patch_size=48, learning_rate=1e-3)
    assert TypeAdapter(kind).validate_python(json.loads(json.dumps(asdict(method)))) == method
    assert methods.name_of(method) == name


def test_a_short_training_lowers_the_error(
    trained: tuple[nw.Model, np.ndarray], planted: tuple[np.ndarray, np.ndarray]
) -> None:
    (model, noisy), signal = trained, planted[0]
    mean = model.predict(noisy, average=False).mean
    assert mean.shape == noisy.shape
    before, after = np.mean((noisy - signal) ** 2), np.mean((mean - signal) ** 2)
    assert after < before / 4
    assert mean.mean() == pytest.approx(noisy.mean(), rel=0.02)  # photometry


def test_tiled_equals_whole(trained: tuple[nw.Model, np.ndarray]) -> None:
    model, noisy = trained
    source = open_source(noisy)
    results = []
    for tile in (None, 40):
        sink = MemorySink(source.shape, np.float32)
        model.predict_to(source, Outputs(sink), tile=tile)
        results.append(sink.array)
    np.testing.assert_allclose(results[0], results[1], atol=1e-3 * 15)


def test_a_loaded_model_predicts_the_same_to_the_last_bit(trained: tuple[nw.Model, np.ndarray], tmp_path: Path) -> None:
    """The noise model, with all that follows from it, is in the file."""
    model, noisy = trained
    model.save(tmp_path / "model.safetensors")
    again = nw.load(tmp_path / "model.safetensors")
    assert [type(one) for one in again.noise_models] == [type(one) for one in model.noise_models]
    assert len(again.noise_models) == (0 if model.method.traits.noise == "none" else 1)
    other = 60 + (noisy[:48] - 60) / 3  # another image, of a smaller range
    before, after = (one.predict(other, average=False) for one in (model, again))
    assert np.array_equal(before.mean, after.mean)
    assert (before.std is None) == (after.std is None) == (not model.method.traits.std)
    assert before.std is None or np.array_equal(before.std, after.std)


@pytest.mark.parametrize("name", NAMES)
def test_three_slices_are_enough_for_3d(name: str) -> None:
    signal = blobs((3, 32, 32))
    noisy = signal + np.random.default_rng(0).normal(0, 15, signal.shape).astype(np.float32)
    method = small(name, features=8, depth=1, batch_size=1, spatial="auto")
    model = nw.train(method, noisy, target_for(method, signal), noise=noise_for(method), axes="ZYX", steps=2)
    assert model.spec.spatial == "ZYX"
    assert model.predict(noisy, axes="ZYX", average=False).mean.shape == signal.shape


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_training_ends_like_an_unbroken_one(
    name: str, planted: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """Two channels: weights equal to the last bit. Patches are parts of the image, each with its intensities."""
    signal, noisy = (np.stack([image, image[::-1] + 40]) for image in planted)
    method = small(name, **TINY)
    given = [noisy, target_for(method, signal)]

    def training(resume: nw.Model | None = None) -> Training:
        noisy_source, *targets = [open_source(image, "CYX") for image in given if image is not None]
        return Training(method, [noisy_source], targets, noise_models=noise_models_for(method), resume=resume)

    def interrupt(stage: Stage) -> None:
        if stage.progress is not None and stage.progress.step == 33:
            os.kill(os.getpid(), signal_module.SIGINT)

    unbroken = training().run(steps=48)
    half = training().run(steps=48, report=interrupt)
    assert half.train_state.step == 33 and not half.train_state.finished
    assert np.isfinite(half.predict(noisy, axes="CYX", average=False).mean).all()  # usable as it is
    half.save(tmp_path / "half.safetensors")
    whole = training(nw.load(tmp_path / "half.safetensors")).run(steps=48)
    assert whole.train_state.finished
    assert whole.train_state.validation_losses == unbroken.train_state.validation_losses
    for key, value in unbroken.net.state_dict().items():
        assert torch.equal(value, whole.net.state_dict()[key]), key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("joint", [False, True])
def test_each_channel_may_have_its_own_noise_model(name: str, joint: bool) -> None:
    """Channels that are not joint do not depend on each other, and each uses its own noise model."""
    signal = blobs((2, 40, 44)) * np.array([1.0, 3.0])[:, None, None]
    noisy = (signal + np.random.default_rng(0).normal(0, 15, signal.shape)).astype(np.float32)
    method = small(name, **TINY, joint_channels=joint)
    noise_models = noise_models_for(method, 15.0) + noise_models_for(method, 40.0)
    target = target_for(method, signal.astype(np.float32))
    model = nw.train(method, noisy, target, axes="CYX", noise=noise_models or None, steps=3)
    variances = [float(noise_model.mean_var(torch.tensor(BRIGHTNESS))[1]) for noise_model in model.noise_models]
    assert variances == pytest.approx([15.0**2, 40.0**2] if noise_models else [])
    found = model.predict(noisy, axes="CYX", average=False).mean
    assert found.shape == noisy.shape and np.isfinite(found).all()
    other = noisy.copy()
    other[1] += 50
    changed = model.predict(other, axes="CYX", average=False).mean
    assert np.array_equal(found[0], changed[0]) != joint
    assert not np.array_equal(found[1], changed[1])


def test_care_learns_the_units_of_its_target(planted: tuple[np.ndarray, np.ndarray]) -> None:
    """Input and target may differ in exposure; the prediction is in the target's units."""
    signal, noisy = planted
    model = nw.train("care", noisy, 10 * signal + 500, steps=60, features=8, depth=1, batch_size=8)
    mean = model.predict(noisy, average=False).mean.mean()
    assert mean == pytest.approx((10 * signal + 500).mean(), rel=0.02)


def test_unknown_methods_get_a_suggestion() -> None:
    with pytest.raises(nw.UserError, match="did you mean 'n2v'"):
        methods.get("n2vv")
