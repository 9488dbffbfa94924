"""Samples of the posterior: speed with the image encoded once compared with once for each sample, and memory.

    python benchmarks/samples.py                  (three minutes on two cores)
    python benchmarks/samples.py --device cuda

An image of 512 x 512 pixels. `together`: as in `Model.draw`, the image is encoded once. `anew`: the same samples, the
image encoded for each. The network is trained for two steps, since weights do not matter for the time. Memory is the
largest resident size of a separate process for each number of samples.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import noisewise as nw
from common import machine, make_parser, parse_settings, write
from noisewise.io import open_source
from noisewise.io.base import Sink
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.predict.outputs import Outputs, Samples
from noisewise.predict.run import Predictor

SIDE, COUNT, REPEATS = 512, 100, 3
NUMBERS = (10, 100, 400)


class Moments(Sink):
    """Adds up samples without keeping them."""

    dtype = np.dtype(np.float32)

    def __init__(self) -> None:
        self.total = np.zeros((SIDE, SIDE), np.float64)

    def write(self, region: Any, pixels: np.ndarray) -> None:  # noqa: ARG002
        self.total += pixels[0]

    def commit(self) -> None:
        pass

    def discard(self) -> None:
        pass


def model_of(method: str, device: str, settings: dict[str, Any]) -> tuple[nw.Model, np.ndarray]:
    """A model after two training steps, and an image."""
    image = np.random.default_rng(0).poisson(20.0, (SIDE, SIDE)).astype(np.float32)
    noise_model = PoissonGaussian(1.0, 0.0, 0.0)
    return nw.train(method, image, noise=noise_model, steps=2, device=device, **settings), image


def sum_together(model: nw.Model, image: np.ndarray, numbers: range) -> np.ndarray:
    """Sum of samples; the image is encoded once."""
    source, sink = open_source(image), Moments()
    samples = Samples(numbers, 0, sink, lambda region, number: (slice(number, number + 1), *region))
    model.predict_to(source, Outputs(samples=samples))
    return sink.total


def sum_anew(model: nw.Model, image: np.ndarray, count: int) -> np.ndarray:
    """The same; the image is encoded for each sample."""
    predictor = Predictor(model.method, model.net, sampling=True)
    noisy, total = torch.from_numpy(image)[None, None].to(model.net.mean.device), np.zeros((SIDE, SIDE), np.float64)
    for number in range(count):
        total += predictor.sampler(noisy)([number])[0, 0, 0].cpu().numpy()
    return total


def best(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Seconds of the fastest of some repetitions, and the result."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        found = work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times), found


def peak(method: str, device: str, settings: dict[str, Any], count: int, queue: Any) -> None:
    """Largest resident size of this process after so many samples, MB."""
    sum_together(*model_of(method, device, settings), range(count))
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--method", default="hdn")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method, name=value")
    arguments = parser.parse_args()
    settings = parse_settings(arguments.set)
    model, image = model_of(arguments.method, arguments.device, settings)
    sum_together(model, image, range(4))
    together, first = best(lambda: sum_together(model, image, range(COUNT)), arguments.device)
    few, second = best(lambda: sum_anew(model, image, COUNT // 10), arguments.device)
    assert np.allclose(sum_together(model, image, range(COUNT // 10)), second, rtol=1e-3)
    context, memory = multiprocessing.get_context("spawn"), {}
    for count in NUMBERS:
        queue = context.Queue()
        process = context.Process(
            target=peak, args=(arguments.method, arguments.device, settings, count, queue)
        )  # fmt: skip
        process.start()
        memory[count] = queue.get()
        process.join()
    result = {
        "method": arguments.method, "side": SIDE, "samples": COUNT, "together_s": together, "anew_s": 10 * few,
        "times_faster": 10 * few / together, "samples_a_second": COUNT / together, "memory_mb": memory,
        "parameters": sum(p.numel() for p in model.net.parameters()), "mean_of_sum": float(first.mean()),
    }  # fmt: skip
    print(json.dumps(machine() | result, indent=2))
    write("samples", result, arguments.dry)


if __name__ == "__main__":
    main()
