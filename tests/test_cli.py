"""The command line: arguments, and the resulting stdout, stderr, files and exit codes."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile

import noisewise as nw
from noisewise import __version__, cli, scenes
from noisewise.cli import _display, commands, description, main

STEPS = ("--steps", "2")
SMALL = ("--network", "classic", "--depth", "1")


@pytest.fixture
def image():
    """A smooth image of 24 x 28 pixels with Poisson noise."""
    y, x = np.mgrid[:24, :28]
    rng = np.random.default_rng(0)
    return (100 + rng.poisson(30 + 20 * np.sin(y / 4) * np.cos(x / 5))).astype(np.uint16)


@pytest.fixture
def cells(tmp_path, image, monkeypatch):
    """An ImageJ TIFF with a pixel size, in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image, imagej=True, resolution=(5, 5), metadata={"unit": "um"})
    return path


@pytest.fixture
def run(capsys):
    """Run a command line in this process; return exit code, stdout and stderr."""

    def call(*args):
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def process(*args, **options):
    """Run a command line in a process of its own."""
    command = [sys.executable, "-m", "noisewise", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def here(folder="."):
    """Sorted names of the files in a folder."""
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def stop_at(monkeypatch):
    """Send Ctrl-C to this process when a stage reaches a step."""

    def arrange(stage, step=0):
        show = _display.Display.__call__

        def stop(self, now):
            show(self, now)
            if now.name == stage and (now.progress is None or now.progress.step == step):
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(_display.Display, "__call__", stop)

    # In the background of a shell, interrupts are ignored by default.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield arrange
    signal.signal(signal.SIGINT, before)


# -- help ------------------------------------------------------------------------------------------


def test_help_is_also_a_command(run):
    assert run("help", "denoise")[:2] == run("denoise", "--help")[:2] and run("help")[:2] == run("--help")[:2]


def test_overview_lists_every_command(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for command in commands():
        assert f"{command} " in out and description(command) in out


@pytest.mark.parametrize("command", commands())
def test_help_of_a_command(run, command):
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    words = " ".join(out.replace("│", " ").split())
    assert out.startswith(f"usage: noisewise {command}") and description(command) in words
    assert "None" not in words  # defaults are in words
    rows = [row.strip("│ ") for row in out.partition("--help")[2].splitlines()]
    for row, after in pairwise(rows):
        if re.match(r"--?\w[\w-]*( |$)", row):
            assert re.search(r"\S {2,}\S", row) or re.match(r"\w", after), f"{command}: {row} has no help"


def test_help_of_a_method_lists_its_settings(run):
    code, out, _ = run("train", "n2v", "--help")
    assert code == 0 and "METHOD INPUT..." in out
    words = " ".join(out.replace("│", " ").split())
    assert "--mask-percent FLOAT" in words and "blind pixels in a patch, percent" in words


def test_help_of_a_switch_that_is_on_says_that_the_option_turns_it_off(run):
    words = " ".join(run("train", "simulated", "--help")[1].replace("│", " ").split())
    help_text = words.partition("--no-pretrained ")[2].partition(" --")[0]
    assert help_text == "start from the packaged weights, where they fit the network (this option turns it off)"


def test_overview_takes_less_than_half_a_second():
    def seconds():
        start = time.perf_counter()
        assert process("--help").returncode == 0
        return time.perf_counter() - start

    assert min(seconds() for _ in range(4)) < 0.5


def test_version(run):
    assert run("--version") == (0, f"noisewise {__version__}\n", "")


def test_unknown_command(run):
    assert run("denois") == (2, "", "error: unknown command 'denois': did you mean 'denoise'?\n")
    code, out, _ = run()
    assert code == 2 and "usage" in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("denoise", "a.tif", "--stepps", "3"), "--stepps"),
        (("denoise", "a.tif", "--steps", "three"), "three"),
        (("denoise", "a.tif", "-o"), "--output"),
        (("train", "n2v", "a.tif"), "MODEL"),
        (("train", "n2v", "a.tif", "-o", "m", "--masking", "wild"), "wild"),
        (("info",), "FILE"),
    ],
)
def test_wrong_usage_is_one_line(run, args, words):
    code, out, err = run(*args)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err and "--help" in err


