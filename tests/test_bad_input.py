"""Unusable input: one `error:` line, exit code 2, nothing written. Unusual pixels: a note, and a finite result."""

import errno
import json
import os
import pickle
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import noisewise as nw
from noisewise.cli import main

STEPS = ("--steps", "2")


def no_training(monkeypatch):
    """What is refused must be refused before anything is trained."""
    monkeypatch.setattr("noisewise.workflow.denoise.Training", None)


def noisy(shape=(24, 28), seed=0):
    return np.random.default_rng(seed).poisson(30, shape).astype(np.uint16)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with one valid image."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("good.tif", noisy())
    return tmp_path


@pytest.fixture
def refused(capsys, folder):
    """Run a command line that must be refused; return its one line on stderr."""

    def contents():
        return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}

    def call(*args):
        before = contents()
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        printed = capsys.readouterr()
        assert code == 2 and printed.out == "", printed
        assert printed.err.startswith("error: ") and printed.err.count("\n") == 1, printed.err
        assert contents() == before
        return printed.err

    return call


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """The content of a model file for one-channel 2D images."""
    place = tmp_path_factory.mktemp("model")
    tifffile.imwrite(place / "good.tif", noisy())
    path = place / "m.safetensors"
    assert main(["train", "n2v", str(place / "good.tif"), "-o", str(path), *STEPS, "--quiet"]) == 0
    return path.read_bytes()


@pytest.fixture
def model(folder, model_file):
    """A model of one-channel 2D images."""
    Path("m.safetensors").write_bytes(model_file)
    return Path("m.safetensors")


# -- files -----------------------------------------------------------------------------------------


def test_missing_file(refused):
    assert "nowhere.tif" in refused("denoise", "nowhere.tif")
    assert "*.png" in refused("denoise", "*.png")
    assert "nowhere.tif" in refused("info", "nowhere.tif")
    assert "nowhere.safetensors" in refused("predict", "nowhere.safetensors", "good.tif")
    assert "no input" in refused("denoise")


def test_empty_folder(refused):
    Path("empty").mkdir()
    assert "empty" in refused("denoise", "empty")


@pytest.mark.parametrize("name", ["notes.txt", "notes.tif", "notes.png", "notes.npy", "notes"])
def test_not_an_image(refused, name):
    Path(name).write_text("Dear diary, today I imaged cells.\n" * 20)
    assert name in refused("denoise", name)
    assert name in refused("info", name)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".ome.tif"])
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.97])
def test_truncated_file(refused, suffix, fraction):
    from noisewise.io import create_sink, open_source

    name = f"cut{suffix}"
    with open_source("good.tif") as source, create_sink(name, source) as sink:
        sink.write(source.everything, source.read())
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[: int(fraction * len(whole))])
    assert name in refused("denoise", name, *STEPS)


def test_zero_sized_axis(refused):
    np.save("empty.npy", np.zeros((0, 12), np.uint16))
    assert "empty.npy" in refused("denoise", "empty.npy")


@pytest.mark.parametrize("axes", ["QX", "YY", "ZYX", "Y", "", "TC"])
def test_wrong_axes(refused, axes):
    assert ("good.tif" if axes == "ZYX" else f"axes '{axes}'") in refused("denoise", "good.tif", f"--axes={axes}")


@pytest.mark.parametrize(
    "pixels",
    [
        np.ones((12, 12), np.complex64), np.full((12, 12), "a"), np.ones((12, 12), bool), np.arange(12.0),
        np.zeros((12, 12), [("x", "f4")]), np.zeros((12, 12), "datetime64[s]"),
    ],
)  # fmt: skip
def test_pixel_types_that_are_no_image(refused, pixels):
    np.save("odd.npy", pixels)
    assert "odd.npy" in refused("denoise", "odd.npy")


def test_pickled_array(refused):
    np.save("objects.npy", np.array([[object()]]), allow_pickle=True)
    assert "objects.npy" in refused("denoise", "objects.npy")


@pytest.mark.parametrize("value", [0, 7, 65535, np.nan, np.inf])
def test_constant_image(refused, value):
    pixels = np.full((20, 20), value, np.uint16 if float(value).is_integer() else np.float32)
    np.save("same.npy", pixels)
    assert "same.npy" in refused("denoise", "same.npy", *STEPS)


# -- outputs ---------------------------------------------------------------------------------------


