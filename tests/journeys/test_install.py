"""Wheel and source distribution, each installed into an empty environment, and used as a new user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MOST_PACKAGES, MOST_MEGABYTES = 35, 300  # beyond torch, without the bytecode that Python caches
TORCH = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
SIZES = """
import importlib.metadata as m, json, os
def size(file):
    return os.path.getsize(file) if os.path.isfile(file) and not str(file).endswith(".pyc") else 0
print(json.dumps({d.metadata["Name"].lower(): sum(map(size, map(d.locate_file, d.files or []))) / 1e6
    for d in m.distributions()}))
"""


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
    python = environment(tmp_path_factory.mktemp("installed") / "venv")
    run(python, "-m", "pip", "install", "-q", TORCH)
    before = json.loads(run(python, "-c", SIZES))
    run(python, "-m", "pip", "install", "-q", built["wheel"])
    after = json.loads(run(python, "-c", SIZES))
    beyond = {name: size for name, size in after.items() if name not in before}
    assert len(beyond) <= MOST_PACKAGES and sum(beyond.values()) <= MOST_MEGABYTES, beyond
    return python


def test_a_new_user_denoises_a_file_offline_with_a_read_only_home(installed: Path, tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir(mode=0o555)
    work.mkdir()
    nowhere = "http://127.0.0.1:9"  # nothing answers there
    surroundings = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "OMP_NUM_THREADS")},
        "HOME": str(home), "http_proxy": nowhere, "https_proxy": nowhere,
    }  # fmt: skip
    noisewise = installed.parent / "noisewise"

    def call(*arguments: str) -> str:
        return run(noisewise, *arguments, cwd=work, env=surroundings)

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
    assert not any(home.iterdir())


def test_the_source_distribution_is_complete_and_small(built: dict[str, Path], tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    assert built["sdist"].stat().st_size < 20e6 and built["wheel"].stat().st_size < 10e6
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, built["sdist"])
    again = next(tmp_path.glob("*.whl"))
    assert abs(again.stat().st_size - built["wheel"].stat().st_size) < 100