def test_unexpected_errors_are_one_line(run, monkeypatch):
    monkeypatch.setattr(cli, "dispatch", lambda _: 1 / 0)
    code, out, err = run("methods")
    assert code == 1 and out == "" and err.count("\n") == 1
    assert "ZeroDivisionError" in err and "NOISEWISE_DEBUG=1" in err
    monkeypatch.setenv("NOISEWISE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("methods")


# -- denoise ---------------------------------------------------------------------------------------


def test_denoise_writes_its_output_beside_the_input(run, cells, image):
    code, out, err = run("denoise", cells, *STEPS)
    output = cells.with_name("cells_denoised.tif")
    assert code == 0 and out == f"{output}\n" and "2 steps" in err
    with tifffile.TiffFile(output) as file:
        result = file.asarray()
        assert file.is_imagej and file.imagej_metadata["unit"] == "um"
        assert file.pages[0].tags["XResolution"].value == (5, 1)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    assert result.std() < image.std()
    assert sorted(p.name for p in cells.parent.iterdir()) == ["cells.tif", "cells_denoised.tif"]


def test_python_and_command_line_agree(run, cells):

    assert run("denoise", cells, *STEPS, "--float32", "-o", "float.tif")[0] == 0
    np.testing.assert_array_equal(tifffile.imread("float.tif"), nw.denoise(cells, steps=2).mean)


def test_json_is_one_object_and_nothing_else(cells):
    image = tifffile.imread(cells)
    image[3, 4] = 65535
    tifffile.imwrite(cells, image)
    done = process("denoise", cells, *STEPS, "--json")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    record = json.loads(done.stdout)
    assert record["input"] == [str(cells)]
    assert record["output"] == [str(cells.with_name("cells_denoised.tif"))]
    assert record["steps"] == 2 and record["seconds"] > 0 and record["finished"] is True
    assert record["method"] == "n2v" and record["model"] is None and "validation_loss" in record
    assert any("saturated" in note for note in record["notes"])
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert [note.removeprefix("note: ") for note in notes] == record["notes"]


def test_outputs_are_kept_unless_asked(run, cells, monkeypatch):
    output = cells.with_name("cells_denoised.tif")
    output.write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr("noisewise.workflow.denoise.Training", None)  # refused before the work
        code, _, err = run("denoise", cells, *STEPS)
        assert code == 2 and "exists already" in err and output.read_text() == "precious"
        code, out, err = run("denoise", cells, *STEPS, "--skip-existing")
        assert (code, out) == (0, "") and "skipped" in err and output.read_text() == "precious"
    assert run("denoise", cells, *STEPS, "--overwrite")[0] == 0
    assert tifffile.imread(output).shape == (24, 28)


@pytest.mark.usefixtures("cells")
def test_several_inputs_share_one_model(run, image):
    tifffile.imwrite("more.tif", image[::-1])
    code, out, _ = run("denoise", ".", "-o", "clean", *STEPS)
    assert code == 0
    assert out.split() == [str(Path("clean", f"{name}_denoised.tif")) for name in ("cells", "more")]
    record = json.loads(run("info", "clean/more_denoised.tif", "--json")[1])
    assert record["made by noisewise"]["trained_on"] == ["cells.tif", "more.tif"]


def test_more_files_than_may_be_open_and_quiet_is_silent(tmp_path, image):
    resource = pytest.importorskip("resource")
    for number in range(60):
        tifffile.imwrite(tmp_path / f"{number:02}.tif", image[:8, :8] + number)

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    done = process("denoise", tmp_path, "-o", tmp_path / "out", *STEPS, "--quiet", preexec_fn=limit)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(here(tmp_path / "out")) == 60


@pytest.mark.usefixtures("cells")
def test_a_folder_can_be_given_again(run):
    assert run("denoise", ".", *STEPS)[0] == 0
    code, out, err = run("denoise", ".", *STEPS, "--overwrite")
    assert code == 0 and out == "cells_denoised.tif\n" and "left out" in err


def test_provenance_is_in_the_output(run, cells):
    import hashlib

    assert run("denoise", cells, *STEPS, "--seed", "7", "--average", "no")[0] == 0
    made = json.loads(run("info", "cells_denoised.tif", "--json")[1])["made by noisewise"]
    assert made["method"] == "n2v" and made["seed"] == 7 and made["steps"] == 2 and made["averaged"] is False
    assert made["software"] == f"noisewise {__version__}" and made["settings"]["masking"]
    assert made["input_sha256"] == hashlib.sha256(cells.read_bytes()).hexdigest()


def test_same_seed_same_output(run, cells):
    results = []
    for name, seed in (("a.tif", 1), ("b.tif", 1), ("c.tif", 2)):
        assert run("denoise", cells, *STEPS, "--seed", seed, "--float32", "-o", name)[0] == 0
        results.append(tifffile.imread(name))
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


def test_folders_of_outputs_are_made(run, cells):
    outputs = ("-o", "new/deep/out.tif", "--model", "models/a/m.safetensors")
    assert run("denoise", cells, *STEPS, *outputs)[0] == 0
    assert Path("new/deep/out.tif").exists() and Path("models/a/m.safetensors").exists()
    assert run("predict", "models/a/m.safetensors", cells, "-o", "other/")[0] == 0
    assert here() == ["cells.tif", "models", "new", "other"]
    assert run("denoise", cells, "--method", "care", "-o", "none/out.tif")[0] == 2 and not Path("none").exists()


def test_budget_becomes_steps(run, cells):
    start = time.perf_counter()
    code, out, _ = run("denoise", cells, "--budget", "3s", "--json")
    seconds = time.perf_counter() - start
    assert code == 0 and json.loads(out)["steps"] > 20 and seconds < 20


@pytest.mark.parametrize("suffix", [".ome.tif", ".npy", ".png", ".zarr"])
def test_other_formats(run, cells, image, suffix):
    from noisewise.io import open_source

    name = f"other{suffix}"
    assert run("denoise", cells, *STEPS, "-o", name)[0] == 0
    with open_source(name) as source:
        assert source.shape == image.shape and source.dtype == image.dtype


# -- train, predict --------------------------------------------------------------------------------


def test_a_kept_model_repeats_the_result(run, cells):
    assert run("denoise", cells, *STEPS, "--model", "m.safetensors", "-o", "first.tif")[0] == 0
    code, out, _ = run("predict", "m.safetensors", cells, "-o", "again.tif", "--json")
    assert code == 0 and json.loads(out)["output"] == ["again.tif"]
    np.testing.assert_array_equal(tifffile.imread("first.tif"), tifffile.imread("again.tif"))


def test_method_settings_are_flags(run, cells):
    code, out, err = run(
        "train", "n2v", cells, "-o", "m.safetensors", *STEPS, "--masking", "median", "--network", "n2v2",
        "--depth", "1", "--learning-rate", "1e-3", "--joint-channels",
    )  # fmt: skip
    assert code == 0, err
    assert out == "m.safetensors\n"
    settings = json.loads(run("info", "m.safetensors", "--json")[1])["settings"]
    assert settings["masking"] == "median" and settings["network"] == "n2v2" and settings["depth"] == 1
    assert settings["learning_rate"] == 1e-3 and settings["joint_channels"] is True


@pytest.mark.parametrize("method", ["n2n", "care"])
def test_methods_with_targets(run, cells, image, method):
    tifffile.imwrite("target.tif", image[::-1])
    assert run("train", method, cells, "--target", "target.tif", "-o", "m.safetensors", *STEPS)[0] == 0
    assert run("denoise", cells, "--method", method, "--target", "target.tif", *STEPS)[0] == 0
    code, _, err = run("train", method, cells, "-o", "none.safetensors", *STEPS)
    assert code == 2 and "target" in err


def test_tiles_leave_no_seams(run, cells):
    tall = np.tile(tifffile.imread(cells), (6, 5)).astype(np.float32)
    tifffile.imwrite("tall.tif", tall)
    assert run("train", "n2v", cells, "-o", "m.safetensors", *STEPS, *SMALL)[0] == 0
    for tile in ("16", "auto"):
        assert (
            run("predict", "m.safetensors", "tall.tif", "--tile", tile, "-o", f"{tile}.tif", "--average", "no")[0] == 0
        )
    np.testing.assert_allclose(tifffile.imread("16.tif"), tifffile.imread("auto.tif"), atol=1e-3)


def test_files_are_streamed(run, cells, monkeypatch):
    from noisewise.axes import region_shape
    from noisewise.io.tiff_read import TiffSource

    tifffile.imwrite("tall.tif", np.tile(tifffile.imread(cells), (10, 10)))
    assert run("train", "n2v", cells, "-o", "m.safetensors", *STEPS, *SMALL)[0] == 0
    read, largest = TiffSource.read, 0

    def watch(self, region=None):
        nonlocal largest
        largest = max(largest, int(np.prod(region_shape(region or self.everything))))
        return read(self, region)

    monkeypatch.setattr(TiffSource, "read", watch)
    monkeypatch.setattr("noisewise.io.light.BLOCK", 32)  # in blocks of this size, fill is searched for too
    assert run("predict", "m.safetensors", "tall.tif", "--tile", "32", "--average", "no")[0] == 0
    assert 0 < largest < 240 * 280 / 4


# -- noise models and standard deviations ------------------------------------------------------------


@pytest.fixture
def camera(cells):
    """A noise model of the camera, as a file."""
    from noisewise.noise.models.poisson_gaussian import PoissonGaussian
    from noisewise.noise.quantization import Quantization

    path = cells.with_name("camera.safetensors")
    PoissonGaussian(1.0, 100.0, 1.0, Quantization(1.0)).save(path)
    return path


def test_predict_writes_the_standard_deviation_beside_the_output(run, cells, image, camera):
    code, out, err = run("train", "pn2v", cells, "--noise", camera, "-o", "m.safetensors", *STEPS, *SMALL)
    assert (code, out) == (0, "m.safetensors\n"), err
    code, out, _ = run("predict", "m.safetensors", cells, "--std", "--average", "no")
    images = ["cells.tif", "cells_denoised.tif", "cells_denoised_std.tif"]
    assert (code, out) == (0, "".join(f"{cells.with_name(name)}\n" for name in images[1:]))
    assert here() == sorted([*images, "camera.safetensors", "m.safetensors"])
    with tifffile.TiffFile("cells_denoised_std.tif") as file:
        std = file.asarray()
        assert file.is_imagej and file.imagej_metadata["unit"] == "um"
        assert file.pages[0].tags["XResolution"].value == (5, 1)
    assert tifffile.imread("cells_denoised.tif").dtype == image.dtype
    assert std.dtype == np.float32 and std.shape == image.shape and (std > 0).all()
    np.testing.assert_allclose(std, nw.load("m.safetensors").predict(cells, average=False).std, rtol=1e-5)
    made = json.loads(run("info", "cells_denoised_std.tif", "--json")[1])["made by noisewise"]
    assert made["method"] == "pn2v" and made["input"] == "cells.tif"


def test_zero_steps_use_the_pretrained_network_as_it_is(run, cells, camera):
    code, out, _ = run("denoise", cells, "--noise", camera, "--steps", "0", "--float32", "--json", "-o", "clean.tif")
    assert code == 0 and json.loads(out)["steps"] == 0
    np.testing.assert_array_equal(tifffile.imread("clean.tif"), nw.denoise(cells, noise=camera, steps=0).mean)


PN2V = ("--method", "pn2v", "--average", "no", *STEPS)


def test_denoise_with_standard_deviations_and_its_kept_model(run, cells, camera):
    denoise = ("denoise", cells, *PN2V, "--std", "--noise", camera, "--float32", "--model", "m.safetensors")
    code, out, err = run(*denoise, "-o", "clean.ome.tif", "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["output"] == ["clean.ome.tif"] and record["std"] == ["clean_std.ome.tif"]
    assert record["method"] == "pn2v" and out.count("\n") == 1
    assert {"clean.ome.tif", "clean_std.ome.tif"} <= set(here())
    mean, std = (tifffile.imread(name) for name in ("clean.ome.tif", "clean_std.ome.tif"))
    assert mean.shape == std.shape == (24, 28) and std.dtype == np.float32
    # The prior cannot increase the uncertainty above that of the pixel alone: photon noise and read noise.
    assert 0 < std.mean() < 1.2 * (mean.mean() - 100 + 1) ** 0.5
    camera.unlink()  # the model contains it
    predict = ("predict", "m.safetensors", cells, "--std", "--average", "no", "--float32", "-o", "b.tif")
    assert run(*predict)[0] == 0
    np.testing.assert_array_equal(tifffile.imread("b.tif"), mean)
    np.testing.assert_array_equal(tifffile.imread("b_std.tif"), std)


def test_care_with_uncertainty_gives_standard_deviations(run, cells, image):
    tifffile.imwrite("clean.tif", image[::-1])
    train = ("train", "care", cells, "--target", "clean.tif", "-o", "m.safetensors", "--uncertainty", *STEPS, *SMALL)
    assert run(*train)[0] == 0
    assert run("predict", "m.safetensors", cells, "--std", "-o", "out.npy")[0] == 0
    assert np.load("out_std.npy").shape == image.shape


def test_several_standard_deviations_go_into_a_folder(run, cells, image, camera):
    tifffile.imwrite("more.tif", image[::-1])
    assert run("denoise", "cells.tif", "more.tif", *PN2V, "--noise", camera, "--std", "-o", "out")[0] == 0
    assert here("out") == [f"{name}_denoised{end}.tif" for name in ("cells", "more") for end in ("", "_std")]


def test_a_standard_deviation_that_exists_is_kept(run, cells, camera, monkeypatch):
    Path("cells_denoised_std.tif").write_text("precious")
    denoise = ("denoise", cells, *PN2V, "--noise", camera, "--std")
    with monkeypatch.context() as patch:
        patch.setattr("noisewise.workflow.denoise.Training", None)  # refused before the work
        code, _, err = run(*denoise)
    assert code == 2 and "cells_denoised_std.tif: exists already" in err
    assert Path("cells_denoised_std.tif").read_text() == "precious" and not Path("cells_denoised.tif").exists()
    assert run(*denoise, "--overwrite")[0] == 0
    assert tifffile.imread("cells_denoised_std.tif").shape == (24, 28)


def test_a_folder_with_standard_deviations_can_be_given_again(run, image, camera):
    """Outputs of an earlier call are no inputs, with or without the option that made them."""
    Path("images").mkdir()
    tifffile.imwrite("images/cells.tif", image)
    denoise = ("denoise", "images", *PN2V, "--noise", camera)
    assert run(*denoise, "--std")[0] == 0
    made = ["cells.tif", "cells_denoised.tif", "cells_denoised_std.tif"]
    assert here("images") == made
    for again in (("--std",), ()):
        code, out, err = run(*denoise, *again, "--overwrite")
        assert code == 0 and out.count("\n") == 1 + len(again)
        assert ("cells_denoised_std.tif: is of an earlier result" in err) == (not again)
        assert here("images") == made


def test_an_input_may_have_the_name_of_a_standard_deviation_that_is_not_written(run, cells):
    cells.rename("b_std.tif")
    denoise = ("denoise", "b_std.tif", "-o", "b.tif", *STEPS)
    code, _, err = run(*denoise, "--std")
    assert code == 2 and "b_std.tif: is the input itself" in err
    assert run(*denoise)[0] == 0


@pytest.mark.usefixtures("cells")
def test_the_noise_is_measured_if_no_noise_model_is_given(run):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :72]
    np.save("large.npy", (100 + 2 * rng.poisson(60 + 40 * np.sin(y / 9) * np.cos(x / 11))).astype(np.uint16))
    code, _, err = run("train", "pn2v", "large.npy", "-o", "m.safetensors", *STEPS, *SMALL, "--batch-size", "2")
    assert code == 0, err

    (noise_model,) = nw.load("m.safetensors").noise_models
    import torch

    # 2 ADU an electron: the variance is twice the signal above the offset.
    signal = torch.tensor([180.0, 260.0], dtype=torch.float64)
    np.testing.assert_allclose(noise_model.mean_var(signal)[1], 2 * (signal - 100), rtol=0.3)


@pytest.mark.usefixtures("cells")
def test_an_image_too_small_to_measure_is_bootstrapped(run, monkeypatch):
    """30 rows are too few for a check-up: a short Noise2Void separates noise from signal."""
    monkeypatch.setattr("noisewise.workflow.first_pass.FIRST_PASS_STEPS", 15)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:30, :60]
    np.save("small.npy", (100 + rng.poisson(60 + 40 * np.sin(y / 6) * np.cos(x / 8))).astype(np.uint16))
    code, _, err = run("denoise", "small.npy", *PN2V, "--std")
    assert code == 0 and "from a first denoised version (15 training steps)" in err, err
    mean, std = np.load("small_denoised.npy"), np.load("small_denoised_std.npy")
    assert mean.shape == std.shape == (30, 60) and (std > 0).all()
    assert mean.mean() == pytest.approx(np.load("small.npy").mean(), rel=0.05)


