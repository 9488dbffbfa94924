"""Peak memory of training and prediction against what was planned, in processes of their own.

The plan of a command is what the same command needs for an image of 2 to 4 megapixels (of more, the check-up uses a
part, and prediction divides them into tiles), and what the code plans for the other pixels of the image: five bytes for
each in training, none in prediction into a file.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from robustness_corpus import QUICK_OPTIONS
from robustness_fuzz import environment

CASES = {
    "2D uint16": ((4096, 4096), "uint16"), "2D float32": ((4096, 4096), "float32"),
    "stack uint16": ((24, 1536, 1536), "uint16"), "movie uint16": ((16, 1024, 1024), "uint16"),
    "2D uint16, large": ((10240, 10240), "uint16"),
}  # fmt: skip
REPEATS = 2  # the peak is sampled, and may be missed
AXES = {"stack uint16": "ZYX", "movie uint16": "TYX"}
SMALL = {"ZYX": (8, 1536, 1536), "TYX": (8, 1024, 1024), "YX": (2048, 2048)}


def write_image(path: Path, shape: tuple[int, ...], dtype: str, axes: str) -> None:
    """Write an image plane by plane, in bands, so that this process needs little memory."""
    rng = np.random.default_rng(0)
    array = tifffile.memmap(path, shape=shape, dtype=dtype, metadata={"axes": axes})
    flat = array.reshape(-1, shape[-1])
    for start in range(0, len(flat), 1024):
        flat[start : start + 1024] = rng.poisson(100, flat[start : start + 1024].shape)
    array.flush()


def peak_mb(arguments: list[str]) -> float:
    """Peak resident memory of the command, MB; without the pages of files that are mapped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "noisewise", *arguments], env=environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    most = 0
    while process.poll() is None:
        found = re.search(r"RssAnon:\s+(\d+)", status_of(process.pid))
        most = max(most, int(found[1]) if found else 0)
        time.sleep(0.002)
    assert process.returncode == 0 and process.stderr is not None, process.stderr.read()
    return most / 1000


def status_of(process: int) -> str:
    """What the system says of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{process}/status").read_text()
    except OSError:
        return ""


def measured(names: list[str]) -> Iterator[dict[str, Any]]:
    """Peak and plan of training and of prediction, for each image."""
    with tempfile.TemporaryDirectory(prefix="noisewise-memory-") as folder:
        place = Path(folder)
        base: dict[tuple[str, str], float] = {}
        for name in names:
            (shape, dtype), axes = CASES[name], AXES.get(name, "YX")
            for label, size in (("small", SMALL[axes]), ("image", shape)):
                write_image(place / f"{label}.tif", size, dtype, axes)
            for task in ("train", "predict"):
                commands = {label: of(task, place, label) for label in ("small", "image")}
                key = (task, axes + dtype)
                if key not in base:
                    base[key] = max(peak_mb(commands["small"]) for _ in range(REPEATS))
                planned = base[key] + (5 * (prod(shape) - prod(SMALL[axes])) / 1e6 if task == "train" else 0.0)
                peak = max(peak_mb(commands["image"]) for _ in range(REPEATS))
                yield {
                    "image": name, "shape": list(shape), "task": task, "megapixels": prod(shape) / 1e6,
                    "planned_mb": round(planned), "peak_mb": round(peak), "ratio": round(peak / planned, 3),
                }  # fmt: skip
            for path in place.glob("*.tif"):
                path.unlink()


def of(task: str, place: Path, label: str) -> list[str]:
    """The command line of a task."""
    image, model = str(place / f"{label}.tif"), str(place / f"{label}.safetensors")
    if task == "train":
        return ["train", "n2v", image, "-o", model, "--overwrite", "--steps", "2", "--spatial", "YX", *QUICK_OPTIONS]
    return ["predict", model, image, "-o", str(place / f"{label}_out.tif"), "--overwrite", "--average", "no"]
