"""The training loop: reproducible, kept to its budget, with held-out pixels, and robust."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.axes import Layout
from noisewise.data import patches as patches_module
from noisewise.data.background import find_background, tile_means
from noisewise.data.images import TrainingImage
from noisewise.data.patches import PatchSource
from noisewise.io import open_source
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Batch
from noisewise.methods.n2v import N2V
from noisewise.train import clock, loop
from noisewise.train.clock import planned
from noisewise.train.loop import Trainer, fit
from noisewise.train.state import WARM_UP_STEPS, TrainState
from noisewise.workflow.budget import parse_budget
from noisewise.workflow.training import Training

SMALL = {"features": 8, "depth": 1, "batch_size": 4, "patch_size": 32}
THRESHOLD = 88


def weights(model: nw.Model) -> torch.Tensor:
    return torch.cat([t.flatten().float() for t in model.net.state_dict().values()])


def source(scenes: list[np.ndarray], axes: str = "YX", memory: float = 1e9, **kwargs: Any) -> PatchSource:
    made = [TrainingImage(open_source(image, axes), Layout(axes, "YX")) for image in scenes]
    return PatchSource(made, (32, 32), 4, seed=0, memory_bytes=memory, device=torch.device("cpu"), **kwargs)


def test_same_seed_same_weights(planted: tuple[np.ndarray, np.ndarray]) -> None:
    one, two, other = (nw.train("n2v", planted[1], steps=20, seed=s, **SMALL) for s in (3, 3, 4))
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(other))


def test_a_budget_is_kept(planted: tuple[np.ndarray, np.ndarray]) -> None:
    started = time.perf_counter()
    timed = nw.train("n2v", planted[1], budget="2s", **SMALL)
    assert time.perf_counter() - started < 8
    assert timed.provenance["steps"] == timed.train_state.steps > WARM_UP_STEPS


def test_the_steps_of_a_budget_repeat_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace is measured while nothing depends on the length yet; the clock here ticks 5 ms, twice a step."""
    ticks = count()
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: 0.005 * next(ticks)))
    for module in (clock, loop):
        monkeypatch.setattr(module, "WARM_UP_STEPS", 10)
    noisy = np.random.default_rng(0).poisson(100, (64, 64)).astype(np.uint16)
    small = {"network": "classic", "features": 4, "depth": 1, "batch_size": 1, "patch_size": 16}
    timed = nw.train("n2v", noisy, budget=3.0, **small)
    assert 0.9 * 3.0 < 0.005 * next(ticks) < 3.0
    assert timed.train_state.steps > 10 * clock.WARM_UP_STEPS  # so many that the pace was measured after the warm-up
    again = nw.train("n2v", noisy, steps=timed.train_state.steps, **small)
    assert again.train_state.validation_losses == timed.train_state.validation_losses
    assert torch.equal(weights(timed), weights(again))


def test_held_out_pixels_are_never_trained_on(planted: tuple[np.ndarray, np.ndarray]) -> None:
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
    late = again.draw(39)  # a resumed training begins at a late step
    again.close()
    assert torch.equal(late.noisy, drawn[39].noisy) and torch.equal(late.valid, drawn[39].valid)
    values = torch.cat([d.noisy for d in drawn])
    rest = values.flatten() % 1e5
    assert rest.max() < 9000  # every value is one that the images hold
    assert {int(v) for v in (values.flatten() // 1e5).unique()} == {0, 1, 2}
    # Neighbours along X differ by 1 (either way) or, if the patch was rotated, by the width.
    steps = (values[..., 1:] - values[..., :-1]).abs().unique()
    assert set(steps.tolist()) <= {1.0, 90.0}


@pytest.mark.parametrize("memory", [1e9, 1])
def test_coordinates_go_with_their_pixels(memory: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a numbered image the value gives the place of a pixel; mirrored, rotated, held out, and from a block."""
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


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_background_is_found_beside_brighter_things(fraction: float) -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(30):
        values = 50 + rng.normal(size=200)
        values[int(fraction * 200) :] += rng.exponential(15.0, 200 - int(fraction * 200))
        found.append(find_background(values))
        values[0] = 30.0
        assert find_background(values) is None  # there is something darker
    levels, widths = np.array(found, float).T
    assert np.sqrt(np.mean((levels - 50) ** 2)) < 0.3 and 0.4 < widths.mean() < 1.4
    assert find_background(np.full(100, 7.0)) == (7.0, 0.0) and find_background(np.zeros(8)) is None


def test_patches_come_with_the_background_of_their_images() -> None:
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
    state = fit(Explosive(**SMALL), model.net, data, steps=60)
    assert state.recoveries == noisy_first
    assert np.mean((model.predict(noisy, average=False).mean - signal) ** 2) < np.mean((noisy - signal) ** 2)


def test_a_rising_validation_loss_ends_training_and_keeps_the_best() -> None:
    data = source([np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)])
    model = Training(N2V(**SMALL), [open_source(data.training_images[0].noisy.read())]).model
    trainer = Trainer(model.method, model.net, data, model.train_state)
    model.train_state.steps = 100_000
    validation_losses = iter([1.0, 0.5, *[0.6] * 100])
    trainer._loss = lambda patches, held_out=False: torch.tensor(next(validation_losses))  # type: ignore[method-assign]
    while not model.train_state.finished:
        trainer.validate()
    assert len(model.train_state.validation_losses) == 7 and model.train_state.best_validation_loss == 0.5
    model.train_state.recoveries = 1
    assert model.train_state.notes() == [
        "training stopped early: the validation loss rose from 0.500 to 0.600 after 0 steps; the best weights are used",
        "training diverged 1 time and went on with a lower learning rate",
    ]


def test_saturated_and_nan_pixels_are_not_trained_on() -> None:
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


def test_statistics_leave_out_pixels_that_are_not_valid() -> None:
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


@pytest.mark.parametrize(
    ("step_s", "budget_s", "most"), [(0.1, 1.0, 10), (0.3, 1.0, 3), (5.0, 1.0, 1), (0.01, 1.0, 100)]
)
def test_slow_steps_are_fewer_than_the_warm_up(step_s: float, budget_s: float, most: int) -> None:
    """The number of steps is known after the first few, so that a slow machine keeps the budget too."""
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now[0]))
        watch, state = clock.Clock(budget_s, 0), TrainState()
        while not state.finished:
            now[0] += step_s
            state.step += 1
            watch.plan(state)
    assert 0.8 * most <= state.step <= most


@pytest.mark.parametrize(("step", "steps"), [(WARM_UP_STEPS, 45), (60, 600), (60, 1060), (7, 9)])
def test_a_training_is_never_planned_shorter_than_its_learning_rates_allow(step: int, steps: int) -> None:
    assert planned(step, float(steps - step) if steps != 600 else 10.0, 1.0) == steps


@pytest.mark.parametrize(("budget", "averaged"), [(None, True), ("60s", True), ("5s", False)])
def test_a_short_budget_is_not_spent_on_averaging(budget: str | None, averaged: bool) -> None:
    default, asked = (WriteOptions.split_from({"average": average})[0] for average in (None, True))
    small = [open_source(np.zeros((64, 64)))]
    assert default.averages(small, parse_budget(budget)) == averaged
    assert asked.averages(small, parse_budget(budget))
