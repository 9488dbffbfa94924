"""The functions of `import noisewise as nw` that have the names of commands: the same results from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noisewise as nw
from noisewise import io
from noisewise.cli import commands, main

from .conftest import blobs

SETTINGS: dict[str, Any] = {"steps": 2, "features": 8, "depth": 1}
SHELL_ONLY = {"info", "methods", "doctor", "demo"}


@pytest.fixture(scope="module")
def model(planted: tuple[np.ndarray, np.ndarray]) -> nw.Model:
    return nw.train("n2v", planted[1], **SETTINGS)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: tuple[np.ndarray, np.ndarray]) -> Path:
    """truth.tif and noisy.tif in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, pixels in zip(("truth.tif", "noisy.tif"), planted, strict=True):
        source = io.open_source(pixels)
        with io.create_sink(name, source) as sink:
            sink.write(source.everything, pixels)
    return tmp_path


def test_every_command_that_computes_is_a_function() -> None:
    assert set(commands()) - SHELL_ONLY <= set(nw.__all__)


@pytest.mark.parametrize("imports", ["", "import noisewise.predict.run, noisewise.evaluate.compare"])
def test_dir_shows_the_public_names(imports: str) -> None:
    """Also after modules of folders with such names were imported: `nw.predict` stays the function."""
    code = (
        f"{imports}\n"
        "import noisewise as nw\n"
        "assert dir(nw) == sorted([*nw.__all__, '__version__']), dir(nw)\n"
        "assert callable(nw.predict) and callable(nw.evaluate) and callable(nw.simulate)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- predict ---------------------------------------------------------------------------------------


def test_predict_takes_a_model_or_its_file(model: nw.Model, files: Path, capsys: Any) -> None:
    model.save("n2v.safetensors")
    found = nw.predict("noisy.tif", "n2v.safetensors", average=False).mean
    np.testing.assert_array_equal(found, nw.predict("noisy.tif", model, average=False).mean)
    several = nw.predict(["noisy.tif", "truth.tif"], model, average=False)
    np.testing.assert_array_equal(several[0].mean, found)
    assert main(["predict", "n2v.safetensors", "noisy.tif", "-o", "shell.tif", "--average", "no"]) == 0
    written = nw.predict("noisy.tif", model, average=False, output="python.tif")
    np.testing.assert_array_equal(Path("shell.tif").read_bytes()[-9216:], Path("python.tif").read_bytes()[-9216:])
    np.testing.assert_array_equal(written.mean, found)


@pytest.mark.parametrize(
    ("image", "given", "message"),
    [
        ("noisy.tif", "truth.tif", "truth.tif"),
        ("n2v.safetensors", "noisy.tif", r"the image comes first: predict\(image, model\)"),
        ("noisy.tif", None, "NoneType is not a model"),
        ("noisy.tif", "missing.safetensors", "missing.safetensors"),
    ],
)
def test_predict_refuses(files: Path, image: Any, given: Any, message: str) -> None:
    with pytest.raises(nw.UserError, match=message):
        nw.predict(image, given)


def test_predict_refuses_what_the_method_cannot_give(model: nw.Model, files: Path) -> None:
    with pytest.raises(nw.UserError, match="the image comes first"):
        nw.predict(model, "noisy.tif")
    for options in ({"std": True}, {"samples": 4}, {"nonsense": 1}):
        with pytest.raises(nw.UserError):
            nw.predict("noisy.tif", model, output="out.tif", **options)
    assert not Path("out.tif").exists()


# -- evaluate --------------------------------------------------------------------------------------


def test_evaluate_takes_arrays_and_files(files: Path, planted: tuple[np.ndarray, np.ndarray], capsys: Any) -> None:
    signal, noisy = planted
    found = nw.evaluate(noisy, signal)
    mean_square = float(np.mean((noisy.astype(float) - signal) ** 2))
    assert found.mean.psnr == pytest.approx(10 * np.log10(float(np.ptp(signal)) ** 2 / mean_square), abs=1e-4)
    assert nw.evaluate("noisy.tif", "truth.tif").mean == found.mean
    both = nw.evaluate([noisy, signal], [signal, noisy], data_range=100)
    assert len(both.pairs) == 2 and both.pairs[0].mean.psnr == both.pairs[1].mean.psnr
    deviation = np.full_like(noisy, 15)
    calibration = nw.evaluate(noisy, signal, std=deviation).calibrations[0]
    assert calibration.ratio == pytest.approx(1, abs=0.1)


def test_evaluate_is_the_command(files: Path, capsys: Any) -> None:
    import json

    assert main(["evaluate", "noisy.tif", "truth.tif", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(nw.evaluate("noisy.tif", "truth.tif").record()))


def test_two_equal_images_are_noticed(files: Path, capsys: Any) -> None:
    found = nw.evaluate("noisy.tif", "noisy.tif")
    assert found.mean.psnr == np.inf
    assert any("the two images are equal in every pixel" in note for note in found.notes)
    assert not any("equal" in note for note in nw.evaluate("noisy.tif", "truth.tif").notes)
    assert main(["evaluate", "noisy.tif", "noisy.tif"]) == 0
    printed = capsys.readouterr()
    assert "inf: the two images are equal" in printed.out and "equal in every pixel" in printed.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": ["noisy.tif"] * 2}, "2 predictions, but 1 reference; give one reference for each"),
        ({"std": ["noisy.tif"] * 2}, "1 prediction, but 2 standard deviations; give one standard deviation for each"),
        ({"data_range": 0}, "range"),
        ({"reference": np.zeros((9, 9), np.float32)}, "give images of one size"),
    ],
)
def test_evaluate_refuses(files: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(nw.UserError, match=message):
        nw.evaluate(**{"prediction": "noisy.tif", "reference": "truth.tif"} | options)


# -- simulate --------------------------------------------------------------------------------------


def test_simulate_is_the_camera_and_the_command(files: Path, capsys: Any) -> None:
    clean = blobs((40, 50))
    found = nw.simulate(clean, seed=3, camera="emccd", offset=300)
    camera = nw.Camera.emccd()
    assert found.noisy.dtype == np.uint16 and found.truth.dtype == np.float32 and found.path is None
    assert found.camera.offset_adu == 300 and camera.offset_adu == 200
    np.testing.assert_array_equal(found.noisy, found.camera.expose(clean, seed=3))
    np.testing.assert_array_equal(found.truth, found.camera.signal(clean).astype(np.float32))
    written = nw.simulate("truth.tif", photons=5, seed=3, output="python.tif")
    assert written.noisy is None and written.truth_path == Path("python_truth.tif")
    assert main(["simulate", "truth.tif", "--photons", "5", "--seed", "3", "-o", "shell.tif"]) == 0
    for end in (".tif", "_truth.tif"):
        pair = [io.open_source(f"{name}{end}").read() for name in ("python", "shell")]
        np.testing.assert_array_equal(*pair)
    same = nw.simulate("truth.tif", photons=5, seed=3)
    np.testing.assert_array_equal(same.noisy, pair_of("python.tif"))
    assert same.photons_mean == pytest.approx(5)


def pair_of(name: str) -> np.ndarray:
    with io.open_source(name) as source:
        return source.read()


def test_simulate_several_images_and_frames(tmp_path: Path) -> None:
    made = nw.simulate([blobs((20, 30)), blobs((20, 30))], frames=3, seed=1)
    assert [one.noisy.shape for one in made] == [(3, 20, 30)] * 2 and made[0].truth.shape == (20, 30)
    assert (made[0].noisy != made[1].noisy).any()  # the second has the next seed
    files = nw.simulate([blobs((20, 30)), blobs((20, 30))], output=tmp_path / "made", truth=False)
    assert [one.path for one in files] == [tmp_path / "made" / f"00{n}_noisy.tif" for n in range(2)]
    assert files[0].truth_path is None and len(list((tmp_path / "made").iterdir())) == 2


def test_simulate_keeps_the_labels_of_xarray() -> None:
    xarray = pytest.importorskip("xarray")
    clean = xarray.DataArray(blobs((20, 30)), dims=("y", "x"), coords={"x": np.arange(30)}, name="cells")
    found = nw.simulate(clean, frames=2)
    assert found.noisy.dims == ("t", "y", "x") and found.truth.dims == ("y", "x") and found.truth.name == "cells"
    assert "x" in found.noisy.coords


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"camera": "polaroid"}, "there is no camera 'polaroid'; there are: scmos, emccd, pmt, ideal"),
        ({"gian": 2}, "a camera has no setting 'gian'; it has: quantum_efficiency"),
        ({"photons": -1}, "photons -1 is not an amount of light"),
        ({"frames": 0}, "frames 0 is not a number of frames"),
        ({"seed": -1}, "seed -1"),
        ({"output": "truth.tif", "overwrite": True}, "is the input itself"),
        ({"output": "noisy.tif"}, "exists already"),
        ({"output": ["a.tif", "b.tif"]}, "2 outputs for 1 image"),
    ],
)
def test_simulate_refuses(files: Path, options: dict[str, Any], message: str) -> None:
    before = sorted(path.name for path in files.iterdir())
    with pytest.raises(nw.UserError, match=message):
        nw.simulate("truth.tif", **options)
    assert sorted(path.name for path in files.iterdir()) == before