def test_a_terminal_shows_a_progress_bar(monkeypatch):
    from noisewise.progress import Progress, Stage

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with _display.Display(quiet=False) as display:
        display(Stage("train", 0.5, Progress(50, 100, 0.1234, 65.0)))
        display(Stage("predict", 1.0))
    shown = sys.stderr.getvalue()
    for words in ("training", "50 %", "loss 0.1234", "1:05 left", "denoising", "100 %", "############............"):
        assert words in shown


# -- Ctrl-C ----------------------------------------------------------------------------------------


def test_a_resumed_training_equals_an_uninterrupted_one(run, cells, stop_at, monkeypatch):
    monkeypatch.setattr(_display, "LOG_SECONDS", 1e9)  # one line of progress, even on a slow computer
    train = ("train", "n2v", cells, "--steps", "40", *SMALL, "--batch-size", "8")
    assert run(*train, "-o", "whole.safetensors")[0] == 0
    stop_at("train", 27)
    code, out, err = run(*train, "-o", "resumed.safetensors")
    assert (code, out) == (130, "")
    assert "step 27 of 40" in err and err.count("\n") == 2  # a line of progress and what to do
    command = shlex.split(err.splitlines()[-1].split("continue with: noisewise ")[1])
    assert run("predict", "resumed.safetensors", cells)[0] == 0  # usable as it is
    monkeypatch.undo()
    monkeypatch.chdir(cells.parent)
    assert run(*command)[0] == 0
    assert Path("whole.safetensors").read_bytes() == Path("resumed.safetensors").read_bytes()
    code, out, _ = run(*train, "-o", "resumed.safetensors", "--resume", "--json")
    assert code == 0 and json.loads(out)["finished"] is True  # nothing left to do
    assert json.loads(out)["notes"] == ["resumed.safetensors: is already complete after 40 steps"]


