"""What the benchmarks share: where data lie, how results are written, what the machine can do."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

DATA = Path(os.environ.get("NOISEWISE_DATA", Path(__file__).parents[2] / "shared" / "data"))
RESULTS = Path(__file__).parent / "results"
PEER = Path(__file__).parents[1] / ".peer" / "bin" / "python"


def natural(folder: str) -> list[np.ndarray]:
    """Grey images, 0 to 255, of Set12 or BSD68."""
    return [np.asarray(Image.open(path), np.float64) for path in sorted((DATA / "natural" / folder).glob("*.png"))]


def asked(method: str, steps: int | None) -> tuple[str, int | None]:
    """Method and steps of a name in the tables: `prior`, told the law or not, is `simulated` without any training."""
    return ("simulated", 0) if method.startswith("prior") else (method, steps)


def psnr(estimate: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """Peak signal-to-noise ratio, dB."""
    error = np.mean((np.asarray(estimate, np.float64) - truth) ** 2)
    return float(10 * np.log10(data_range**2 / error))


def matrix_peak(seconds: float = 2.0) -> float:
    """GFLOP/s of the best float32 matrix product, 2048 x 2048: the floor that speeds are held against."""
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


def write(name: str, result: dict[str, Any]) -> None:
    """Keep a result as JSON, with the machine it comes from."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    print(f"wrote {path}")


class Rows:
    """Results that are kept row by row, so that a benchmark that was cut off goes on where it was.

    keys: the fields that tell rows apart.
    """

    def __init__(self, name: str, keys: list[str], **about: Any) -> None:
        self.name, self.keys, self.input_statistics, self.path = name, keys, about, RESULTS / f"{name}.json"
        self.rows = self.read()

    def read(self) -> list[dict[str, Any]]:
        """What is there; another run may have added to it."""
        return list(json.loads(self.path.read_text())["rows"]) if self.path.exists() else []

    def has(self, **key: Any) -> bool:
        """Whether a row is there."""
        return any(all(row.get(k) == v for k, v in key.items()) for row in self.rows)

    def once(self, measure: Callable[[], dict[str, Any]], dry: bool, **key: Any) -> None:
        """Measure a row that is not there yet, say it and keep it; dry: always, and it is not kept."""
        if not dry and self.has(**key):
            return
        row = measure()
        print(row, flush=True)
        if not dry:
            self.keep(row)

    def keep(self, row: dict[str, Any]) -> None:
        """Add a row, in place of an older one with the same keys, and write the file."""
        self.rows = [old for old in self.read() if any(old.get(k) != row.get(k) for k in self.keys)] + [row]
        write(self.name, {**self.input_statistics, "rows": self.rows})


def table(rows: list[list[Any]], header: list[str]) -> str:
    """A Markdown table; floats with two decimals."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(f"{c:.2f}" if isinstance(c, float) else str(c) for c in line) + " |" for line in lines
    )
