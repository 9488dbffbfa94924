"""`noisewise simulate`: the noisy image is that of the camera; it and its truth keep the metadata of the input."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from noisewise.cli import main
from noisewise.io import open_source
from noisewise.io.mapped import MappedSink
from noisewise.noise.camera import Camera

PIXEL = {"PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.3, "PhysicalSizeYUnit": "µm"}


def scene(shape=(40, 50), seed=0):
    """A smooth image of 5 to 25 photons a pixel."""
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return (15 + 10 * np.sin(sum(grid) / 7 + seed)).astype(np.float32)


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """An OME-TIFF of photons, in the working directory."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("clean.ome.tif", scene(), metadata={"axes": "YX", "Name": "my cells", **PIXEL})
    return Path("clean.ome.tif")


@pytest.fixture
def run(capsys):
    """Run a command line in this process; return exit code, stdout and stderr."""

    def call(*args):
        capsys.readouterr()
        code = main(["simulate", *map(str, args)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def refused(run, clean):
    """Run a command line that must be refused and leave no files; return its one line on stderr."""

    def contents():
        return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}

    def call(*args):
        before = contents()
        code, out, err = run(*args)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert contents() == before
        return err

    return call


def names(folder="."):
    return sorted(path.name for path in Path(folder).iterdir())


def provenance(path, capsys):
    capsys.readouterr()
    assert main(["info", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["made by noisewise"]


# -- outputs ---------------------------------------------------------------------------------------


def test_noisy_image_and_truth_beside_the_input(run, clean):
    code, out, err = run(clean)
    assert code == 0 and out == "clean_noisy.ome.tif\nclean_noisy_truth.ome.tif\n"
    assert "15" in err and "photons per pixel" in err
    assert names() == ["clean.ome.tif", "clean_noisy.ome.tif", "clean_noisy_truth.ome.tif"]
    noisy, truth = tifffile.imread("clean_noisy.ome.tif"), tifffile.imread("clean_noisy_truth.ome.tif")
    camera = Camera.scmos()
    np.testing.assert_array_equal(noisy, camera.expose(scene()))
    np.testing.assert_array_equal(truth, camera.signal(scene()).astype(np.float32))
    assert noisy.dtype == np.uint16 and truth.dtype == np.float32


def test_metadata_is_kept(run, clean):
    assert run(clean)[0] == 0
    for name in ("clean_noisy.ome.tif", "clean_noisy_truth.ome.tif"):
        with tifffile.TiffFile(name) as file:
            assert file.is_ome and 'Name="my cells"' in file.ome_metadata
        with open_source(name) as source:
            assert source.axes == "YX" and dict(source.scale) == {"X": 0.2, "Y": 0.3}


def test_provenance_repeats_the_image(run, clean, capsys):
    assert run(clean, "--seed", 7, "--camera", "emccd", "--offset", 300)[0] == 0
    made = provenance("clean_noisy.ome.tif", capsys)
    assert made["seed"] == 7 and made["frames"] == 1 and made["input"] == "clean.ome.tif"
    assert made["truth"] == "clean_noisy_truth.ome.tif"
    assert made["input_sha256"] == hashlib.sha256(clean.read_bytes()).hexdigest()
    assert made["photons_mean"] == pytest.approx(scene().mean())
    assert made["camera"]["em_gain"] == 200 and made["camera"]["offset_adu"] == 300
    assert provenance("clean_noisy_truth.ome.tif", capsys) == made
    repeated = Camera(**made["camera"]).expose(tifffile.imread(clean), seed=made["seed"])
    np.testing.assert_array_equal(tifffile.imread("clean_noisy.ome.tif"), repeated)


def test_photons_set_the_light_of_each_channel(run, clean):
    image = np.stack([100 + scene(), 3000 + 50 * scene(seed=1)]).astype(np.uint16)
    tifffile.imwrite("two.ome.tif", image, metadata={"axes": "CYX", "Channel": {"Name": ["a", "b"]}})
    code, out, _ = run("two.ome.tif", "--photons", 8, "--camera", "ideal", "--json")
    assert code == 0 and json.loads(out)["photons_mean"] == [pytest.approx(8)]
    truth = tifffile.imread("two_noisy_truth.ome.tif")
    np.testing.assert_allclose(truth.mean((1, 2)), 8, rtol=1e-5)
    for channel, light in zip(image, truth, strict=True):
        background = np.percentile(channel, 0.1)
        expected = np.maximum(channel - background, 0)
        np.testing.assert_allclose(light, 8 * expected / expected.mean(), rtol=1e-5)
    with open_source("two_noisy.ome.tif") as source:
        assert source.channel_names == ["a", "b"]


def test_a_dark_channel_stays_dark(run, clean):
    np.save("half.npy", np.stack([np.full((9, 9), 7.0), scene((9, 9))]))
    assert run("half.npy", "--axes", "CYX", "--photons", 4, "--camera", "ideal")[0] == 0
    truth = np.load("half_noisy_truth.npy")
    assert not truth[0].any() and truth[1].mean() == pytest.approx(4)


def test_frames_become_a_time_axis(run, clean):
    assert run(clean, "--frames", 5, "--seed", 3)[0] == 0
    with open_source("clean_noisy.ome.tif") as source:
        assert source.axes == "TYX" and source.shape == (5, 40, 50)
        assert {axis: source.scale[axis] for axis in "YX"} == {"X": 0.2, "Y": 0.3}
        np.testing.assert_array_equal(source.read(), Camera.scmos().expose(scene(), frames=5, seed=3))
    assert tifffile.imread("clean_noisy_truth.ome.tif").shape == (40, 50)


def test_stacks(run, clean):
    stack = scene((6, 20, 30))
    np.save("stack.npy", stack)
    assert run("stack.npy", "--axes", "ZYX", "--row-noise", 2)[0] == 0
    camera = Camera.scmos().record() | {"row_noise_e": 2}
    np.testing.assert_array_equal(np.load("stack_noisy.npy"), Camera(**camera).expose(stack))
    assert run("stack.npy", "--axes", "TYX", "-o", "again.npy")[0] == 0
    assert np.load("again.npy").shape == (6, 20, 30)


def test_channels_behind_the_image(run, clean):
    colour = np.stack([scene(), 0 * scene(), scene(seed=2)], -1).astype(np.uint8)
    from PIL import Image

    Image.fromarray(colour).save("colour.png")
    assert run("colour.png", "--camera", "pmt")[0] == 0
    with open_source("colour_noisy.png") as source:
        assert source.axes == "YXC" and source.dtype == np.uint8
        moved = Camera.pmt().expose(colour.transpose(2, 0, 1)[None])[0]
        np.testing.assert_array_equal(source.read(), moved.transpose(1, 2, 0))
    assert tifffile.imread("colour_noisy_truth.tif").dtype == np.float32  # PNG has no floats


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".zarr"])
def test_formats(run, clean, suffix, capsys):
    assert run(clean, "-o", f"out{suffix}", "--frames", 2)[0] == 0
    for name, shape in ((f"out{suffix}", (2, 40, 50)), (f"out_truth{suffix}", (40, 50))):
        with open_source(name) as source:
            assert source.shape == shape
    assert (provenance(f"out{suffix}", capsys) is None) == (suffix == ".npy")


@pytest.mark.parametrize(("bits", "dtype"), [(8, "uint8"), (12, "uint16"), (0, "float32")])
def test_bits_decide_the_pixel_type(run, clean, bits, dtype):
    assert run(clean, "--bits", bits, "--no-truth")[0] == 0
    assert tifffile.imread("clean_noisy.ome.tif").dtype == dtype
    assert names() == ["clean.ome.tif", "clean_noisy.ome.tif"]


def test_every_option_reaches_the_camera(run, clean):
    options = {
        "quantum_efficiency": ("--quantum-efficiency", 0.5), "dark_e": ("--dark", 1.5), "hot_fraction": ("--hot", 0.01),
        "full_well_e": ("--full-well", 500), "em_gain": ("--em-gain", 30), "read_noise_e": ("--read-noise", 3),
        "row_noise_e": ("--row-noise", 0.5), "column_noise_e": ("--column-noise", 0.25),
        "gain_adu_per_e": ("--gain", 4), "offset_adu": ("--offset", 50), "bits": ("--bits", 14),
    }  # fmt: skip
    flags = [part for option in options.values() for part in option]
    code, out, _ = run(clean, *flags, "--json")
    camera = json.loads(out)["camera"]
    assert code == 0 and {name: camera[name] for name in options} == {k: value for k, (_, value) in options.items()}
    assert camera["excess_noise_factor"] == 2  # that of an EM register


# -- messages --------------------------------------------------------------------------------------


def test_json_is_one_object(run, clean):
    code, out, err = run(clean, "--photons", 5, "--json", "--quiet")
    assert code == 0 and out.count("\n") == 1 and err == ""
    record = json.loads(out)
    assert set(record) == {"input", "output", "truth", "camera", "photons_mean", "seconds", "notes"}
    assert record["output"] == ["clean_noisy.ome.tif"] and record["truth"] == ["clean_noisy_truth.ome.tif"]
    assert record["camera"]["read_noise_e"] == 1.4 and record["notes"] == []


def test_saturation_is_reported(run, clean):
    code, _, err = run(clean, "--gain", 4000, "--bits", 16, "--camera", "ideal")
    fraction = (tifffile.imread("clean_noisy.ome.tif") == 65535).mean()
    assert code == 0 and f"{100 * fraction:.1f} % of the pixels are saturated" in err and fraction > 0.1


# -- several inputs --------------------------------------------------------------------------------


def test_a_truth_is_not_an_input_of_a_later_call(run, clean):
    assert run(".")[0] == 0
    made = names()
    code, out, err = run(".", "--no-truth", "--overwrite")
    assert code == 0 and out == "clean_noisy.ome.tif\n" and names() == made, err
    assert "2 files left out, which are outputs of other inputs: clean_noisy.ome.tif, clean_noisy_truth.ome.tif" in err


def test_a_folder_can_be_given_again(run, clean):
    tifffile.imwrite("same.tif", scene())
    code, out, _ = run(".", "-o", "noisy")
    assert code == 0 and out.count("\n") == 4
    pair = [tifffile.imread(f"noisy/{name}") for name in ("clean_noisy.ome.tif", "same_noisy.tif")]
    assert (pair[0] != pair[1]).any()  # different noise
    assert run(".")[0] == 0
    code, out, err = run(".", "--overwrite")
    assert code == 0 and out.count("\n") == 4 and "4 files left out" in err


def test_two_truths_of_one_name(refused):
    np.save("a.npy", scene())
    from PIL import Image

    Image.fromarray(scene().astype(np.uint8)).save("a.png")
    tifffile.imwrite("a.tif", scene())
    assert "a_noisy_truth.tif" in refused("a.png", "a.tif", "--overwrite")


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ("--frames", "0"), ("--photons", "0"), ("--photons", "nan"), ("--photons", "inf"), ("--photons", "-3"),
        ("--seed", "-1"), ("--camera", "polaroid"), ("--read-noise", "-1"), ("--quantum-efficiency", "1.2"),
        ("--bits", "40"), ("--em-gain", "0.5"), ("--gain", "0"), ("--hot", "2"), ("--full-well", "0"),
        ("--axes", "QX"), ("-o", "clean.ome.tif", "--overwrite"), ("-o", "out.jpg"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(refused, options):
    refused("clean.ome.tif", *options)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_pixels_that_are_not_photons(refused, value):
    image = scene()
    image[3, 4] = value
    np.save("odd.npy", image)
    assert "odd.npy" in refused("odd.npy")
    if value != -1:
        assert "odd.npy" in refused("odd.npy", "--photons", "5")


def test_images_without_contrast(refused):
    np.save("constant.npy", np.full((9, 9), 7))
    assert "constant.npy" in refused("constant.npy", "--photons", "5")


def test_frames_of_a_time_series(refused):
    np.save("film.npy", scene((4, 20, 30)))
    assert "film.npy" in refused("film.npy", "--axes", "TYX", "--frames", "3")


@pytest.mark.parametrize("name", ["clean_noisy.ome.tif", "clean_noisy_truth.ome.tif"])
def test_existing_outputs_are_kept(refused, name):
    Path(name).write_bytes(b"mine")
    assert f"{name}: exists already" in refused("clean.ome.tif")


def test_the_truth_may_not_be_an_input(refused):
    tifffile.imwrite("x_truth.tif", scene())
    assert "x_truth.tif" in refused("x_truth.tif", "-o", "x.tif", "--overwrite")


def test_the_last_input_is_checked_before_the_first_is_exposed(refused):
    np.save("wrong.npy", scene((4, 20, 30)))
    assert "wrong.npy" in refused("clean.ome.tif", "wrong.npy", "--axes", "YX", "-o", "out")
    assert not Path("out").exists()


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_both_files_or_none(run, clean, monkeypatch, failing, error):
    commit, count = MappedSink.commit, iter(range(9))

    def fail(self):
        if next(count) == failing:
            raise error
        commit(self)

    monkeypatch.setattr(MappedSink, "commit", fail)
    assert run(clean)[0] in (1, 130)
    assert names() == ["clean.ome.tif"]


def test_interrupted_between_frames(run, clean, monkeypatch):
    def stop(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Camera, "_frame", stop)
    assert run(clean, "-o", "new/")[0] == 130
    assert names() == ["clean.ome.tif"]


def test_a_synthetic_scene_needs_no_input(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("--scene", "nuclei", "--size", "64x48", "--seed", 3, "--photons", 7, "-o", "noisy.tif", "--json")
    record = json.loads(out)
    assert code == 0 and record["photons_mean"][0] == pytest.approx(7, rel=1e-3)
    noisy, truth = tifffile.imread("noisy.tif"), tifffile.imread("noisy_truth.tif")
    assert noisy.shape == truth.shape == (64, 48)
    assert run("--scene", "nuclei", "--size", "64x48", "--seed", 3, "--photons", 7, "-o", "again.tif")[0] == 0
    np.testing.assert_array_equal(tifffile.imread("again.tif"), noisy)


@pytest.mark.parametrize(("axes", "expected"), [("ZYX", "ZYX"), ("TYX", "TYX")])
def test_scenes_in_3d_and_in_time(run, tmp_path, monkeypatch, axes, expected):
    monkeypatch.chdir(tmp_path)
    assert run("--scene", "vesicles", "--size", "4x32x40", "--axes", axes, "-o", "noisy.ome.tif")[0] == 0
    with open_source("noisy.ome.tif") as source:
        assert (source.axes, source.shape) == (expected, (4, 32, 40))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scene", "cats", "-o", "a.tif"], "there is no scene 'cats'"),
        (["--scene", "nuclei"], "needs a name for its output"),
        (["--scene", "nuclei", "--size", "512", "-o", "a.tif"], "is not a size"),
        (["--scene", "nuclei", "--size", "4x4", "-o", "a.tif"], "16 pixels or more"),
        (["--scene", "nuclei", "--size", "64x64", "--axes", "TYX", "-o", "a.tif"], "cannot have the axes TYX"),
        (["clean.tif", "--scene", "nuclei", "-o", "a.tif"], "--scene and clean.tif exclude each other"),
        ([], "no clean image"),
    ],
)
def test_scenes_that_cannot_be_drawn(run, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*options)
    assert code == 2 and words in err
    assert not list(tmp_path.iterdir())
