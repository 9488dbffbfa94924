"""CAREamics as a benchmark peer; runs in an environment of its own (`make peer`).

    python benchmarks/peer.py quality IMAGES.npy OUT.npz --seconds 60 300
    python benchmarks/peer.py speed OUT.json

CAREamics imports torchvision for a version string and for a network that N2V does not use. The stub below replaces it,
so that both sides of the comparison run on the same torch.
"""

import argparse
import json
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch

for _name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    _stub = types.ModuleType(_name)
    _stub.__version__ = "0.26.0"
    _stub.__path__ = []
    sys.modules[_name] = _stub

from careamics.careamist import CAREamist  # noqa: E402
from careamics.config.factories.n2v_factory import create_advanced_n2v_config  # noqa: E402

warnings.filterwarnings("ignore")


class Clock(pl.Callback):
    """Counts training steps, snapshots the weights at each mark, stops at the last."""

    def __init__(self, marks, folder):
        self.marks, self.snapshots, self.steps = list(marks), [], []
        self.folder = folder
        self.start = None
        self.step_times = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if self.start is None:
            self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        now = time.perf_counter() - self.start
        self.step_times.append(now)
        if now >= self.marks[len(self.snapshots)]:
            self.snapshots.append(f"{self.folder}/snapshot_{len(self.snapshots)}.ckpt")
            trainer.save_checkpoint(self.snapshots[-1])
            self.steps.append(trainer.global_step)
            trainer.should_stop = len(self.snapshots) == len(self.marks)


def train(image, marks, seed, folder, num_workers):
    """N2V with CAREamics' defaults (classic U-Net, Adam, 0.2 % masks) until the last mark."""
    config = create_advanced_n2v_config(
        "peer", "array", "YX", patch_size=(64, 64), batch_size=16, num_epochs=1_000_000,
        num_workers=num_workers, seed=seed + 1,
    )  # fmt: skip
    clock = Clock(marks, folder)
    careamist = CAREamist(config, work_dir=folder, callbacks=[clock], enable_progress_bar=False)
    careamist.train(train_data=image)
    return careamist, clock


def predict(careamist, image, tile_size=None, overlap=None, checkpoint=None):
    kwargs = {} if tile_size is None else {"tile_size": tile_size, "tile_overlap": overlap}
    out, _ = careamist.predict(image, checkpoint=checkpoint, **kwargs)
    return np.squeeze(out[0])


def quality(args):
    images = np.load(args.images).astype(np.float32)
    predictions, steps = [], []
    for index, image in enumerate(images):
        with tempfile.TemporaryDirectory() as folder:
            careamist, clock = train(image, args.seconds, args.seed, folder, args.num_workers)
            rows = []
            for snapshot in clock.snapshots:
                rows.append(predict(careamist, image, checkpoint=snapshot))
            predictions.append(rows)
            steps.append(clock.steps)
        print(index, steps[-1], flush=True)
        np.savez(args.out, predictions=np.array(predictions), steps=np.array(steps), seconds=args.seconds)


def speed(args):
    image = np.random.default_rng(0).normal(100, 10, (512, 512)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        careamist, clock = train(image, [args.seconds[0]], 0, folder, args.num_workers)
        warm = len(clock.step_times) // 4
        elapsed = clock.step_times[-1] - clock.step_times[warm]
        result = {"train_steps_per_s": (len(clock.step_times) - 1 - warm) / elapsed}
        big = np.random.default_rng(0).normal(100, 10, (2048, 2048)).astype(np.float32)
        cases = {"whole_512": (image, None, None), "tiled_2048": (big, (256, 256), (48, 48))}
        for name, (data, tile, overlap) in cases.items():
            predict(careamist, image)
            times = []
            for _ in range(3):
                start = time.perf_counter()
                predict(careamist, data, tile, overlap)
                times.append(time.perf_counter() - start)
            result[f"predict_{name}_mpx_per_s"] = data.size / 1e6 / min(times)
    result["torch"] = torch.__version__
    Path(args.out).write_text(json.dumps(result, indent=2))
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for command, arguments in ((quality, ("images", "out")), (speed, ("out",))):
        sub = commands.add_parser(command.__name__)
        for argument in arguments:
            sub.add_argument(argument)
        sub.add_argument("--seconds", type=float, nargs="+", default=[60.0])
        sub.add_argument("--seed", type=int, default=0)
        sub.add_argument("--num-workers", type=int, default=0)
        sub.set_defaults(run=command)
    arguments = parser.parse_args()
    arguments.run(arguments)
