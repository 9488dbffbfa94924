"""Which noise model a method gets: the one that was given, the measured one, or the bootstrapped one."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise import UserError, denoise
from noisewise.estimate.measure import measure
from noisewise.evaluate.mismatch import mismatch_warnings
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Method
from noisewise.methods.n2v import N2V
from noisewise.methods.pn2v import PN2V
from noisewise.methods.r2r import R2R
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.workflow import noise_model as noise_model_file
from noisewise.workflow.choose import choose_method
from noisewise.workflow.noise_model import MeasuredNoise, find_noise_models, open_noise_models

from .conftest import blobs


def noisy(std: float, shape: tuple[int, int] = (96, 96), seed: int = 0) -> np.ndarray:
    """A smooth signal of 20 to 100 with white noise."""
    return (blobs(shape) + np.random.default_rng(seed).normal(0, std, shape)).astype(np.float32)


def source(image: np.ndarray, axes: str = "YX") -> Source:
    return open_source(image, axes)


def never() -> list[Noise]:
    raise AssertionError("a denoised image was asked for without need")


def find_models(
    method: Method, sources: list[Source], given: Any = None, from_denoised: Any = None, checkup: Any = None
) -> tuple[Noise, ...]:
    measured = MeasuredNoise(sources)
    if checkup is not None:
        measured.checkup = checkup
    return find_noise_models(method, measured, given, from_denoised)


def std_of(noise_model: Noise) -> float:
    return float(noise_model.mean_var(torch.tensor([60.0], dtype=torch.float64))[1].sqrt())


def test_a_method_without_noise_models_gets_none_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise_model_file, "measure", None)
    assert find_models(N2V(), [source(noisy(5.0))], from_denoised=never) == ()


@pytest.mark.parametrize("method", [N2V(), N2V(blind_shape="1x11")])
def test_a_noise_model_that_is_not_used_is_refused(method: N2V) -> None:
    with pytest.raises(UserError, match=r"'n2v' does not use a noise model; .*: .*hdn, pn2v, .*simulated, sure$"):
        find_models(method, [source(noisy(5.0))], Gaussian(5.0))


@pytest.mark.parametrize("method", [PN2V(), R2R(), N2V(blind_shape="auto")], ids=["pn2v", "r2r", "n2v"])
def test_pixelwise_methods_get_the_noise_that_a_pixel_does_not_share(method: Method) -> None:
    """That is not hidden by texture either, which this scene has, and which looks like correlated noise."""
    kernel = torch.tensor([[0.25, 1.0, 0.25]])
    signal = torch.from_numpy(blobs((256, 256))).double()
    image = Correlated(Gaussian(5.0), kernel).sample(signal, torch.Generator().manual_seed(0)).numpy()
    (noise_model,) = find_models(method, [source(image)], from_denoised=never)
    if isinstance(method, N2V):
        assert isinstance(noise_model, Correlated)
        return
    near, next_but_one = (float((kernel[:, lag:] * kernel[:, : 3 - lag]).sum() / (kernel**2).sum()) for lag in (1, 2))
    own = 1 - (near - next_but_one / 8) / 1.25
    assert not isinstance(noise_model, Correlated)
    assert std_of(noise_model) == pytest.approx(5.0 * own**0.5, rel=0.1)


def test_n2v_uses_one_where_its_blind_shape_follows_the_noise() -> None:
    noise_model = Gaussian(5.0)
    assert find_models(N2V(blind_shape="auto"), [source(noisy(5.0))], noise_model, never) == (noise_model,)


def test_what_is_given_is_taken_and_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(noise_model_file, "measure", None)
    one, two = Gaussian(5.0), Gaussian(7.0)
    two.save(tmp_path / "two.safetensors")
    colour = source(np.stack([noisy(5.0), noisy(7.0)]), "CYX")
    assert find_models(PN2V(), [colour], one, never) == (one,)
    found = find_models(PN2V(), [colour], [one, tmp_path / "two.safetensors"], never)
    assert found[0] is one and float(found[1].std) == 7.0  # type: ignore[arg-type]
    (alone,) = find_models(PN2V(), [colour], str(tmp_path / "two.safetensors"), never)
    assert float(alone.std) == 7.0  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "channels"), [(2, 3), (2, 1), (4, 3), (0, 2)])
def test_one_noise_model_or_one_a_channel(count: int, channels: int) -> None:
    noun = "channel" if channels == 1 else "channels"
    with pytest.raises(UserError, match=f"{count} noise models for {channels} {noun}; give one for all"):
        open_noise_models([Gaussian(1.0)] * count, channels)


def test_each_channel_is_measured() -> None:
    image = np.stack([noisy(12.0), noisy(18.0, seed=1), noisy(30.0, seed=2)])
    found = find_models(PN2V(), [source(image, "CYX")], from_denoised=never)
    assert [std_of(noise_model) for noise_model in found] == pytest.approx([12.0, 18.0, 30.0], rel=0.15)
    last = find_models(R2R(), [source(np.moveaxis(image, 0, -1), "YXC")], from_denoised=never)
    assert [std_of(noise_model) for noise_model in last] == pytest.approx(
        [std_of(noise_model) for noise_model in found], rel=1e-6
    )


def test_the_check_up_that_was_made_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first channel; the others are measured."""
    image, asked = np.stack([noisy(12.0), noisy(18.0, seed=1)]), []

    def counted(images: Any, *, channel: int = 0) -> Any:
        asked.append(channel)
        return measure(images, channel=channel)

    checkup = measure(image, axes="CYX")
    monkeypatch.setattr(noise_model_file, "measure", counted)
    found = find_models(PN2V(), [source(image, "CYX")], from_denoised=never, checkup=checkup)
    assert asked == [1] and found[0] is checkup.pixel_noise and std_of(found[1]) == pytest.approx(18.0, rel=0.15)
    find_models(PN2V(), [source(image[:1], "CYX")] * 2, from_denoised=never, checkup=checkup)
    assert asked == [1]  # the check-up is that of all images together


