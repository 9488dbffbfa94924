"""Pixels that are not light: found, left out, and kept; photon counts and dark regions are not taken for them."""

import numpy as np
import pytest

import noisewise as nw
from noisewise.data.images import fill
from noisewise.io import open_source
from noisewise.io.fill import counted, fill_value, opened
from noisewise.io.light import inspect_pixels, read_with_mask

from .conftest import blobs

SIGNAL = 100 + blobs((96, 96))
NOISY = np.random.default_rng(0).poisson(SIGNAL).astype(np.float32)


def framed(value, width=(20, 30)):
    """The noisy image within a frame of one value."""
    return np.pad(NOISY, [width, width], constant_values=value)


def test_opening_against_loops():
    mask = np.random.default_rng(1).random((20, 17)) < 0.8
    padded = np.pad(mask, 8, constant_values=True)
    expected = np.zeros_like(padded)
    for y in range(padded.shape[0] - 4):
        for x in range(padded.shape[1] - 4):
            if padded[y : y + 5, x : x + 5].all():
                expected[y : y + 5, x : x + 5] = True
    np.testing.assert_array_equal(opened(mask), expected[8:-8, 8:-8] & mask)
    window = np.pad(mask, 1)[3:6, 5:8]
    assert counted(mask, 3, False)[3, 5] == window.sum()


@pytest.mark.parametrize("value", [0.0, 128.0, float(NOISY.mean())])
def test_a_frame_is_found(value):
    image = framed(value)
    source = open_source(image)
    inspect_pixels(source)
    assert source.not_light.fill == {0: (value,)} and any("filled in" in note for note in source.notes)
    inside = np.pad(np.ones(NOISY.shape, bool), [(20, 30)] * 2)
    found = read_with_mask(source, source.everything)[1]
    assert (found[~inside]).all() and not found[24:-34, 24:-34].any()
    part = (slice(7, 60), slice(30, 141))
    np.testing.assert_array_equal(read_with_mask(source, part)[1], found[part])


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.1, 0.5, 3.0])
def test_zeros_of_photon_counts_are_light(rate):
    counts = np.random.default_rng(2).poisson(rate * blobs((128, 128)) / 60).astype(np.uint8)
    assert fill_value(counts)[1] == 0


def test_saturated_pixels_and_constant_planes():
    assert fill_value(np.minimum(NOISY, 150.0))[1] == 0
    assert fill_value(np.full((64, 64), 7))[:2] == (7.0, 64 * 64)


def test_pixels_that_are_missing_get_the_nearest_values():
    image = np.array([[[np.nan, 1, np.nan, np.nan, 4], [np.nan] * 5, [5, np.nan, 7, 8, 9]]], np.float32)
    found, finite = fill(image)
    np.testing.assert_array_equal(found[0], [[1, 1, 1, 4, 4], [1, 1, 1, 4, 4], [5, 5, 7, 8, 9]])
    np.testing.assert_array_equal(finite, np.isfinite(image))


@pytest.mark.usefixtures("few_scenes")
@pytest.mark.parametrize("value", [0.0, 128.0])
def test_the_inside_is_as_good_as_without_a_frame(value):
    alone, within = nw.denoise(NOISY, steps=0), nw.denoise(framed(value), steps=0)
    errors = [np.sqrt(np.mean((image - SIGNAL) ** 2)) for image in (alone.mean, within.mean[20:-30, 20:-30])]
    assert errors[1] < 1.11 * errors[0]  # the noise may be that of the blocks, or what the network reads
    assert (within.mean[:20] == value).all() and (within.mean[-30:] == value).all()
    middle = alone.checkup.signal_range[1]
    assert abs(within.checkup.std(middle) / alone.checkup.std(middle) - 1) < 0.1


def test_methods_without_a_noise_model_take_fill_too():
    """Also four pixels of it, and frames of a movie that are blank."""
    movie = np.stack([framed(0.0, (4, 4)), np.zeros((104, 104), np.float32), framed(0.0, (4, 4))])
    result = nw.denoise(movie, axes="TYX", method="n2v", steps=2, network="classic", depth=1)
    assert (result.mean[1] == 0).all() and (result.mean[0, :4] == 0).all()
    inside = result.mean[0, 4:-4, 4:-4]
    assert abs(inside.mean() / NOISY.mean() - 1) < 0.01


def test_too_little_noise_to_measure_is_one_sentence():
    image = np.rint(0.4 * np.random.default_rng(3).standard_normal((128, 128)) ** 3).clip(-2, 2) + 7.0
    image[np.random.default_rng(4).random(image.shape) < 0.99] = 7
    with pytest.raises(nw.UserError, match="single pixel value"):
        nw.measure(image)
    assert nw.denoise(image, method="n2v", steps=2, network="classic", depth=1).checkup is None
