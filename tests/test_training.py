"""The loop: repeatable, resumable, honest about held-out pixels, and hard to break."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.axes import Layout
from noisewise.data import patches as patches_module
from noisewise.data.background import find_background, tile_means
from noisewise.data.patches import PatchSource
from noisewise.data.images import TrainingImage
from noisewise.workflow.denoise import choose_average
from noisewise.io import open_source
from noisewise.methods.base import Batch
from noisewise.methods.n2v import N2V
from noisewise.model import Training
from noisewise.train.loop import WARM_UP_STEPS, Trainer, fit, planned

SMALL = {"features": 8, "depth": 1, "batch_size": 4, "patch_size": 32}
THRESHOLD = 88


def weights(model: nw.Model) -> torch.Tensor:
    return torch.cat([t.flatten().float() for t in model.net.state_dict().values()])


def source(scenes: list[np.ndarray], axes: str = "YX", memory: float = 1e9, **kwargs: Any) -> PatchSource:
    made = [TrainingImage(open_source(image, axes), Layout(axes, "YX")) for image in scenes]
    return PatchSource(made, (32, 32), 4, seed=0, memory_bytes=memory, device=torch.device("cpu"), **kwargs)


def test_same_seed_same_weights(planted: tuple[np.ndarray, np.ndarray]) -> None:
    one, two, other = (nw.train("n2v", planted[1], steps=30, seed=s, **SMALL) for s in (3, 3, 4))
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(other))


def test_a_resumed_run_ends_like_an_unbroken_one(planted: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    unbroken = nw.train("n2v", planted[1], steps=60, network="classic", **SMALL)
    broken = Training(N2V(network="classic", **SMALL), [open_source(planted[1])])

    def interrupt(progress: Any) -> None:
        if progress.step == 33:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)

    half = broken.run(steps=60, report=interrupt)
    assert half.run.step == 33 and not half.run.finished
    assert np.isfinite(half.predict(planted[1]).mean).all()  # usable as it is
    half.save(tmp_path / "half.safetensors")
    resumed = nw.load(tmp_path / "half.safetensors")
    whole = Training(resumed.method, [open_source(planted[1])], resume=resumed).run(steps=60)
    assert whole.run.finished
    assert torch.equal(weights(unbroken), weights(whole))


def test_a_budget_becomes_steps_that_repeat_the_run(planted: tuple[np.ndarray, np.ndarray]) -> None:
    timed = nw.train("n2v", planted[1], budget="2s", **SMALL)
    steps = timed.provenance["steps"]
    assert steps > WARM_UP_STEPS
    assert torch.equal(weights(timed), weights(nw.train("n2v", planted[1], steps=steps, **SMALL)))


def test_held_out_pixels_never_teach(planted: tuple[np.ndarray, np.ndarray]) -> None:
    """Their values may be anything: the weights do not change (they are still seen as neighbours, so keep those)."""
    data = source([planted[1]])
    held = data.held_out.valid.sum().item()
    assert held > 100
    image = data._pool[0]
    marked = image.noisy.copy()
    marked[image.valid] = 1.0
    image.noisy = np.where(image.valid, 1.0, 0.0).astype(np.float32)
    for step in range(30):
        drawn = data.draw(step)
        assert torch.equal(drawn.noisy[drawn.valid], torch.ones(int(drawn.valid.sum())))
        assert torch.equal(drawn.valid, drawn.noisy > 0)


def test_streamed_patches_come_from_the_images_and_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(patches_module.BLOCK, 2, (48, 48))
    images = [np.arange(100 * 90, dtype=np.float32).reshape(100, 90) + 1e5 * i for i in range(3)]
    first = source(images, memory=1)
    assert first.streamed
    drawn = [first.draw(step) for step in range(40)]
    first.close()
    again = source(images, memory=1)
    late = again.draw(39)  # a resumed run asks for a late step at once
    again.close()
    assert torch.equal(late.noisy, drawn[39].noisy) and torch.equal(late.valid, drawn[39].valid)
    values = torch.cat([d.noisy for d in drawn])
    rest = values.flatten() % 1e5
    assert rest.max() < 9000  # every value is one that the images hold
    assert {int(v) for v in (values.flatten() // 1e5).unique()} == {0, 1, 2}
    # Neighbours along X differ by 1 (either way) or, if the patch was turned, by the width.
    steps = (values[..., 1:] - values[..., :-1]).abs().unique()
    assert set(steps.tolist()) <= {1.0, 90.0}


@pytest.mark.parametrize("memory", [1e9, 1])
def test_coordinates_go_with_their_pixels(memory: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a numbered image the value says where a pixel lies; mirrored, turned, held out, and out of a block."""
    monkeypatch.setitem(patches_module.BLOCK, 2, (48, 48))
    data = source([np.arange(100 * 90, dtype=np.float32).reshape(100, 90)], memory=memory)
    assert data.streamed == (memory == 1)
    for drawn in [*(data.draw(step) for step in range(20)), data.held_out]:
        assert drawn.coordinates.shape == (len(drawn.noisy), 2, *drawn.noisy.shape[2:])
        y, x = drawn.coordinates.unbind(1)
        assert torch.equal((90 * y + x).float(), drawn.noisy[:, 0])
    data.close()