def test_of_many_images_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    checkup = measure(noisy(5.0))

    def counted(images: Any, *, channel: int = 0) -> Any:
        seen.append(len(images))
        return checkup

    monkeypatch.setattr(noise_model_file, "measure", counted)
    for count in (1, 8, 9, 40):
        find_models(PN2V(), [source(noisy(5.0))] * count, from_denoised=never)
    assert seen[:2] == [1, 8] and max(seen) <= noise_model_file.MEASURED_IMAGES and min(seen[2:]) > 3


def test_where_measuring_fails_the_noise_model_is_made_from_a_denoised_image() -> None:
    small, noise_model = source(noisy(5.0, (20, 20))), Gaussian(3.0)
    assert find_models(PN2V(), [small], from_denoised=lambda: [noise_model]) == (noise_model,)
    with pytest.raises(UserError, match="give 32 x 32 or more"):
        find_models(PN2V(), [small])


def test_a_noise_model_from_a_denoised_image_is_about_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 rows, too few for a check-up, two channels of different noise; a short Noise2Void stands in for the signal."""
    import importlib

    workflow = importlib.import_module("noisewise.workflow.first_pass")
    monkeypatch.setattr(workflow, "FIRST_PASS_STEPS", 60)
    image = np.stack([noisy(6.0, (30, 100)), noisy(18.0, (30, 100), seed=1)])
    images = [source(image, "CYX")]
    found = find_models(PN2V(), images, from_denoised=workflow.from_first_pass(images, 0, "cpu"))
    assert [std_of(noise_model) for noise_model in found] == pytest.approx([6.0, 18.0], rel=0.3)


def test_an_image_without_noise_is_refused() -> None:
    """There is nothing to remove, and no noise model to make from a denoised image."""
    clean = 100 * blobs((96, 96))
    with pytest.raises(
        UserError, match=r"^array: has no noise worth removing \(.* ADU\); .* give a noise model .* n2v$"
    ):
        find_models(PN2V(), [source(clean)], from_denoised=never)
    with pytest.raises(UserError, match="no noise worth removing"):
        denoise(clean, method="sure", steps=10**9)
    assert find_models(PN2V(), [source(clean)], Gaussian(5.0), never) != ()
    assert find_models(N2V(), [source(clean)], from_denoised=never) == ()


def test_one_channel_may_be_without_noise() -> None:
    image = np.stack([100 * blobs((96, 96)), noisy(12.0)])
    clean, other = find_models(PN2V(), [source(image, "CYX")], from_denoised=never)
    assert std_of(clean) < 20 and std_of(other) == pytest.approx(12.0, rel=0.15)


# -- the method that suits what is known ---------------------------------------------------------------


def test_auto_depends_on_what_is_wanted() -> None:
    noisy = np.random.default_rng(0).normal(100, 9, (64, 64)) + np.linspace(0, 50, 64)
    checkup = measure(noisy.astype(np.float32))
    assert choose_method("auto", checkup) == choose_method("auto", None, Gaussian(8.0)) == "simulated"
    assert choose_method("auto", None) == "n2v"
    assert choose_method("auto", None, write=WriteOptions(std=True)) == "pn2v"
    assert choose_method("sure", checkup, Gaussian(8.0), WriteOptions(std=True)) == "sure"


@pytest.fixture(scope="module")
def recording() -> tuple[np.ndarray, Noise]:
    """Frames of a camera, and its noise model."""
    frames = np.random.default_rng(0).normal(blobs((64, 64)), 5.0, (60, 64, 64)).astype(np.float32)
    return frames, nw.calibrate(frames, kind="gaussian")


@pytest.mark.parametrize(("offset", "gain", "odd"), [(0.0, 1.0, False), (900.0, 1.0, True), (0.0, 1 / 40, True)])
def test_a_noise_model_of_another_camera_gives_a_warning(
    recording: tuple[np.ndarray, Noise], offset: float, gain: float, odd: bool
) -> None:
    """The images are brighter than any that the noise model was made from, or vary less than its noise."""
    frames, noise_model = recording
    image = (offset + gain * (frames[0] - frames.mean()) + frames.mean()).astype(np.float32)
    model = nw.train("pn2v", image, noise=noise_model, steps=2, features=4, depth=1)
    assert any("another camera" in note for note in model.notes) == odd
    noise_model = copy(noise_model)
    noise_model.provenance = noise_model.provenance | {"measured": {}}
    warnings = mismatch_warnings([noise_model], model.spec.mean, model.spec.std)
    assert bool(warnings) == odd and not any("another camera" in warning for warning in warnings)
    assert all(warning.endswith(": noisewise calibrate FRAMES -o NOISE") for warning in warnings)