def test_resume_refuses_another_training(run, cells, stop_at):
    stop_at("train", 5)
    assert run("train", "n2v", cells, "--steps", "40", "-o", "m.safetensors")[0] == 130
    for change in (("n2v", "--steps", "41"), ("n2v", "--mask-radius", "3"), ("n2n",)):
        code, _, err = run("train", change[0], cells, *change[1:], "-o", "m.safetensors", "--resume")
        assert code == 2 and "was started " in err and ", not " in err
    Path("other.tif").write_bytes(cells.read_bytes())
    code, _, err = run("train", "n2v", "other.tif", "-o", "m.safetensors", "--resume")
    assert code == 2 and "other.tif" in err


def test_intermediate_saving_does_not_change_the_result(run, cells, monkeypatch):
    from noisewise.train import clock

    train = ("train", "n2v", cells, "--steps", "12", *SMALL, "--batch-size", "8")
    assert run(*train, "-o", "a.safetensors")[0] == 0
    monkeypatch.setattr(clock, "SAVE_SECONDS", 0.0)
    assert run(*train, "-o", "b.safetensors")[0] == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


@pytest.mark.parametrize("named", [True, False])
def test_ctrl_c_in_denoise_keeps_the_model(run, cells, stop_at, named):
    stop_at("train", 3)
    code, out, err = run("denoise", cells, "--steps", "30", *(["--model", "m.safetensors"] if named else []))
    assert (code, out) == (130, "") and "--resume" in err
    model = "m.safetensors" if named else "cells_denoised.safetensors"
    assert here() == sorted(["cells.tif", model])
    assert json.loads(run("info", model, "--json")[1])["training"]["step"] == 3