def test_output_is_the_input(refused):
    assert "input itself" in refused("denoise", "good.tif", "-o", "good.tif", "--overwrite")
    Path("link.tif").symlink_to("good.tif")
    assert "input itself" in refused("denoise", "good.tif", "-o", "link.tif", "--overwrite")


def test_output_is_another_input(refused):
    tifffile.imwrite("two.tif", noisy(seed=1))
    Path("inner").mkdir()
    tifffile.imwrite("inner/good_denoised.tif", noisy(seed=2))
    message = refused("denoise", "good.tif", "inner/good_denoised.tif", "-o", "inner", "--overwrite")
    assert "good_denoised.tif" in message


def test_model_is_the_output(refused):
    assert "out.tif" in refused("denoise", "good.tif", "--model", "out.tif", "-o", "out.tif")


def test_one_output_for_several_inputs(refused):
    tifffile.imwrite("two.tif", noisy(seed=1))
    assert "folder" in refused("denoise", "good.tif", "two.tif", "-o", "out.tif")
    Path("inner").mkdir()
    tifffile.imwrite("inner/good.tif", noisy(seed=1))
    assert "good_denoised.tif" in refused("denoise", "good.tif", "inner/good.tif", "-o", "out")
    assert not Path("out").exists()


def test_output_folder_is_missing(refused):
    assert "good.tif" in refused("denoise", "good.tif", "-o", "good.tif/out.tif")
    assert "good.tif" in refused("denoise", "good.tif", "--model", "good.tif/m.safetensors")
    assert "good.tif" in refused("train", "n2v", "good.tif", "-o", "good.tif/m.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write permission there")
def test_output_folder_is_read_only(refused):
    if os.geteuid() == 0:  # whom permissions do not stop
        locked = Path("/proc")
    else:
        locked = Path("locked")
        locked.mkdir(mode=0o555)
    assert str(locked) in refused("denoise", "good.tif", "-o", locked / "out.tif", *STEPS)
    assert str(locked) in refused("denoise", "good.tif", "--model", locked / "m.safetensors", *STEPS)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be reserved here")
