"""Time to the first result: the pretrained network from a cold start, and its speed and memory on a large image.

    python benchmarks/first_result.py        (a minute on two cores)

The time is that of the whole command, `noisewise denoise IMAGE --budget 5s --std`, for a photon-limited image of
512 x 512; best of three. The speed is that of `Model.predict` on 2048 x 2048, best of three; memory is that of the
whole process. The limit (`floor`) is the processor's best matrix product over the network's operations.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

import noisewise as nw
from common import make_parser, matrix_peak, write
from noisewise.scenes import draw
from speed import flops_per_pixel


def photons(size: int) -> np.ndarray:
    """A synthetic scene of up to twenty photons per pixel, 2 ADU each."""
    scene = draw("mixed", (size, size), 0).numpy()
    return (2 * np.random.default_rng(0).poisson(20 * scene) + 100).astype(np.uint16)


def cold_start(image: np.ndarray) -> float:
    """Seconds until the command has written its result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.tif"
        tifffile.imwrite(path, image)
        command = [sys.executable, "-m", "noisewise", "denoise", str(path), "--budget", "5s", "--std", "--overwrite"]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    first = cold_start(photons(512))
    model = nw.denoise(photons(512), method="simulated", steps=0).model
    large, times = photons(2048), []
    for _ in range(3):
        start = time.perf_counter()
        model.predict(large, average=False)
        times.append(time.perf_counter() - start)
    operations, peak = flops_per_pixel(model), matrix_peak()
    speed = large.size / 1e6 / min(times)
    result = {
        "first_result_s": first, "prior_mpx_per_s": speed, "floor_mpx_per_s": 1e3 * peak / operations,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "matrix_peak_gflops": peak,
        "operations_per_pixel": operations,
    }  # fmt: skip
    print(result)
    write("first_result", result, arguments.dry)


if __name__ == "__main__":
    main()