def test_streaming_keeps_held_out_pixels_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(patches_module.BLOCK, 2, (48, 48))
    image = np.arange(100 * 90, dtype=np.float32).reshape(100, 90)
    data = source([image], memory=1)
    held = set(data.held_out.noisy[data.held_out.valid].tolist())
    for step in range(0, 120, 5):
        drawn = data.draw(step)
        assert not held & set(drawn.noisy[drawn.valid].tolist())
    data.close()


def test_tiles_have_the_means_of_their_usable_pixels() -> None:
    image = np.arange(5 * 8, dtype=np.float32).reshape(5, 8)
    usable = np.ones_like(image, dtype=bool)
    usable[0, 0] = usable[2:4, 2:4] = False
    found = tile_means([(image, usable), (image[:2, :2] + 100, usable[2:4, :2])], (2, 2))
    tiles = [image[y : y + 2, x : x + 2] for y in (0, 2) for x in (0, 2, 4, 6)]
    expected = [tile.mean() for tile in tiles]
    expected[0] = tiles[0].ravel()[1:].mean()
    np.testing.assert_allclose(found, [*expected[:5], *expected[6:], image[:2, :2].mean() + 100])


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_background_is_found_beside_brighter_things(share: float) -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(30):
        values = 50 + rng.normal(size=200)
        values[int(share * 200) :] += rng.exponential(15.0, 200 - int(share * 200))
        found.append(find_background(values))
        values[0] = 30.0
        assert find_background(values) is None  # something is darker than it
    levels, widths = np.array(found, float).T
    assert np.sqrt(np.mean((levels - 50) ** 2)) < 0.3 and 0.4 < widths.mean() < 1.4
    assert find_background(np.full(100, 7.0)) == (7.0, 0.0) and find_background(np.zeros(8)) is None


def test_patches_tell_the_background_of_their_images() -> None:
    image = np.full((192, 256), 30.0, np.float32)
    image[:64] = np.linspace(50, 500, 64)[:, None]
    data = source([image, image])
    assert data.draw(0).background == data.held_out.background == ((30.0, 0.0),)
    assert source([image[:64]]).draw(0).background == (None,)


@dataclass(frozen=True, kw_only=True)
class Explosive(N2V):
    """A method whose loss is sometimes not a number."""

    def loss(self, net: Any, batch: Batch) -> torch.Tensor:
        value = super().loss(net, batch)
        return value * (torch.nan if not batch.held_out and batch.noisy.flatten()[0] > THRESHOLD else 1.0)


