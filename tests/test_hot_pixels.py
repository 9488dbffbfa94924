"""Hot and dead pixels are found, replaced and told; points of light, photons and single events are kept."""

import numpy as np
import pytest

import noisewise as nw
from noisewise.io import open_source
from noisewise.io.hot_pixels import find_hot_pixels
from noisewise.io.light import inspect_pixels, read_light

from .conftest import blobs

SIGNAL = 100 + 2 * blobs((96, 128))
RNG = np.random.default_rng(0)
HOT = RNG.random(SIGNAL.shape) < 0.002


def noisy(seed=0):
    return np.random.default_rng(seed).poisson(SIGNAL).astype(np.uint16)


@pytest.mark.parametrize("value", [2000, 600, 0])
def test_hot_and_dead_pixels_are_replaced_and_told(value):
    image = noisy()
    image[HOT] = value
    source = open_source(image)
    inspect_pixels(source)
    assert any("hot or dead" in note for note in source.notes)
    cleaned = read_light(source, source.everything).astype(float)
    isolated = HOT & (sum(np.roll(HOT, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)) == 1)
    changed = cleaned != image
    assert changed[isolated].mean() > 0.9 and changed[~HOT].sum() == 0
    assert np.abs(cleaned - SIGNAL)[changed].max() < 4 * SIGNAL.max() ** 0.5
    part = (slice(11, 60), slice(30, 97))
    np.testing.assert_array_equal(read_light(source, part), cleaned[part])


@pytest.mark.parametrize("std", [0.8, 1.0, 1.5])
def test_points_of_light_are_kept(std):
    y, x = np.mgrid[:128, :128]
    truth, rng = np.full((128, 128), 10.0), np.random.default_rng(1)
    for cy, cx in rng.uniform(5, 122, (40, 2)):
        truth += 3000 / (2 * np.pi * std**2) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * std**2))
    assert find_hot_pixels([rng.poisson(truth).astype(np.uint16)]) is None


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.5, 5.0])
def test_photons_are_kept(rate):
    counts = np.random.default_rng(2).poisson(rate * blobs((128, 128)) / 30)
    assert find_hot_pixels([counts.astype(np.uint8)]) is None
    assert find_hot_pixels([(0.37 * counts).astype(np.float32)]) is None


def test_defects_stay_where_they_are_and_events_do_not():
    static, events = ([noisy(seed) for seed in range(4)] for _ in range(2))
    for frame, (fixed, event) in enumerate(zip(static, events, strict=True)):
        fixed[HOT] += 600
        event[np.random.default_rng(10 + frame).random(event.shape) < 0.002] += 600
    assert find_hot_pixels(static).fraction == pytest.approx(HOT.mean(), rel=0.2)
    assert find_hot_pixels(events) is None


def test_denoised_and_measured_as_if_they_were_not_there():
    image, without = noisy(), noisy()
    image[HOT] += 600
    report = nw.measure(image)
    assert report.hot_fraction > 0.001 and any("hot" in warning for warning in report.warnings)
    assert report.std(120) == pytest.approx(nw.measure(without).std(120), rel=0.05)
    result, expected = (nw.denoise(part, steps=0) for part in (image, without))
    assert np.abs(result.mean - expected.mean)[HOT].mean() < 5
    assert np.abs(result.mean - expected.mean).mean() < 0.5
    assert sum("hot" in note for note in result.notes) == 1


def test_clean_images_without_noise_are_left_alone():
    image = np.zeros((64, 64), np.float32)
    image[20, 30] = 100
    assert find_hot_pixels([image]) is None
