"""Two copies of a scene: planted shifts, gains and scenes are found, and pairs that fit raise no alarm."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from noisewise.data.copies import MOST_PIXELS, Relation, middle, relation

BORDER = 24  # pixels of scene around the image, so that a shift brings in what was outside


def planted(shape, kind="texture", seed=0, shift=None):
    """A scene of mean about 1, shifted by Fourier transform of a larger canvas: exact, for it is band-limited."""
    rng = np.random.default_rng(seed)
    canvas = tuple(n + 2 * BORDER for n in shape)
    frequency = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n) for n in canvas), indexing="ij")
    square = sum(f**2 for f in frequency)
    if kind == "texture":
        values = np.fft.ifftn(np.fft.fftn(rng.normal(size=canvas)) * np.exp(-4.5 * square)).real
        values = np.maximum(1 + 0.4 * values / values.std(), 0.05)
    else:  # beads on a dim background
        values = np.full(canvas, 0.3)
        count = values.size // 400
        np.add.at(values, tuple(rng.integers(0, n, count) for n in canvas), rng.uniform(100, 500, count))
    spectrum = np.fft.fftn(values) * np.exp(-0.7 * square)
    for f, by in zip(frequency, shift or (0,) * len(shape), strict=True):
        spectrum = spectrum * np.exp(-1j * f * by)
    return np.maximum(np.fft.ifftn(spectrum).real[tuple(slice(BORDER, BORDER + n) for n in shape)], 0)


def pair(shape, photons, seed, kind="texture", shift=None, gain=1.0, offset=0.0):
    """Two recordings with Poisson noise, the second shifted and in other units."""
    rng = np.random.default_rng(1000 + seed)
    first, second = (photons * planted(shape, kind, seed, by) for by in (None, shift))
    return rng.poisson(first).astype(float), gain * rng.poisson(second) + offset


# -- shift -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["texture", "beads"])
@pytest.mark.parametrize("shift", [(0.0, 0.43), (-1.37, 2.52), (0.52, -0.48)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel_at_ten_photons(kind, shift):
    found = relation(*pair((256, 256), 10, seed=3, kind=kind, shift=shift, gain=1.3, offset=7))
    np.testing.assert_allclose(found.shift, shift, atol=0.1)
    assert 0.003 < max(found.shift_error) < 0.05
    warning = found.warnings("a.tif", "b.tif")[0]
    assert warning.startswith("b.tif is shifted by") and "pixels along X against a.tif: register them" in warning
    assert ("along Y" in warning) == (shift[0] != 0)


@pytest.mark.parametrize("kind", ["texture", "beads"])
def test_a_shift_may_be_large(kind):
    first, second = pair((360, 360), 10, seed=3, kind=kind, shift=(-0.4, -0.3))
    found = relation(first[50:306, 50:306], second[18:274, 90:346])
    np.testing.assert_allclose(found.shift, (31.6, -40.3), atol=0.1)


@pytest.mark.parametrize(("photons", "kind"), [(1, "texture"), (10, "texture"), (100, "beads")])
def test_the_standard_errors_of_shift_and_gain_match_their_scatter(photons, kind):
    """(estimate − truth) / error has a root mean square of 1; 32 of them determine it to about 0.13."""
    shifts, gains = [], []
    for seed in range(16):
        shift = tuple(np.random.default_rng(seed).uniform(-1.5, 1.5, 2))
        found = relation(*pair((128, 128), photons, seed, kind, shift, gain=0.8))
        shifts += [
            (a - b) / e for a, b, e in zip(found.shift, shift, found.shift_error, strict=True) if math.isfinite(e)
        ]
        gains.append((found.gain - 0.8) / found.gain_error)
    assert len(shifts) > 24
    assert 0.6 < np.sqrt(np.mean(np.square(shifts))) < 1.4
    assert 0.5 < np.sqrt(np.mean(np.square(gains))) < 1.5


def test_a_stack_is_aligned_along_z_too():
    found = relation(*pair((24, 64, 64), 10, seed=1, kind="beads", shift=(1.4, -0.7, 0.0)))
    np.testing.assert_allclose(found.shift, (1.4, -0.7, 0.0), atol=0.1)
    assert "1.4 pixels along Z and -0.7 pixels along Y" in found.warnings("a", "b")[0]


def test_the_planes_of_a_thin_stack_are_aligned_together():
    first, second = np.stack([pair((128, 128), 10, seed, shift=(0, 1.2)) for seed in (1, 2, 3)], 1)
    found = relation(first, second)
    np.testing.assert_allclose(found.shift, (0, 0, 1.2), atol=0.1)
    assert math.isinf(found.shift_error[0])
    alone = relation(first[:1], second[:1])
    assert found.shift_error[2] < 0.75 * alone.shift_error[2]  # from three planes: 1/√3


@pytest.mark.parametrize("kind", ["texture", "beads"])
def test_hot_pixels_do_not_bias_a_shift_towards_zero(kind):
    first, second = pair((256, 256), 10, seed=5, kind=kind, shift=(1.5, -2.3))
    rng = np.random.default_rng(0)
    hot = (rng.random(first.shape) < 1e-4) * rng.uniform(1e3, 2e4, first.shape)
    assert np.count_nonzero(hot) > 3
    first, second = first + hot, second + hot
    plain = np.fft.ifft2(np.fft.fft2(second - second.mean()) * np.fft.fft2(first - first.mean()).conj()).real
    assert plain.argmax() == 0  # the maximum of the plain correlation
    found = relation(first, second)
    np.testing.assert_allclose(found.shift, (1.5, -2.3), atol=0.1)
    assert found.gain == pytest.approx(1, abs=0.02)


def test_column_offsets_do_not_bias_a_shift_towards_zero():
    first, second = pair((256, 256), 10, seed=6, shift=(0.0, 1.8))
    columns = np.random.default_rng(0).normal(0, 3, (1, 256))
    found = relation(first + columns, second + columns)
    np.testing.assert_allclose(found.shift, (0, 1.8), atol=0.12)


def test_a_shift_that_the_scene_does_not_determine_is_not_reported():
    rng = np.random.default_rng(0)
    along = np.arange(128.0)
    for wave in (along[None] + 0 * along[:, None], along[None] + along[:, None]):  # stripes, upright and slanted
        signal = 50 + 40 * np.cos(wave / 2)
        found = relation(*(rng.poisson(signal).astype(float) for _ in range(2)))
        assert found.shift == (0, 0)
        assert np.isinf(found.shift_error).all()
        assert found.warnings("a", "b") == []


# -- brightness ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("photons", "gain"), [(10, 1.24), (10, 0.5), (100, 0.9), (1000, 3.0)])
def test_gain_and_offset_are_not_attenuated_by_noise(photons, gain):
    first, second = pair((256, 256), photons, seed=2, gain=gain, offset=12)
    regression = np.cov(first.ravel(), second.ravel())[0, 1] / first.var()
    found = relation(first, second)
    if photons <= 100:
        assert regression < 0.96 * gain  # ordinary least squares would fail
    assert found.gain == pytest.approx(gain, rel=0.02)
    # the line goes through the means, so the offset is off by gain's error times the mean
    assert found.offset == pytest.approx(12, abs=4 * found.gain_error * first.mean() + 0.1)
    assert found.correction == (found.gain, found.offset)
    assert f"b.tif is {found.gain:.3g} times as bright as a.tif" in found.warnings("a.tif", "b.tif")[0]


def test_the_gain_is_unbiased():
    gains = [relation(*pair((128, 128), 10, seed, gain=1.5)).gain / 1.5 for seed in range(20)]
    assert np.mean(gains) == pytest.approx(1, abs=0.01)


def test_exchanging_the_copies_inverts_the_relation():
    first, second = pair((128, 128), 20, seed=4, shift=(0.8, -1.1), gain=1.3, offset=5)
    there, back = relation(first, second), relation(second, first)
    assert back.gain == pytest.approx(1 / there.gain, rel=0.01)
    np.testing.assert_allclose(back.shift, np.negative(there.shift), atol=0.03)


def test_a_copy_may_be_far_noisier_than_the_other():
    scene, rng = planted((256, 256), seed=7), np.random.default_rng(7)
    found = relation(rng.poisson(200 * scene).astype(float), 100.0 * rng.poisson(2 * scene))
    assert found.gain == pytest.approx(1, abs=4 * found.gain_error)
    assert found.gain_error < 0.02
    assert found.warnings("a", "b") == []


def test_row_noise_is_not_taken_for_signal():
    scene, rng = planted((256, 256), seed=8), np.random.default_rng(8)
    rows = [rng.normal(0, strength, (256, 1)) for strength in (2.0, 12.0)]
    first, second = (rng.poisson(30 * scene) + row for row in rows)
    found = relation(first, second)
    assert found.gain == pytest.approx(1, abs=4 * found.gain_error)
    assert found.gain_error < 0.05
    assert found.warnings("a", "b") == []


def test_another_offset_of_the_camera_is_noticed():
    first, second = pair((64, 64), 10, seed=1, offset=3)
    found = relation(first, second)
    assert found.correction[0] == 1
    assert found.correction[1] == pytest.approx(3, abs=0.3)
    assert found.warnings("a", "b") == [f"b is brighter than a by {found.difference:.3g}: taken into account"]


# -- no false alarms -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(128, 128), (16, 16)])
@pytest.mark.parametrize("kind", ["texture", "beads"])
@pytest.mark.parametrize("photons", [1, 30, 1000])
def test_fifty_clean_pairs_raise_no_alarm(photons, kind, shape):
    """Nothing may exceed both 0.3 pixels or 2 % (or a tenth of the noise), and 4 standard errors."""
    for seed in range(50):
        found = relation(*pair(shape, photons, seed, kind))
        assert found.warnings("a", "b") == [], seed


@pytest.mark.parametrize(
    "recorded",
    [
        lambda rng, scene: 100 + 20 * scene + rng.normal(0, 5, scene.shape),
        lambda rng, scene: np.clip(np.round(10 + 12.0 * rng.poisson(4 * scene)), 0, 255),  # 8 bit
        lambda rng, scene: (
            np.round(20 * scene + rng.normal(0, 1, scene.shape)) // 8
        ),  # hardly any different pixel values
        lambda rng, scene: rng.normal(100, 5, scene.shape),  # no scene
        lambda rng, scene: rng.poisson(np.full(scene.shape, 0.05)).astype(float),
    ],
    ids=["gaussian", "u8", "coarse", "noise", "dark"],
)
def test_other_noise_raises_no_alarm_either(recorded):
    for seed in range(50):
        rng, scene = np.random.default_rng(seed), planted((64, 64), seed=seed)
        assert relation(recorded(rng, scene), recorded(rng, scene)).warnings("a", "b") == [], seed


@pytest.mark.parametrize("shape", [(16, 16), (64, 64), (7, 90), (4, 32, 32)])
def test_noise_alone_gives_no_shift_and_no_gain(shape):
    rng = np.random.default_rng(0)
    first, second = rng.normal(100, 5, shape), rng.normal(103, 5, shape)
    found = relation(first, second)
    assert found.shift == (0,) * len(shape)
    assert found.gain == 1
    assert np.isinf([*found.shift_error, found.gain_error]).all()
    assert np.isnan(found.signal_correlation)
    assert found.offset == found.difference == pytest.approx(3, abs=4 * found.difference_error)


def test_empty_images_give_no_shift_and_no_gain():
    found = relation(np.zeros((32, 32)), np.full((32, 32), 2.0))
    assert (found.shift, found.gain, found.offset) == ((0, 0), 1, 2)
    assert np.isinf([*found.shift_error, found.gain_error]).all()


# -- likeness --------------------------------------------------------------------------------------


@pytest.mark.parametrize("photons", [1, 10, 1000])
@pytest.mark.parametrize("kind", ["texture", "beads"])
def test_two_scenes_are_distinguished(photons, kind):
    for seed in range(5):
        first, second = pair((128, 128), photons, seed, kind)[0], pair((128, 128), photons, seed + 50, kind)[1]
        found = relation(first, second)
        assert found.different_scenes
        assert found.gain == 1
        assert np.isinf([*found.shift_error, found.gain_error]).all()
        (sentence,) = found.warnings("a.tif", "b.tif")
        assert sentence.startswith("b.tif does not show the scene of a.tif")


def test_likeness_is_that_of_the_signals_not_of_the_images():
    first, second = pair((256, 256), 3, seed=9)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.5
    assert relation(first, second).signal_correlation == pytest.approx(1, abs=0.05)


def test_identical_copies_are_noticed():
    first, second = pair((64, 64), 10, seed=0)
    assert not relation(first, second).identical
    same = relation(first, first.copy())
    assert same.identical
    assert same.warnings("a.tif", "b.tif")[0].startswith("b.tif is a.tif pixel by pixel")
    other = first.copy()
    other[5, 5] += 1
    assert not relation(first, other).identical


# -- sentences, large images, bad input ------------------------------------------------------------

FITS = Relation((0.0, 0.0), (0.05, 0.05), 1.0, 0.003, 0.0, 0.0, 0.1, 5.0, 1.0, 0.01)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shift": (0.0, 0.29)}, None),
        ({"shift": (0.0, 0.31)}, "b is shifted by 0.3 pixels along X against a: register them first"),
        ({"shift": (0.0, 0.9), "shift_error": (0.1, 0.24)}, None),
        ({"shift": (-2.0, 0.9)}, "b is shifted by -2.0 pixels along Y and 0.9 pixels along X against a"),
        ({"gain": 1.019}, None),
        ({"gain": 1.24, "offset": 12.0}, "b is 1.24 times as bright as a, with an offset of 12: taken into account"),
        ({"gain": 1.24, "gain_error": 0.07}, None),
        ({"difference": 0.45}, None),
        ({"difference": -0.6}, "b is darker than a by 0.6: taken into account"),
        ({"difference": 0.6, "difference_error": 0.2}, None),
        ({"signal_correlation": 0.69, "signal_correlation_error": 0.02}, None),
        (
            {"signal_correlation": 0.2, "signal_correlation_error": 0.1, "shift": (9.0, 9.0)},
            "b does not show the scene of a",
        ),
    ],
)
def test_warnings_are_given_for_large_and_significant_differences(change, expected):
    warnings = replace(FITS, **change).warnings("a", "b")
    assert len(warnings) == (expected is not None)
    assert expected is None or warnings[0].startswith(expected)


def test_of_large_images_the_middle_is_looked_at():
    at = middle((40, 1100, 1300))
    assert math.prod(part.stop - part.start for part in at) <= MOST_PIXELS
    assert at[0] == slice(0, 40)  # long sides are cut first
    assert at[1].start + at[1].stop == 1100
    first, second = np.random.default_rng(0).poisson(5, (2, 1100, 1300)).astype(np.float32)
    edge = np.ones_like(first)
    edge[middle(first.shape)] = 0
    assert relation(first + 100 * edge, second).difference == relation(first, second).difference


def test_copies_must_have_one_shape():
    with pytest.raises(ValueError, match="shapes"):
        relation(np.zeros((32, 32)), np.zeros((32, 33)))
