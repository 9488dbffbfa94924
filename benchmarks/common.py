"""Shared by the benchmarks: where data are found, how rows are kept, what the machine can do."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image

DATA = Path(os.environ.get("NOISEWISE_DATA", Path(__file__).parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results"
PEER = Path(__file__).parents[1] / ".peer" / "bin" / "python"
# Row keys of `simulated` without any training: with the measured noise model, and with the true one.
UNTRAINED, UNTRAINED_TRUE_NOISE = "pretrained", "pretrained_true_noise"


def natural(folder: str) -> list[np.ndarray]:
    """Natural images in grey, 0 to 255, of Set12 or BSD68."""
    return [np.asarray(Image.open(path), np.float64) for path in sorted((DATA / "natural" / folder).glob("*.png"))]


def in_units_of(noisy: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A truth after the line that brings it to the units of a noisy image."""
    slope, offset = np.polyfit(truth.ravel().astype(float), noisy.ravel().astype(float), 1)
    return np.asarray(slope * truth + offset)


def method_and_length(label: str, budget: float, steps: int | None) -> tuple[str, dict[str, Any]]:
    """Name of the method that a row's method stands for, and its budget or number of steps."""
    if label in (UNTRAINED, UNTRAINED_TRUE_NOISE):
        return "simulated", {"steps": 0}
    return label, {"budget": budget} if steps is None else {"steps": steps}


def matrix_peak(seconds: float = 2.0) -> float:
    """GFLOP/s of the best float32 matrix product, 2048 x 2048: the reference for speeds."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def write(name: str, result: dict[str, Any], dry: bool = False) -> None:
    """Keep a result as JSON, with the machine that it was measured on."""
    if dry:
        return
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    print(f"wrote {path}")


def make_parser(description: str | None, rows: bool = False) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have. rows: whether the results are `Rows`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="keep no results")
    if rows:
        parser.add_argument("--again", action="store_true", help="also measure rows that are there")
        parser.add_argument("--save", type=Path, help="folder for the denoised images")
    return parser


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Settings of a method from name=value."""
    return {key: json.loads(value) for key, value in (pair.split("=") for pair in pairs)}


class Rows:
    """Results kept row by row: a benchmark that was interrupted continues where it stopped.

    A row holds the fields that distinguish it from others, its key, then what was measured. arguments: of
    `make_parser`. about: settings that all rows share, written beside them.
    """

    def __init__(self, name: str, arguments: argparse.Namespace, **about: Any) -> None:
        self.name, self.about, self.path = name, about, RESULTS / f"{name}.json"
        self.dry, self.again = arguments.dry, arguments.again or arguments.dry
        self.rows = self._read()

    def _read(self) -> list[dict[str, Any]]:
        """The rows in the file; another process may have added some."""
        return list(json.loads(self.path.read_text())["rows"]) if self.path.exists() else []

    def measure(self, work: Callable[[], dict[str, Any]], **key: Any) -> None:
        """Measure a row that is missing, print it and keep it."""
        if self.again or not any(matches(row, key) for row in self.rows):
            self.keep(work(), **key)

    def keep(self, measured: dict[str, Any], **key: Any) -> None:
        """Print a row, and write it to the file in place of an older one with the same key."""
        row = key | measured
        print(json.dumps(row), flush=True)
        if not self.dry:
            self.rows = [old for old in self._read() if not matches(old, key)] + [row]
            write(self.name, {**self.about, "rows": self.rows})


def matches(row: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether a row has this key."""
    return all(row.get(name) == value for name, value in key.items())


def save_image(folder: Path | None, name: str, image: np.ndarray | list[np.ndarray]) -> None:
    """Save an image, or a stack of images of one size, as float32 TIFF, if there is a folder for it."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"{name}.tif", np.float32(image))


def table(rows: list[list[Any]], header: list[str]) -> str:
    """A Markdown table; floats with two decimals."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(f"{c:.2f}" if isinstance(c, float) else str(c) for c in line) + " |" for line in lines
    )
