"""Time to the first result: the pretrained network from a cold start, and its speed and memory on a large image.

    python benchmarks/first_result.py        (a minute on two cores)

The time is that of the whole command, `noisewise denoise IMAGE --budget 5s --std`, for a photon-limited image of
512 x 512; best of three. Its limit is the time that `import torch` and one pass of the network take. The speed is that
of `Model.predict` on 2048 x 2048, best of three; memory is that of the whole process. The limit is the processor's best
matrix product over the network's operations. In the same run: the speed of the U-Net that was packaged before
(`network="large"`), and that of a plane among others.
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


def torch_import() -> float:
    """Seconds of `import torch` in a process of its own."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def seconds_to_predict(model: nw.Model, image: np.ndarray) -> float:
    """The best of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        model.predict(image, average=False)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    arguments = make_parser(__doc__).parse_args()
    image, large = photons(512), photons(2048)
    first, importing = cold_start(image), torch_import()
    model = nw.denoise(image, method="simulated", steps=0).model
    speed = large.size / 1e6 / seconds_to_predict(model, large)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    before = nw.denoise(image, method="simulated", network="large", steps=1).model
    stack = np.stack([image] * 16)
    among = nw.denoise(stack, axes="ZYX", method="simulated", spatial="ZYX", steps=0).model
    one_pass = seconds_to_predict(model, image)
    operations, peak = flops_per_pixel(model), matrix_peak()
    result = {
        "first_result_s": first, "import_torch_s": importing, "one_pass_s": one_pass,
        "over_limit": first / (importing + one_pass), "prior_mpx_per_s": speed,
        "before_mpx_per_s": large.size / 1e6 / seconds_to_predict(before, large),
        "among_planes_mpx_per_s": stack.size / 1e6 / seconds_to_predict(among, stack),
        "floor_mpx_per_s": 1e3 * peak / operations, "peak_memory_mb": memory, "matrix_peak_gflops": peak,
        "operations_per_pixel": operations,
    }  # fmt: skip
    print(result)
    write("first_result", result, arguments.dry)


if __name__ == "__main__":
    main()
