"""What the user selects: channels, frames, planes; and pixels that are left out, by a value or a mask."""

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise.cli import main
from noisewise.errors import UserError
from noisewise.io import open_source
from noisewise.io.light import inspect_pixels, read_with_mask
from noisewise.io.selection import Selection

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
    inspect_pixels(source, Selection(mask=~OUTSIDE).not_light(source))
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


# -- channels, frames, planes ----------------------------------------------------------------------------


def movie(channels=3, frames=4):
    """(T, C, Y, X) with noise of its own in each plane."""
    rng = np.random.default_rng(2)
    return rng.poisson(np.broadcast_to(SIGNAL[:64, :64], (frames, channels, 64, 64))).astype(np.uint16)


@pytest.mark.parametrize("channels", ["0,2", [0, 2], "red, blue"])
def test_other_channels_stay_as_they_are(tmp_path, channels):
    image = movie(frames=1)[0]
    names = ["red", "green", "blue"]
    tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata={"axes": "CYX", "Channel": {"Name": names}})
    result = nw.denoise(tmp_path / "a.ome.tif", channels=channels, steps=0, method="simulated")
    np.testing.assert_array_equal(result.mean[1], image[1])
    for channel in (0, 2):
        assert np.std(result.mean[channel] - SIGNAL[:64, :64]) < 0.6 * np.std(image[channel] - SIGNAL[:64, :64])
    assert "1 channel (1) not chosen: left as recorded" in " ".join(result.notes)


def test_a_single_channel_by_number():
    image = movie(frames=1)[0]
    result = nw.denoise(image, axes="CYX", channels=0, steps=0, method="simulated")
    np.testing.assert_array_equal(result.mean[1:], image[1:])
    assert (result.mean[0] != image[0]).any()


def test_a_channel_that_does_not_exist():
    with pytest.raises(UserError, match=r"has no channel '3'; it has 3 channels, numbered from 0"):
        nw.denoise(movie(frames=1)[0], axes="CYX", channels="0,3", steps=0)
    with pytest.raises(UserError, match="has no channel 'green'"):
        nw.denoise(movie(frames=1)[0], axes="CYX", channels="green", steps=0)


@pytest.mark.parametrize(("frames", "kept"), [
    ("1:3", slice(1, 3)), ("2", slice(2, 3)), (":2", slice(0, 2)), ("-1:", slice(3, 4)), (-1, slice(3, 4)),
])  # fmt: skip
def test_only_the_chosen_frames_are_in_the_result(frames, kept):
    image = movie(channels=1)[:, 0]
    source = Selection(frames=frames).part_of(open_source(image, "TYX"))
    np.testing.assert_array_equal(source.read(), image[kept])
    part = (slice(0, 1), slice(3, 9), slice(10, 20))
    np.testing.assert_array_equal(source.read(part), image[kept][part])


def test_frames_and_planes_of_a_file(tmp_path):
    stack = movie(channels=5)
    options = {"resolution": (4.0, 4.0), "metadata": {"axes": "TZYX", "spacing": 0.5, "unit": "um", "finterval": 2.0}}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, **options)
    command = [
        "denoise",
        str(tmp_path / "a.tif"),
        "--frames",
        "1:3",
        "--planes",
        "2",
        "--method",
        "n2v",
        "--steps",
        "2",
    ]
    assert main([*command, "-o", str(tmp_path / "out.ome.tif"), "--quiet"]) == 0
    result = open_source(tmp_path / "out.ome.tif")
    assert [result.size_of(axis) for axis in "TZYX"] == [2, 1, 64, 64]
    assert result.scale == pytest.approx({"T": 2.0, "Z": 0.5, "Y": 0.25, "X": 0.25})


@pytest.mark.parametrize("frames", ["9", "3:1", "a", "1:2:3", "::", "4:"])
def test_a_range_without_frames_is_refused(frames):
    with pytest.raises(UserError, match=r"frames '.*' is none of its 4; give a number from 0, or a range such as 0:10"):
        nw.denoise(movie(channels=1)[:, 0], axes="TYX", frames=frames, steps=0)


def test_planes_of_a_flat_image():
    with pytest.raises(UserError, match="planes '1' is none of its 1"):
        nw.denoise(NOISY, planes="1", steps=0)
    assert Selection(planes="0").part_of(open_source(NOISY)).shape == NOISY.shape
