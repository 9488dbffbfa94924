"""Peak memory of training and prediction against what was planned, in processes of their own.

The plan is what the same command needs for an image of 24 x 24 pixels, and what the code plans beyond that: in
training five bytes for each pixel, and in prediction into a file the outputs of all layers for the largest tile. It is
at least what the inspection of an image needs, which uses a part of a large one (measured with an image of that size).
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

import noisewise as nw
from noisewise.axes import region_shape
from noisewise.predict.receptive_field import bytes_per_pixel
from noisewise.predict.run import TILE_BYTES, Predictor
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
    return max(one_peak_mb(arguments) for _ in range(REPEATS))


def one_peak_mb(arguments: list[str]) -> float:
    """The same of a single run."""
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
        fixed: dict[tuple[str, str], float] = {}
        for name in names:
            (shape, dtype), axes = CASES[name], AXES.get(name, "YX")
            tiny = (*SMALL[axes][:-2], 24, 24)
            for label, size in (("tiny", tiny), ("small", SMALL[axes]), ("image", shape)):
                write_image(place / f"{label}.tif", size, dtype, axes)
            for task in ("train", "predict"):
                for label in ("tiny", "small"):
                    if (key := (label, task + axes + dtype)) not in fixed:
                        fixed[key] = peak_mb(of(task, place, label))
                base = fixed["tiny", task + axes + dtype]
                if task == "train":
                    more = 5 * (prod(shape) - prod(tiny)) / 1e6
                else:
                    more = planned_tile_mb(place / "image.tif", place / "tiny.safetensors")
                planned = max(fixed["small", task + axes + dtype], base + more)
                peak = peak_mb(of(task, place, "image"))
                yield {
                    "image": name, "shape": list(shape), "task": task, "megapixels": prod(shape) / 1e6,
                    "planned_mb": round(planned), "peak_mb": round(peak), "ratio": round(peak / planned, 3),
                }  # fmt: skip
            for path in place.glob("*.tif"):
                path.unlink()


def planned_tile_mb(image: Path, path: Path) -> float:
    """What the code plans for the largest tile beyond what 24 x 24 pixels need, MB."""
    model = nw.load(path)
    predictor = Predictor(model.method, model.net)
    with nw.io.open_source(image) as source:
        size = tuple(source.size_of(axis) for axis in model.spec.spatial)
    tiles = predictor._tiles(size, predictor.pixels, predictor.net.stride)
    pixels = max(prod(region_shape(tile.read)) for tile in tiles)
    return (bytes_per_pixel(predictor.net) + TILE_BYTES) * pixels / 1e6


def of(task: str, place: Path, label: str) -> list[str]:
    """The command line of a task; prediction uses the model that was trained on the smallest image."""
    image = str(place / f"{label}.tif")
    model = str(place / ("tiny.safetensors" if task == "predict" else f"{label}.safetensors"))
    if task == "train":
        return ["train", "n2v", image, "-o", model, "--overwrite", "--steps", "2", "--spatial", "YX", *QUICK_OPTIONS]
    return ["predict", model, image, "-o", str(place / f"{label}_out.tif"), "--overwrite", "--average", "no"]
