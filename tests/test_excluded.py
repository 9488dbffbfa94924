"""Pixels that the user excludes, by a value or a mask: left out everywhere, and unchanged in the output."""

import numpy as np
import pytest

import noisewise as nw
from noisewise.cli import main
from noisewise.io import open_source
from noisewise.io.excluded import Excluded
from noisewise.io.light import inspect_pixels, read_with_mask

from .conftest import blobs

SIGNAL = 100 + 2 * blobs((96, 96))
NOISY = np.random.default_rng(0).poisson(SIGNAL).astype(np.uint16)
OUTSIDE = np.zeros(NOISY.shape, bool)
OUTSIDE[:, :30] = True


def speckled():
    """Scattered pixels of one value and others beside the specimen, as no rule could guess."""
    image = NOISY.copy()
    image[OUTSIDE] = np.random.default_rng(1).choice([7, 3000], OUTSIDE.sum())
    return image


@pytest.mark.parametrize("stack", [False, True])
def test_what_is_masked_stays_and_does_not_disturb(stack):
    image, expected = speckled(), nw.denoise(NOISY, steps=0).mean
    if stack:
        image = np.stack([image, image[:, ::1]])
    result = nw.denoise(image, mask=~OUTSIDE, steps=0, axes="TYX" if stack else None)
    np.testing.assert_array_equal(result.mean[..., OUTSIDE], image[..., OUTSIDE])
    inside = np.s_[..., :, 40:]
    assert np.std(result.mean[inside] - SIGNAL[inside]) < 1.1 * np.std(expected[inside] - SIGNAL[inside])
    assert sum("mask" in note for note in result.notes) == 1
    model = nw.train("n2v", image, mask=~OUTSIDE, steps=1, axes="TYX" if stack else None)
    assert model.spec.mean[0] == pytest.approx(NOISY[:, 30:].mean(), rel=0.01)
    again = model.predict(image, mask=~OUTSIDE, axes="TYX" if stack else None)
    np.testing.assert_array_equal(again.mean[..., OUTSIDE], image[..., OUTSIDE])


def test_a_value_is_ignored_wherever_it_is():
    image = NOISY.copy()
    image[::32, ::48] = 60000
    result = nw.denoise(image, ignore=60000, steps=0)
    assert (result.mean[::32, ::48] == 60000).all()
    assert result.checkup.hot_fraction == 0
    assert np.std(result.mean[1::32] - SIGNAL[1::32]) < 8


def test_regions_have_the_mask_of_the_whole():
    source = open_source(np.stack([NOISY, NOISY]), "CYX")
    inspect_pixels(source, Excluded(mask=~OUTSIDE).of(source))
    whole = read_with_mask(source, source.everything)[1]
    part = (slice(0, 2), slice(11, 50), slice(20, 70))
    np.testing.assert_array_equal(read_with_mask(source, part)[1], whole[part])
    np.testing.assert_array_equal(whole[1], OUTSIDE)


def test_the_command_line_takes_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", speckled())
    np.save("mask.npy", ~OUTSIDE)
    assert main(["denoise", "a.npy", "--mask", "mask.npy", "--steps", "0"]) == 0
    np.testing.assert_array_equal(np.load("a_denoised.npy")[OUTSIDE], speckled()[OUTSIDE])
    assert main(["measure", "a.npy", "--mask", "mask.npy", "--ignore", "7"]) == 0
    np.save("small.npy", np.ones((4, 4)))
    for mask in ("small.npy", "none.npy"):
        capsys.readouterr()
        assert main(["denoise", "a.npy", "--mask", mask, "--overwrite"]) == 2
        assert mask in capsys.readouterr().err