def test_ctrl_c_while_writing_keeps_the_model(run, cells, stop_at):
    stop_at("predict")
    code, out, err = run("denoise", cells, *STEPS)
    assert (code, out) == (130, "") and "noisewise predict" in err
    assert here() == ["cells.tif", "cells_denoised.safetensors"]


def test_ctrl_c_while_writing_prints_the_command_that_finishes(run, cells, camera, stop_at, monkeypatch):
    asked = ("denoise", cells, "--noise", camera, *PN2V, "--std", "--float32", "--seed", "3")
    assert run(*asked, "-o", "whole.tif")[0] == 0
    stop_at("predict")
    code, _, err = run(*asked, "-o", "out.tif", "--model", "m.safetensors")
    assert code == 130 and not Path("out.tif").exists()
    monkeypatch.undo()
    monkeypatch.chdir(cells.parent)
    assert run(*shlex.split(err.splitlines()[-1].split("continue with: noisewise ")[1]))[0] == 0
    for name in ("", "_std"):
        np.testing.assert_array_equal(tifffile.imread(f"out{name}.tif"), tifffile.imread(f"whole{name}.tif"))


def interrupt(*_):
    raise KeyboardInterrupt


def test_ctrl_c_after_the_last_step_loses_nothing(run, cells, camera, monkeypatch):
    from noisewise.workflow import training

    train = ("train", "pn2v", cells, "--noise", camera, *STEPS, *SMALL, "--batch-size", "2")
    assert run(*train, "-o", "whole.safetensors")[0] == 0
    monkeypatch.setattr(training, "calibrate", interrupt)
    assert run("denoise", cells, "--noise", camera, *PN2V, "--model", "d.safetensors")[0] == 130
    assert run("predict", "d.safetensors", cells, "-o", "d.tif")[0] == 0
    code, _, err = run(*train, "-o", "m.safetensors")
    assert code == 130 and "--resume" in err and run("predict", "m.safetensors", cells, "-o", "m.tif")[0] == 0
    monkeypatch.undo()
    monkeypatch.chdir(cells.parent)
    assert run(*train, "-o", "m.safetensors", "--resume")[0] == 0
    assert Path("whole.safetensors").read_bytes() == Path("m.safetensors").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent to processes there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_stop_a_training(cells, name):
    arguments = ["train", "n2v", str(cells), "-o", "m.safetensors", "--steps", "100000"]
    command = [sys.executable, "-m", "noisewise", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr.readline().startswith("training")
        running.send_signal(getattr(signal, name))
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and out == ""
    assert "--resume" in err and "Traceback" not in err
    assert Path("m.safetensors").stat().st_size > 0


# -- other commands --------------------------------------------------------------------------------


def test_info_of_a_model_under_any_name(run, cells):
    assert run("train", "n2v", cells, "-o", "some.model", *STEPS)[0] == 0
    assert "noisewise model" in run("info", "some.model")[1]


def test_info_of_an_image(run, cells):
    code, out, _ = run("info", cells)
    assert code == 0
    assert "ImageJ TIFF" in out and "axes: YX" in out and "shape: 24, 28" in out and "uint16" in out
    assert "X: 0.2 µm" in out
    assert "made by" not in out


@pytest.mark.usefixtures("cells")
@pytest.mark.parametrize("suffix", [".ome.tif", ".tif", ".png", ".zarr"])
def test_info_finds_the_provenance_in_every_format(run, image, suffix):
    np.save("plain.npy", image)
    assert run("denoise", "plain.npy", *STEPS, "-o", f"out{suffix}")[0] == 0
    code, out, _ = run("info", f"out{suffix}")
    assert code == 0 and "made by noisewise" in out and "method: n2v" in out


def test_methods_lists_them_all(run):
    from noisewise import methods

    code, out, _ = run("methods")
    assert code == 0
    table = json.loads(run("methods", "--json")[1])["methods"]
    assert {row["name"] for row in table} == set(methods.modules())
    for row in table:
        assert row["description"] and row["description"] in out


def test_doctor(run):
    record = json.loads(run("doctor", "--json")[1])
    assert record["packages"]["torch"] and record["threads"] >= 1
    assert record["matrix product, GFLOP/s"]["float32"] > 0
    assert "scikit-image" in record["optional packages"]


def test_doctor_names_what_is_wrong_with_the_installation(monkeypatch):
    import torch

    from noisewise.cli import _installation as installation

    assert installation.package_problems() == []
    needed = ["numpy>=99", "no-such-package>=1", "dask>=99; extra == 'x'"]
    monkeypatch.setattr(installation, "requires", lambda _: needed)
    old, missing = installation.package_problems()
    assert "numpy" in old and "is too old: numpy>=99 is needed" in old
    assert "no-such-package is missing" in missing and "pip install 'no-such-package>=1'" in missing
    monkeypatch.setattr(installation.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "built for the processor alone" in installation.graphics_problems()[0]
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "finds no graphics card" in installation.graphics_problems()[0]
    assert "GiB of memory are free" in installation.computer_problems(1 << 30)[0]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert installation.computer_problems(64 << 30) == []


def test_doctor_looks_at_files(run, tmp_path):
    noisy, path = scenes.draw("nuclei", (128, 128), seed=0).numpy(), tmp_path / "a.tif"
    tifffile.imwrite(path, np.random.default_rng(0).poisson(20 + 50 * noisy).astype(np.uint16))
    code, out, _ = run("doctor", str(path), "--json")
    [record] = json.loads(out)["files"]
    assert code == 0 and "independent" in record["noise"] and "simulated" in record["methods that fit"]
    assert record["start with"] == f"noisewise denoise {path}"
    code, out, _ = run("doctor", str(path), str(tmp_path / "none.tif"))
    assert code == 2 and "none.tif: no such file" in out and "denoise takes: " in out


def test_demo(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("noisewise.scenes.demonstration.SIZE", 128)
    code, out, err = run("demo", "-o", "shown", "--steps", "1", "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["scores"]["denoised"]["psnr"] > record["scores"]["noisy"]["psnr"]
    assert record["scores"]["denoised"]["ssim"] > record["scores"]["noisy"]["ssim"]
    names = ("before_after.png", "denoised.ome.tif", "noisy.ome.tif", "truth.ome.tif")
    assert here("shown") == sorted(names)
    with tifffile.TiffFile("shown/denoised.ome.tif") as file:
        assert file.is_ome and 'PhysicalSizeX="0.1"' in file.ome_metadata
        assert file.asarray().dtype == np.uint16
    noisy, truth = (tifffile.imread(f"shown/{name}.ome.tif").astype(float) for name in ("noisy", "truth"))
    assert noisy.mean() == pytest.approx(truth.mean(), rel=0.002)
    variance = 2.2 * (truth - 100) + (2.2 * 1.6) ** 2 + 1 / 12  # of the camera in the documentation
    assert (noisy - truth).var() == pytest.approx(variance.mean(), rel=0.05)
