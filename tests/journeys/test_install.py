"""Wheel and source distribution, each installed into an empty environment, and used as a new user would."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile

from tests.recordings import write_czi, write_lif, write_nd2

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MOST_PACKAGES, MOST_MEGABYTES = 35, 300  # beyond torch, without the bytecode that Python caches


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=1200, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def environment(folder: Path) -> Path:
    """The Python of a new environment."""
    run(sys.executable, "-m", "venv", folder)
    return folder / "bin/python"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel and a source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    python = environment(folder / "builder")
    run(python, "-m", "pip", "install", "-q", "build")
    run(python, "-m", "build", "-q", "--outdir", folder, ROOT)
    return {"wheel": next(folder.glob("*.whl")), "sdist": next(folder.glob("*.tar.gz"))}


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, and what it needs, alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from install import install
    folder = tmp_path_factory.mktemp("installed") / "venv"
    beyond = {name: size for name, (size, _) in install(folder, [(str(built["wheel"]),)]).items()}
    python = folder / "bin/python"
    assert len(beyond) <= MOST_PACKAGES and sum(beyond.values()) <= MOST_MEGABYTES, beyond
    return python


def test_a_new_user_denoises_a_file_offline_with_a_read_only_home(installed: Path, tmp_path: Path) -> None:
    home, work = tmp_path / "file", tmp_path / "work"
    home.write_text("a home below this file cannot be written, by no user")
    work.mkdir()
    nowhere = "http://127.0.0.1:9"  # nothing answers there
    surroundings = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG")},
        "HOME": str(home / "home"), "http_proxy": nowhere, "https_proxy": nowhere,
    }  # fmt: skip
    noisewise = installed.parent / "noisewise"

    def call(*arguments: str) -> str:
        command = [str(noisewise), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=work, env=surroundings)
        assert done.returncode == 0 and "atplotlib" not in done.stderr, done.stderr
        return done.stdout

    assert "denoise" in call("--help")
    call("simulate", "--scene", "nuclei", "--size", "128x128", "-o", "cells.tif")
    call("denoise", "cells.tif", "--steps", "0", "--std", "--report")
    noisy, denoised = tifffile.imread(work / "cells.tif"), tifffile.imread(work / "cells_denoised.tif")
    truth = tifffile.imread(work / "cells_truth.tif")
    assert denoised.shape == noisy.shape and denoised.dtype == noisy.dtype
    errors = [float(np.square(image - truth).mean()) for image in (noisy.astype(float), denoised.astype(float))]
    assert errors[1] < 0.2 * errors[0]
    assert (work / "cells_denoised_report.html").stat().st_size > 10_000
    assert json.loads(call("doctor", "--json"))["problems"] == ["none found"]


@pytest.fixture(scope="module")
def with_extras(installed: Path, built: dict[str, Path]) -> Path:
    """The same environment, with the readers of microscopes' files and what models are exported with."""
    run(installed, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{built['wheel']}[formats,zoo]")
    return installed


def test_regions_are_measured_with_error_bars(installed: Path, tmp_path: Path) -> None:
    noisewise = installed.parent / "noisewise"
    run(noisewise, "simulate", "--scene", "nuclei", "--size", "128x128", "-o", "cells.tif", cwd=tmp_path)
    truth = tifffile.imread(tmp_path / "cells_truth.tif")
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((32, 32))).astype(np.uint8)
    tifffile.imwrite(tmp_path / "masks.tif", labels)
    run(noisewise, "quantify", "cells.tif", "--labels", "masks.tif", "-o", "table.csv", cwd=tmp_path)
    with (tmp_path / "table.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["measurement"] == "mean"]
    assert len(rows) == 16
    inside = [float(r["low"]) <= truth[labels == int(r["label"])].mean() <= float(r["high"]) for r in rows]
    assert np.mean(inside) >= 0.6  # of intervals that hold nine in ten


def test_a_model_is_exported_validated_and_used_elsewhere(with_extras: Path, tmp_path: Path) -> None:
    folder = with_extras.parent
    run(folder / "noisewise", "simulate", "--scene", "nuclei", "--size", "96x96", "-o", "cells.tif", cwd=tmp_path)
    noisy = tifffile.imread(tmp_path / "cells.tif")
    made = ("denoise", "cells.tif", "--method", "simulated", "--steps", "0", "--model", "cells.safetensors")
    run(folder / "noisewise", *made, "--float32", "--average", "no", "--no-report", cwd=tmp_path)
    for name in ("cells.zip", "cells.onnx"):
        run(folder / "noisewise", "export", "cells.safetensors", "-o", name, cwd=tmp_path)
    run(folder / "bioimageio", "test", "cells.zip", cwd=tmp_path)
    np.save(tmp_path / "in.npy", noisy[None, None].astype(np.float32))
    code = (
        "import numpy as np, onnxruntime as o; s = o.InferenceSession('cells.onnx');"
        "np.save('out.npy', s.run(None, {s.get_inputs()[0].name: np.load('in.npy')})[0])"
    )
    run(with_extras, "-c", code, cwd=tmp_path)
    found, ours = np.load(tmp_path / "out.npy")[0, 0], tifffile.imread(tmp_path / "cells_denoised.tif")
    noise = float((noisy - ours).std())
    assert abs(found - ours - (found - ours).mean()).max() < 1e-3 * noise  # ours also keeps the image's mean


def test_files_of_microscopes_are_read(with_extras: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).poisson(50, (1, 1, 3, 1, 64, 64)).astype(np.uint16)  # (P, T, Z, C, Y, X)
    write_nd2(tmp_path / "a.nd2", pixels, ["GFP"])
    write_czi(tmp_path / "a.czi", pixels)
    write_lif(tmp_path / "a.lif", {"image": np.moveaxis(pixels[0], 2, 0)})
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(pixels[0, 0, :, 0])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported"] = pixels[0, 0, :, 0]
    for name in ("a.nd2", "a.czi", "a.lif", "a.mrc", "a.h5"):
        run(
            with_extras.parent / "noisewise", "denoise", name, "--axes" if name == "a.h5" else "--quiet",
            *(["ZYX"] if name == "a.h5" else []), "--steps", "0", "-o", f"{name}.ome.tif", "--no-report", cwd=tmp_path,
        )  # fmt: skip
        with tifffile.TiffFile(tmp_path / f"{name}.ome.tif") as file:
            assert file.is_ome and file.asarray().shape[-2:] == (64, 64) and file.asarray().dtype == np.uint16


def test_the_source_distribution_is_complete_and_small(built: dict[str, Path], tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    assert built["sdist"].stat().st_size < 20e6 and built["wheel"].stat().st_size < 10e6
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, built["sdist"])
    again = next(tmp_path.glob("*.whl"))
    assert abs(again.stat().st_size - built["wheel"].stat().st_size) < 100