def test_training_recovers_from_a_diverged_step(planted: tuple[np.ndarray, np.ndarray]) -> None:
    signal, noisy = planted
    data = source([noisy])
    noisy_first = sum(float(data.draw(step).noisy.flatten()[0]) > THRESHOLD for step in range(60))
    assert 0 < noisy_first <= 8
    model = Training(N2V(**SMALL), [open_source(noisy)]).model
    run = fit(Explosive(**SMALL), model.net, data, steps=60)
    assert run.recoveries == noisy_first
    assert np.mean((model.predict(noisy).mean - signal) ** 2) < np.mean((noisy - signal) ** 2)


def test_a_rising_risk_ends_training_and_keeps_the_best() -> None:
    data = source([np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)])
    model = Training(N2V(**SMALL), [open_source(data.scenes[0].noisy.read())]).model
    trainer = Trainer(model.method, model.net, data, model.run)
    model.run.steps = 100_000
    validation_losses = iter([1.0, 0.5, *[0.6] * 100])
    trainer._loss = lambda patches, held_out=False: torch.tensor(next(validation_losses))  # type: ignore[method-assign]
    while not model.run.finished:
        trainer.check()
    assert len(model.run.validation_losses) == 7 and model.run.best_validation_loss == 0.5


def test_saturated_and_nan_pixels_do_not_teach() -> None:
    image = np.random.default_rng(0).integers(100, 200, (64, 64)).astype(np.uint8)
    image[10:12, 10:14] = 255
    data = source([image])
    assert data.pixel_counts.saturated == 8
    assert not (data._pool[0].noisy[0] == 255)[data._pool[0].valid[0]].any()
    floating = image.astype(np.float32)
    floating[0, :3] = np.nan, np.inf, -np.inf
    data = source([floating])
    assert data.pixel_counts.not_finite == 3
    assert np.isfinite(data._pool[0].noisy).all()
    assert any("NaN" in note for note in data.pixel_counts.notes())


def test_statistics_leave_out_what_cannot_teach() -> None:
    image = np.random.default_rng(0).normal(100, 10, (64, 64)).astype(np.float32)
    good = image.copy()
    image[5, 5] = np.nan
    statistics = source([image]).noisy_statistics
    kept = np.delete(good.ravel(), 5 * 64 + 5)
    assert statistics.mean[0] == pytest.approx(kept.mean(), rel=1e-6)
    assert statistics.std[0] == pytest.approx(kept.std(), rel=1e-5)


def test_an_image_smaller_than_a_patch_works() -> None:
    image = np.random.default_rng(0).normal(100, 10, (11, 7)).astype(np.float32)
    assert nw.denoise(image, steps=3).mean.shape == (11, 7)


def test_a_budget_is_kept_and_its_steps_repeat_the_run() -> None:
    """The length is measured while nothing depends on it yet."""
    noisy = np.random.default_rng(0).poisson(100, (64, 64)).astype(np.uint16)
    small = {"network": "classic", "features": 4, "depth": 1, "batch_size": 1, "patch_size": 16}
    started = time.perf_counter()
    timed = nw.train("n2v", noisy, budget=8.0, **small)
    assert time.perf_counter() - started < 14
    assert timed.run.steps > 10 * WARM_UP_STEPS  # many enough that the pace was measured after the warm-up
    again = nw.train("n2v", noisy, steps=timed.run.steps, **small)
    assert again.run.validation_losses == timed.run.validation_losses
    for one, two in zip(timed.net.state_dict().values(), again.net.state_dict().values(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("step", "steps"), [(WARM_UP_STEPS, 45), (60, 600), (60, 1060)])
def test_a_run_is_never_planned_shorter_than_its_rates_allow(step: int, steps: int) -> None:
    assert planned(step, float(steps - step) if steps != 600 else 10.0, 1.0) == steps


@pytest.mark.parametrize(("budget", "averaged"), [(None, True), ("60s", True), ("5s", False)])
def test_a_short_budget_is_not_spent_on_averaging(budget: str | None, averaged: bool) -> None:
    assert choose_average(None, [open_source(np.zeros((64, 64)))], budget) == averaged
    assert choose_average(True, [open_source(np.zeros((64, 64)))], budget)
