"""Speed: training steps and predicted megapixels a second, compared with CAREamics in the same run.

    make peer && python benchmarks/speed.py        (about 4 minutes)

Both train the classic N2V U-Net (two poolings, 32 features, batch norm) on patches of 64 x 64, 16 a step, on a
float image of 512 x 512, and predict it whole, and one of 2048 x 2048 in tiles, as a user would call it. The rounds
alternate, the best of each counts. GFLOP/s are computed from the convolutions; a training step counts as three forward
passes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from common import PEER, make_parser, matrix_peak, table, write
from noisewise.io import open_source
from noisewise.methods.n2v import N2V
from noisewise.model import Model
from noisewise.train.loop import Trainer
from noisewise.train.state import TrainState
from noisewise.workflow.training import Training

PATCH, BATCH = 64, 16


def image(size: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 10, (size, size)).astype(np.float32)


def flops_per_pixel(model: Model) -> float:
    """Multiplications and additions of the convolutions for each input pixel, in one forward pass."""
    count = 0.0

    def add(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:  # noqa: ARG001
        nonlocal count
        count += 2 * output.numel() * layer.weight[0].numel()

    convolutions = [m for m in model.net.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    hooks = [layer.register_forward_hook(add) for layer in convolutions]
    with torch.no_grad():
        model.method.posterior(model.net, torch.zeros(1, 1, 64, 64))
    for hook in hooks:
        hook.remove()
    return count / 64**2


def measure(method: N2V, seconds: float) -> dict[str, float]:
    """Steps and megapixels a second of this package."""
    training = Training(method, [open_source(image(512))])
    trainer = Trainer(method, training.model.net, training.patches, TrainState(steps=1_000_000))
    for _ in range(5):
        trainer.step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        trainer.step()
        count += 1
    result = {"train_steps_per_s": count / (time.perf_counter() - start)}
    trainer.finish()
    model = training.model
    for name, size in (("whole_512", 512), ("tiled_2048", 2048)):
        data, times = image(size), []
        for _ in range(3):
            start = time.perf_counter()
            model.predict(data, average=False)
            times.append(time.perf_counter() - start)
        result[f"predict_{name}_mpx_per_s"] = data.size / 1e6 / min(times)
    flops = flops_per_pixel(model)
    result["train_gflops"] = 3 * flops * BATCH * PATCH**2 * result["train_steps_per_s"] / 1e9
    result["predict_gflops"] = flops * result["predict_tiled_2048_mpx_per_s"] / 1e3
    return result


def measure_peer(seconds: float) -> dict[str, float]:
    """The same for CAREamics, in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "speed.json"
        script = Path(__file__).with_name("peer.py")
        command = [PEER, script, "speed", out, "--seconds", str(seconds)]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return {k: v for k, v in json.loads(out.read_text()).items() if k != "torch"}


def start_up() -> dict[str, float]:
    """Seconds of whole processes, best of five: Python itself, `import noisewise` and `noisewise --help`."""

    def best(*command: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return min(times)

    return {
        "python_s": best("-c", "pass"),
        "import_s": best("-c", "import noisewise"),
        "help_s": best("-m", "noisewise", "--help"),
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of training in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-peer", action="store_true")
    arguments = parser.parse_args()

    classic = N2V(
        network="classic", batch_size=BATCH, patch_size=PATCH, mask_percent=0.2, masking="uniform", mask_radius=5
    )
    runs: dict[str, list[dict[str, float]]] = {"careamics": [], "classic": [], "fast": []}
    for _ in range(arguments.rounds):
        if not arguments.no_peer:
            runs["careamics"].append(measure_peer(arguments.seconds))
        runs["classic"].append(measure(classic, arguments.seconds))
        runs["fast"].append(measure(N2V(batch_size=BATCH, patch_size=PATCH), arguments.seconds))
    best = {who: {k: max(r[k] for r in rounds) for k in rounds[0]} for who, rounds in runs.items() if rounds}
    peak = matrix_peak()
    rows = []
    for key in best["classic"]:
        peer = best.get("careamics", {}).get(key)
        ratio = best["classic"][key] / peer if peer else float("nan")
        rows.append([key, peer or float("nan"), best["classic"][key], ratio, best["fast"][key]])
    print(table(rows, ["", "CAREamics 0.3.5", "classic", "classic / CAREamics", "fast"]))
    times = start_up()
    print(f"matrix peak {peak:.0f} GFLOP/s; {times}")
    result = {"best": best, "runs": runs, "matrix_peak_gflops": peak, "start_up": times}
    write("speed", result, arguments.dry)


if __name__ == "__main__":
    main()