def test_disk_is_full(refused, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    no_training(monkeypatch)  # found out before the work
    assert "disk is full" in refused("denoise", "good.tif", *STEPS)


def test_disk_is_full_when_a_model_is_saved(refused, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "space" in refused("train", "n2v", "good.tif", "-o", "m.safetensors", *STEPS, "--quiet")
    assert "space" in refused("denoise", "good.tif", "--model", "m.safetensors", *STEPS, "--quiet")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_runs_out(refused, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("noisewise.workflow.training.PatchSource", fail)
    assert "memory" in refused("denoise", "good.tif", *STEPS)


def test_existing_files_are_kept(refused, model):
    assert "exists already" in refused("train", "n2v", "good.tif", "-o", model, *STEPS)
    assert "exists already" in refused("denoise", "good.tif", "--model", model, *STEPS)
    message = refused("denoise", "good.tif", "--model", "good.tif", "--overwrite", *STEPS)
    assert "good.tif" in message  # an image is never replaced by a model


def test_an_image_is_not_replaced_by_its_measurement(refused):
    assert "is the input" in refused("measure", "good.tif", "--figure", "good.tif", "--overwrite")
    assert "is the input" in refused("measure", "good.tif", "--noise", "good.tif", "--overwrite")
    assert "is the input" in refused("evaluate", "good.tif", "good.tif", "--std", "good.tif", "--figure", "good.tif",
                                     "--overwrite")  # fmt: skip


# -- options ---------------------------------------------------------------------------------------


def test_unknown_method(refused):
    assert "did you mean 'n2v'" in refused("denoise", "good.tif", "--method", "n2w")
    assert "did you mean 'care'" in refused("train", "carre", "good.tif", "-o", "m.safetensors")


@pytest.mark.parametrize(
    "options",
    [
        ("--budget", "soon"), ("--budget", "-3s"), ("--budget", "0"), ("--budget", "nan"),
        ("--steps", "0", "--method", "n2v"), ("--steps", "-4"),
        ("--steps", "5", "--budget", "5s"), ("--tile", "big"), ("--tile", "0"),
        ("--device", "abacus"), ("--overwrite", "--skip-existing"), ("--average", "maybe"), ("--average",),
        ("--target", "good.tif"), ("--target", "nowhere.tif"), ("--method", "n2n"), ("--seed", "x"),
        ("--seed", "-1"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(refused, options):
    refused("denoise", "good.tif", *options)


@pytest.mark.parametrize(
    "flags",
    [
        ("--patch-size", "0"), ("--patch-size", "-8"), ("--batch-size", "-1"), ("--mask-percent", "0"),
        ("--mask-percent", "101"), ("--mask-percent", "nan"), ("--mask-radius", "0"),
        ("--learning-rate", "-1"), ("--learning-rate", "inf"), ("--features", "-3"),
        ("--depth", "-1"), ("--spatial", "ZYX"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(refused, flags):
    refused("train", "n2v", "good.tif", "-o", "m.safetensors", *STEPS, *flags)


def test_targets_of_another_shape(refused):
    tifffile.imwrite("small.tif", noisy((12, 12)))
    assert "small.tif" in refused("denoise", "good.tif", "--method", "n2n", "--target", "small.tif")


# -- noise models and standard deviations ------------------------------------------------------------


@pytest.fixture
def camera(folder):
    """A noise model as a file."""
    from noisewise.noise.models.gaussian import Gaussian

    Gaussian(5.0).save("camera.safetensors")
    return Path("camera.safetensors")


@pytest.mark.parametrize("command", [("denoise", "--method", "n2v"), ("train", "n2v")])
def test_a_noise_model_for_a_method_without_one(refused, camera, monkeypatch, command):
    no_training(monkeypatch)
    output = ("-o", "m.safetensors") if command[0] == "train" else ()
    message = refused(*command, "good.tif", "--noise", camera, *output, *STEPS)
    assert "'n2v' does not use a noise model" in message and "pn2v" in message and "leave it out" in message


def test_standard_deviations_of_a_method_without_them(refused, model, monkeypatch):
    no_training(monkeypatch)
    refusals = [refused("predict", model, "good.tif", "--std")]
    refusals += [refused("denoise", "good.tif", "--std", "--method", name, *STEPS) for name in ("n2v", "r2r", "sure")]
    for name, message in zip(("n2v", "n2v", "r2r", "sure"), refusals, strict=True):
        assert (
            f"method {name} gives no standard deviation; methods that do: simulated, " in message and " hdn" in message
        )
        assert "(noisewise denoise IMAGE --method simulated --std)" in message and "train care IMAGE" in message


@pytest.mark.parametrize("command", [("denoise", "--method", "care"), ("train", "care", "-o", "m.safetensors")])
def test_a_method_that_needs_a_target_names_those_that_do_not(refused, command):
    message = refused(*command, "good.tif", *STEPS)
    assert "'care' needs a clean image as target" in message
    listed = message.strip().partition("without targets, use ")[2]
    alone = {"cosdd", "divnoising", "gap", "hdn", "n2v", "pn2v", "r2r", "simulated", "sure"}
    assert set(re.split(r", | or ", listed)) == alone


@pytest.mark.parametrize("method", ["pn2v", "r2r", "sure"])
def test_two_noise_models_for_three_channels(refused, camera, method):
    np.save("colour.npy", noisy((24, 28, 3)))
    message = refused("denoise", "colour.npy", "--method", method, "--noise", camera, camera, *STEPS)
    assert "2 noise models for 3 channels; give one for all, or one a channel" in message


def test_noise_models_that_are_none(refused, camera, model):
    pn2v = ("denoise", "good.tif", "--method", "pn2v", *STEPS, "--noise")
    assert "nowhere.safetensors" in refused(*pn2v, "nowhere.safetensors")
    assert "good.tif" in refused(*pn2v, "good.tif")
    assert model.name in refused(*pn2v, model)
    Path("cut.safetensors").write_bytes(camera.read_bytes()[:-5])
    assert "cut.safetensors" in refused(*pn2v, "cut.safetensors")


@pytest.mark.parametrize("method", ["pn2v", "r2r", "sure"])
def test_an_image_whose_noise_cannot_be_measured(refused, method, monkeypatch):
    """Too small for a check-up and for a bootstrapped noise model: the message names the file and the way out."""
    monkeypatch.setattr("noisewise.workflow.first_pass.FIRST_PASS_STEPS", 5)
    message = refused("denoise", "good.tif", "--method", method, *STEPS)
    assert "good.tif" in message and "noisewise calibrate FRAMES -o NOISE" in message


@pytest.mark.parametrize("shape", ["4x4", "wide", "1x", "-1x3", "3x3x3"])
def test_blind_shapes_that_are_none(refused, shape):
    message = refused("train", "n2v", "good.tif", "-o", "m.safetensors", *STEPS, f"--blind-shape={shape}")
    assert f"'{shape}' is not a shape" in message


@pytest.mark.parametrize("method", ["pn2v", "r2r", "sure"])
def test_a_noise_model_of_a_smaller_sensor(refused, method):
    """Pixel maps of another size than the image, or for a method that assumes equal pixels."""
    import torch

    from noisewise.noise.models.pixel_maps import PixelMaps

    gain, offset, read_noise = (torch.full((20, 20), value, dtype=torch.float64) for value in (1.0, 0.0, 2.0))
    PixelMaps(gain, offset, read_noise).save("maps.safetensors")
    refused("denoise", "good.tif", "--method", method, "--noise", "maps.safetensors", *STEPS)


def test_copies_that_are_none(refused):
    Path("copy.tif").write_bytes(Path("good.tif").read_bytes())
    message = refused("denoise", "good.tif", "--method", "n2n", "--target", "copy.tif", *STEPS)
    assert "copy.tif is good.tif pixel by pixel" in message
    np.save("samples.npy", noisy((3, 24, 28)))
    message = refused("train", "n2n", "samples.npy", "-o", "m.safetensors", *STEPS)
    assert "samples.npy" in message and "axis T" in message and "or axes if they are wrong" in message


# -- models ----------------------------------------------------------------------------------------


def test_model_of_another_kind(refused, model):
    np.save("colour.npy", noisy((24, 28, 3)))
    message = refused("predict", model, "colour.npy")
    assert "colour.npy" in message and "channel" in message
    np.save("volume.npy", noisy((4, 24, 28)))
    assert main(["train", "n2v", "volume.npy", "--axes", "ZYX", "-o", "3d.safetensors", *STEPS, "--quiet"]) == 0
    message = refused("predict", "3d.safetensors", "good.tif")
    assert "good.tif" in message and "ZYX" in message


def test_images_of_different_kind_are_not_mixed(folder, capsys):
    np.save("colour.npy", noisy((24, 28, 3)))
    arguments = ("denoise", "good.tif", "colour.npy", "--method", "n2v", "--steps", "1")
    assert main(list(arguments)) == 3  # the first image decides, and is denoised
    printed = capsys.readouterr()
    assert "error: colour.npy" in printed.err and printed.out == "good_denoised.tif\n"
    assert not Path("colour_denoised.npy").exists()


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.999])
def test_truncated_model(refused, model, fraction):
    content = model.read_bytes()
    model.write_bytes(content[: int(fraction * len(content))])
    assert model.name in refused("predict", model, "good.tif")
    assert model.name in refused("info", model)


def test_pickled_model(refused):
    class Bomb:
        def __reduce__(self):
            return os.system, ("touch exploded",)

    Path("stranger.safetensors").write_bytes(pickle.dumps(Bomb()))
    assert "stranger.safetensors" in refused("predict", "stranger.safetensors", "good.tif")
    assert not Path("exploded").exists()


def header_and_rest(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(path, header, rest):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)


def test_edited_model(refused, model):
    content = bytearray(model.read_bytes())
    content[-3] ^= 1  # one bit of one weight
    edited = Path("weight.safetensors")
    edited.write_bytes(content)
    assert "weight.safetensors" in refused("predict", edited, "good.tif")

    header, rest = header_and_rest(model)
    record = json.loads(header["__metadata__"]["noisewise"])
    for change in ({"spec": record["spec"] | {"mean": [1.0]}}, {"format": 99}, {"method": "n2w"}, {"settings": 3}):
        header["__metadata__"]["noisewise"] = json.dumps(record | change)
        with_header(edited, header, rest)
        assert "weight.safetensors" in refused("predict", edited, "good.tif")
    for text in ("{", "[]", "null", "3"):
        header["__metadata__"]["noisewise"] = text
        with_header(edited, header, rest)
        assert "weight.safetensors" in refused("predict", edited, "good.tif")


# -- unusual pixels ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
def test_pixels_that_are_not_finite_stay(capsys):
    image = noisy().astype(np.float32)
    image[3, 4], image[10, 11], image[12, 2] = np.nan, np.inf, -np.inf
    np.save("holes.npy", image)
    assert main(["denoise", "holes.npy", *STEPS]) == 0
    assert "note: 3 of 672 pixels are NaN or infinite" in capsys.readouterr().err
    result = np.load("holes_denoised.npy")
    odd = ~np.isfinite(image)
    np.testing.assert_array_equal(result[odd], image[odd])
    assert np.isfinite(result[~odd]).all()


@pytest.mark.usefixtures("folder")
def test_saturated_pixels_are_filled(capsys):
    image = noisy()
    image[3, 4] = image[20, 9] = 65535
    np.save("bright.npy", image)
    assert main(["denoise", "bright.npy", *STEPS]) == 0
    assert "note: 2 of 672 pixels are saturated" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(1, 2), (3, 3), (5, 40), (2, 9, 9), (3, 8, 8)])
@pytest.mark.usefixtures("folder")
def test_images_smaller_than_a_patch(shape):
    np.save("tiny.npy", noisy(shape))
    axes = "ZYX"[-len(shape) :]
    assert main(["denoise", "tiny.npy", "--axes", axes, *STEPS, "--quiet"]) == 0
    assert np.load("tiny_denoised.npy").shape == shape


# -- anything at all -------------------------------------------------------------------------------

FUZZ = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}
REAL = (hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes())
ODD = (hnp.boolean_dtypes(), hnp.complex_number_dtypes(), hnp.unicode_string_dtypes(max_len=3))
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6)


@settings(max_examples=80, **FUZZ)
@given(hnp.arrays(st.one_of(*REAL), SHAPES) | hnp.arrays(st.one_of(*ODD), SHAPES))
@example(np.array([[1e38, -1e38], [3e38, 0]], np.float32))
@example(np.array([[1e300, -1e300], [1e308, 0]], np.float64))
@example(np.array([[0, 1, 1.34078079e154], [0, 9.48e153, 9.48e153]], np.float64))
@example(np.array([[0, 1, 9.48075191e153, 9.48075191e153]], np.float64))
@example(np.array([[2**63, 0], [2**64 - 1, 5]], np.uint64))
@example(np.array([[1e-45, 0], [0, 0]], np.float32))
def test_any_array(image):
    try:
        result = nw.denoise(image, steps=2)
    except nw.UserError:
        return
    assert result.mean.shape == image.shape and result.mean.dtype == np.float32
    with np.errstate(over="ignore"):
        finite = np.isfinite(image.astype(np.float32))
    assert np.isfinite(result.mean[finite]).all()


def good_files():
    """Bytes of valid files, to be damaged."""
    import tempfile

    from noisewise.io import create_sink, open_source

    found = {}
    with tempfile.TemporaryDirectory() as place:
        np.save(f"{place}/a.npy", noisy((9, 10)))
        for suffix in (".npy", ".png", ".tif", ".ome.tif"):
            path = Path(place, f"b{suffix}")
            with open_source(f"{place}/a.npy") as source, create_sink(path, source) as sink:
                sink.write(source.everything, source.read())
            found[suffix] = path.read_bytes()
    return found


GOOD = good_files()


@st.composite
def damaged(draw):
    """A suffix, and bytes: arbitrary, or those of a valid file, truncated and with changed bytes."""
    suffix = draw(st.sampled_from(sorted(GOOD)))
    if draw(st.booleans()):
        return suffix, draw(st.binary(max_size=300))
    content = bytearray(GOOD[suffix])
    for place, value in draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6)):
        content[place % len(content)] = value
    return suffix, bytes(content[: draw(st.integers(0, len(content)) | st.just(len(content)))])


@settings(max_examples=150, **FUZZ)
@given(damaged())
def test_any_file(tmp_path_factory, capsys, given_file):
    suffix, content = given_file
    place = tmp_path_factory.mktemp("fuzz")
    path = place / f"any{suffix}"
    path.write_bytes(content)
    capsys.readouterr()
    code = main(["denoise", str(path), *STEPS, "--quiet"])
    printed = capsys.readouterr()
    left = sorted(p.name for p in place.iterdir())
    if code == 0:
        assert printed.err == "" and left == sorted([path.name, f"any_denoised{suffix}"])
    else:
        assert code == 2 and printed.err.startswith("error: ") and printed.err.count("\n") == 1, printed.err
        assert left == [path.name]


@settings(max_examples=40, **FUZZ)
@given(st.binary(max_size=200), st.booleans())
def test_any_model_file(tmp_path_factory, content, sized):
    if sized:
        content = struct.pack("<Q", len(content)) + content
    path = tmp_path_factory.mktemp("fuzz") / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(nw.UserError):
        nw.load(path)
