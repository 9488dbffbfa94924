"""Noise2Noise: repeats along time, pairs in other units, and copies that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import noisewise as nw
from noisewise.axes import Layout
from noisewise.data.images import TrainingImage, load
from noisewise.data.repeats import Copy, MeanOf, pairs_of
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.methods.base import Batch
from noisewise.methods.n2n import N2N
from noisewise.nets.standardized import Standardized
from noisewise.workflow.training import Training

from .conftest import blobs
from .test_copies import pair

SMALL: dict[str, Any] = {"network": "classic", "features": 8, "depth": 1, "batch_size": 4, "patch_size": 32}
Array = np.ndarray


def repeats(shape: tuple[int, ...] = (64, 64), count: int = 3, std: float = 15.0, seed: int = 1) -> tuple[Array, Array]:
    """A signal and so many noisy images of it, along the first axis."""
    signal = blobs(shape)
    noise = np.random.default_rng(seed).normal(0, std, (count, *shape))
    return signal, (signal + noise).astype(np.float32)


def source(image: Array, axes: str, name: str = "cells.tif") -> Source:
    found = open_source(image, axes)
    found.name = name
    return found


# -- which is whose target -------------------------------------------------------------------------


def test_of_two_repeats_each_is_the_target_of_the_other() -> None:
    _, stack = repeats(count=2)
    pairs, notes = pairs_of([source(stack, "TYX")], [], "n2n")
    assert [(one.axes, one.shape) for one, _ in pairs] == [("YX", (64, 64))] * 2 and notes == []
    for (noisy, target), own, other in zip(pairs, stack, stack[::-1], strict=True):
        np.testing.assert_array_equal(noisy.read(), own)
        np.testing.assert_array_equal(target.read(), other)


def test_of_three_repeats_the_target_is_the_mean_of_the_others() -> None:
    _, stack = repeats(count=3)
    pairs, _ = pairs_of([source(stack, "TYX")], [], "n2n")
    assert len(pairs) == 3
    for t, (noisy, target) in enumerate(pairs):
        assert isinstance(target, MeanOf)
        np.testing.assert_array_equal(noisy.read(), stack[t])
        np.testing.assert_allclose(target.read(), np.delete(stack, t, 0).mean(0), rtol=1e-6)
        part = (slice(3, 9), slice(10, 30))
        np.testing.assert_array_equal(target.read(part), target.read()[part])
        assert target.size_of("T") == 1 and target.size_of("X") == 64


@pytest.mark.parametrize("axes", ["CTYX", "TZYX", "ZTCYX", "YXT"])
def test_repeats_may_lie_along_any_place(axes: str) -> None:
    sizes = {"T": 2, "C": 3, "Z": 4, "Y": 24, "X": 30}
    stack = np.random.default_rng(0).normal(100, 5, [sizes[a] for a in axes]).astype(np.float32)
    pairs, _ = pairs_of([source(stack, axes)], [], "n2n")
    frames = np.moveaxis(stack, axes.index("T"), 0)
    assert pairs[0][0].axes == axes.replace("T", "") and pairs[0][0].shape == frames.shape[1:]
    np.testing.assert_array_equal(pairs[0][0].read(), frames[0])
    np.testing.assert_array_equal(pairs[1][0].read(), frames[1])
    part = tuple(slice(int(a in "YX"), n) for a, n in zip(pairs[0][0].axes, frames.shape[1:], strict=True))
    np.testing.assert_array_equal(pairs[0][1].read(part), frames[1][part])


def test_two_files_are_targets_of_each_other() -> None:
    _, stack = repeats(count=2)
    pairs, _ = pairs_of([source(stack[0], "YX", "a.tif")], [source(stack[1], "YX", "b.tif")], "n2n")
    assert len(pairs) == 2
    np.testing.assert_array_equal(pairs[0][1].read(), stack[1])
    np.testing.assert_array_equal(pairs[1][0].read(), stack[1])
    np.testing.assert_array_equal(pairs[1][1].read(), stack[0])


def test_several_stacks_are_scenes_of_their_own() -> None:
    stacks = [repeats(count=count, seed=count)[1] for count in (2, 3)]
    pairs, _ = pairs_of([source(stack, "TYX", f"{len(stack)}.tif") for stack in stacks], [], "n2n")
    assert len(pairs) == 5
    np.testing.assert_allclose(pairs[2][1].read(), stacks[1][1:].mean(0), rtol=1e-6)


# -- other units -----------------------------------------------------------------------------------


def slope_of(image: Array, signal: Array) -> tuple[float, float]:
    """Line of an image against the signal, through the middle of the signal: slope, and offset from it there."""
    slope, middle = np.polyfit((signal - signal.mean()).ravel(), image.ravel().astype(float), 1)
    return float(slope), float(middle - signal.mean())


def test_another_gain_and_offset_are_undone_both_ways() -> None:
    signal, (first, second) = repeats((96, 96), count=2)
    pairs, notes = pairs_of([source(first, "YX", "a.tif")], [source(1.3 * second + 20, "YX", "b.tif")], "n2n")
    assert len(notes) == 1 and notes[0].startswith("b.tif is 1.3") and "taken into account" in notes[0]
    (one, target_of_one), (two, target_of_two) = pairs
    np.testing.assert_array_equal(one.read(), first)  # in the units of the first
    np.testing.assert_array_equal(target_of_two.read(), first)
    np.testing.assert_array_equal(two.read(), target_of_one.read())
    slope, offset = slope_of(two.read(), signal)
    assert slope == pytest.approx(1, abs=0.03) and offset == pytest.approx(0, abs=1)
    assert two.read().std() == pytest.approx(second.std(), rel=0.03)


def test_each_channel_has_its_own_gain() -> None:
    signal, (first, second) = repeats((2, 96, 96), count=2)
    gain, offset = np.array([1.3, 0.7])[:, None, None], np.array([20.0, 0.0])[:, None, None]
    pairs, notes = pairs_of([source(first, "CYX", "a")], [source(gain * second + offset, "CYX", "b")], "n2n")
    assert len(notes) == 2
    read = pairs[0][1].read()
    for channel in range(2):
        slope, away = slope_of(read[channel], signal[channel])
        assert slope == pytest.approx(1, abs=0.04) and away == pytest.approx(0, abs=1)
    # ... and where the channels are last.
    last = [np.moveaxis(image, 0, -1) for image in (first, gain * second + offset)]
    again, _ = pairs_of([source(last[0], "YXC", "a")], [source(last[1], "YXC", "b")], "n2n")
    np.testing.assert_allclose(np.moveaxis(again[0][1].read(), -1, 0), read, rtol=1e-6)


def test_frames_that_bleach_are_brought_to_the_first() -> None:
    """Repeats of falling brightness: targets are in the units of the first, so that their mean is one image."""
    signal, stack = repeats((96, 96), count=3, std=8)
    fading = stack * np.array([1.0, 0.8, 0.64])[:, None, None]
    pairs, notes = pairs_of([source(fading.astype(np.float32), "TYX")], [], "n2n")
    assert len(notes) == 2 and all("times as bright" in note for note in notes)
    for noisy, target in pairs:
        for image in (noisy, target):
            slope, offset = slope_of(image.read(), signal)
            assert slope == pytest.approx(1, abs=0.03) and offset == pytest.approx(0, abs=1)


def test_the_prediction_is_in_the_units_of_the_input() -> None:
    """Trained on a target that is 1.3 times as bright, and 20 brighter, the image keeps its brightness."""
    signal, (first, second) = repeats((96, 96), count=2)
    brighter = (1.3 * second + 20).astype(np.float32)
    model = nw.train("n2n", first, brighter, steps=80, learning_rate=5e-3, **SMALL)
    assert model.spec.target_mean == model.spec.mean and model.spec.target_std == model.spec.std
    found = model.predict(first).mean
    assert found.mean() == pytest.approx(first.mean(), rel=0.02)
    slope, _ = slope_of(found, signal)
    assert slope == pytest.approx(1, abs=0.15)
    assert np.mean((found - signal) ** 2) < 15**2 / 4
    assert any("taken into account" in note for note in model.notes)


def test_a_stack_of_repeats_is_trained_on_and_denoised_frame_by_frame() -> None:
    signal, stack = repeats((64, 64), count=3)
    model = nw.train("n2n", stack, axes="TYX", steps=80, learning_rate=5e-3, **SMALL)
    found = model.predict(stack, axes="TYX").mean
    assert found.shape == stack.shape
    assert np.mean((found - signal) ** 2) < 15**2 / 4
    assert not np.array_equal(found[0], found[1])


def test_the_loss_is_the_squared_difference_in_the_units_of_the_input() -> None:
    net = Standardized(torch.nn.Identity(), 2, [100.0], [8.0], [300.0], [50.0])
    noisy, target = (100 + 8 * torch.randn((2, 1, 9, 9), generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    valid = noisy > 97
    loss = N2N().loss(net, Batch(noisy=noisy, valid=valid, target=target, generator=torch.Generator()))
    assert float(loss) == pytest.approx(float((((noisy - target) / 8) ** 2)[valid].mean()), rel=1e-5)


# -- copies that do not fit ------------------------------------------------------------------------


def test_a_shift_gives_a_warning() -> None:
    first, second = pair((128, 128), 20, seed=1, shift=(0.0, 3.0))
    _, notes = pairs_of([source(first, "YX", "a.tif")], [source(second, "YX", "b.tif")], "n2n")
    assert len(notes) == 1
    assert notes[0].startswith("b.tif is shifted by 3.0 pixels along X against a.tif: register them first")


def test_a_shift_of_a_repeat_gives_a_warning_with_its_number() -> None:
    first, second = pair((128, 128), 20, seed=1, shift=(2.0, 0.0))
    third = np.random.default_rng(5).poisson(first)  # more of the first
    stack = np.stack([first, third, second]).astype(np.float32)
    _, notes = pairs_of([source(stack, "TYX")], [], "n2n")
    assert any("cells.tif, repeat 2 is shifted by" in note for note in notes)
    assert not any("repeat 1 is shifted" in note for note in notes)


def test_the_notes_reach_the_user() -> None:
    first, second = pair((96, 96), 20, seed=1, shift=(0.0, 3.0))
    model = nw.train("n2n", first.astype(np.float32), second.astype(np.float32), steps=2, **SMALL)
    assert sum("is shifted by" in note for note in model.notes) == 1


@pytest.mark.parametrize("form", ["pair", "stack"])
def test_identical_copies_are_refused(form: str) -> None:
    _, stack = repeats(count=1)
    given = (stack[0], stack[0].copy()) if form == "pair" else (np.concatenate([stack, stack]),)
    with pytest.raises(nw.UserError, match="pixel by pixel: identical copies share their noise") as error:
        nw.train("n2n", *given, axes="YX" if form == "pair" else "TYX", steps=2, **SMALL)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 32, 32), "SYX"), ((32, 32), "YX"), ((1, 32, 32), "TYX"), ((3, 32, 32), "ZYX")]
)
def test_images_without_repeats_are_refused_with_advice(shape: tuple[int, ...], axes: str) -> None:
    """Samples are different scenes, slices too: neither is a target of the other."""
    image = np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)
    with pytest.raises(nw.UserError) as error:
        nw.train("n2n", image, axes=axes, steps=2, **SMALL)
    message = str(error.value)
    assert "second noisy image as target" in message and "repeats of one scene along the axis T" in message
    assert f"has axes {axes}" in message and "give a target, or axes" in message and "\n" not in message


def test_a_bare_stack_is_refused_and_the_axes_help() -> None:
    """Three dimensions are taken for samples, unless T is given."""
    _, stack = repeats(count=2)
    with pytest.raises(nw.UserError, match="or axes if they are wrong"):
        nw.train("n2n", stack, steps=2, **SMALL)
    assert nw.train("n2n", stack, axes="TYX", steps=2, **SMALL).train_state.finished


def test_targets_of_another_shape_or_number_are_refused() -> None:
    _, stack = repeats(count=3)
    with pytest.raises(nw.UserError, match="differs from"):
        nw.train("n2n", stack[0], stack[1][:40], steps=2, **SMALL)
    with pytest.raises(nw.UserError, match="got 2 for 1"):
        nw.train("n2n", stack[0], [stack[1], stack[2]], steps=2, **SMALL)


# -- pixels that are not trained on ----------------------------------------------------------------


def saturated_pair() -> Array:
    """Two repeats of eight bits, (T, Y, X): one pixel at the top in the first, another in the second."""
    stack = np.random.default_rng(0).integers(50, 200, (2, 32, 32)).astype(np.uint8)
    stack[0, 5, 6] = stack[1, 20, 21] = 255
    return stack


def test_a_pixel_saturated_in_one_copy_is_trained_on_in_none() -> None:
    training = Training(N2N(**SMALL), [source(saturated_pair(), "TYX")])
    blocks = list(training.patches._pool.values())
    assert len(blocks) == 2
    for block in blocks:
        assert not block.valid[0, 5, 6] and not block.valid[0, 20, 21]
        assert block.valid.mean() > 0.5
        assert np.isfinite(block.noisy).all() and np.isfinite(block.target).all()


def test_saturated_pixels_are_reported_as_saturated() -> None:
    model = nw.train("n2n", saturated_pair(), axes="TYX", steps=2, **SMALL)
    assert any(note.startswith("2 of 2,048 pixels are saturated") for note in model.notes), model.notes
    assert not any("NaN" in note for note in model.notes), model.notes


def test_the_network_is_trained_on_the_pixels_that_it_will_see() -> None:
    """A saturated pixel is not a target, but it is an input in training as in prediction."""
    stack = saturated_pair()
    training = Training(N2N(**SMALL), [source(stack, "TYX")])
    first = next(block for block in training.patches._pool.values() if block.noisy[0, 0, 0] == stack[0, 0, 0])
    assert first.noisy[0, 5, 6] == 255


def test_saturation_is_detected_in_any_units() -> None:
    """A channel each of a copy that is brighter, with the top of its pixel type; of floats there is no top."""
    image = np.random.default_rng(0).integers(0, 250, (2, 20, 24)).astype(np.uint8)
    image[0, 3, 4] = image[1, 5, 6] = 255
    at = np.nonzero(image == 255)
    copy = Copy.make(source(image, "CYX"))
    copy.gain, copy.offset = np.array([1.3, 0.7]), np.array([20.1, -3.3])
    loaded = load(TrainingImage(copy, Layout("CYX", "YX")), copy.everything)
    assert loaded.pixel_counts.saturated == 2 and loaded.pixel_counts.not_finite == 0
    np.testing.assert_array_equal(np.nonzero(~loaded.valid), at)
    np.testing.assert_array_equal(loaded.noisy, copy.read())
    np.testing.assert_array_equal(np.nonzero(np.isnan(copy.unsaturated())), at)
    part = (slice(1, 2), slice(4, 9), slice(3, 24))
    np.testing.assert_array_equal(np.nonzero(np.isnan(copy.unsaturated(part))), ([0], [1], [3]))
    floats = source(np.where(image == 255, np.inf, image).astype(np.float32), "CYX")
    pixel_counts = load(TrainingImage(Copy.make(floats), Layout("CYX", "YX")), floats.everything).pixel_counts
    assert pixel_counts.saturated == 0 and pixel_counts.not_finite == 2


def test_saturated_pixels_do_not_affect_the_comparison() -> None:
    """Bright spots at the top of one copy, which is 1.3 times as bright: the gain is that of all else."""
    signal = blobs((96, 96))
    first, second = np.random.default_rng(0).poisson([signal, 1.3 * signal]).clip(0, 255).astype(np.uint8)
    second[20:24, 30:70] = 255
    pairs, notes = pairs_of([source(first, "YX", "a.tif")], [source(second, "YX", "b.tif")], "n2n")
    assert len(notes) == 1 and notes[0].startswith("b.tif is 1."), notes
    slope, _ = slope_of(pairs[1][0].read()[24:], signal[24:])
    assert slope == pytest.approx(1, abs=0.05)
    assert np.isnan(pairs[0][1].read()[20:24, 30:70]).all() and np.isfinite(pairs[0][1].read()[24:]).all()


def test_a_copy_reads_any_region() -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 20, 24)).astype(np.uint8)
    copy = Copy.make(source(image, "CYX"))
    copy.gain, copy.offset = np.array([1.0, 2.0, 4.0]), np.array([0.0, 10.0, 20.0])
    expected = (image - copy.offset[:, None, None]) / copy.gain[:, None, None]
    np.testing.assert_allclose(copy.read(), expected, rtol=1e-6)
    part = (slice(0, 3), slice(4, 9), slice(3, 24))
    np.testing.assert_allclose(copy.read(part), expected[part], rtol=1e-6)
    part = (slice(1, 2), slice(0, 20), slice(0, 24))
    np.testing.assert_allclose(copy.read(part), expected[part], rtol=1e-6)
