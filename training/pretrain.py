"""Trains the packaged prior: one network for many laws of noise, from drawn scenes alone.

    python benchmarks/prior.py --steps 60000            (hours on two cores; resumes where it was cut off)
    python benchmarks/prior.py --steps 60000 --further  (goes on from the packaged weights, at half the learning rate)
    python benchmarks/prior.py --steps 60000 --install  (and puts the result into the package)

Scenes are drawn once (`scenes.draw("mixed", ...)`, seeds 0 to 7999) and kept beside the run. Every patch gets a law of
its own, out of the range that `exposed` spells out, and the network is told that law as in use. A patch's error counts
over its root, so that patches of few details, or much noise, weigh about as much as others. The curve of the
held-out error is kept with the weights. The packaged weights came of three such runs, one from the other's, while the
scenes grew richer; the file holds the record of each.
"""

from __future__ import annotations

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from noisewise.container import read_container
from noisewise.methods._scenes import PRIOR, WIDTH_WEIGHT, hardness, learned, prior_weights, save_prior
from noisewise.methods.base import Batch, ImageSpec
from noisewise.methods.simulated import Simulated
from noisewise.nets.standardized import Standardized
from noisewise.noise.models.correlated import filtered
from noisewise.noise.ops.conditioning import LAGS, NoiseFeatures, correlation
from noisewise.scenes import draw
from noisewise.scenes.rng import Rng
from noisewise.scenes.pool import random_patch
from noisewise.train.loop import TrainState, fit

SCENES, SIDE, PATCH = 8000, 192, 64
HELD_OUT = 200  # scenes that only test
HELD_OUT_BATCH = 128
FURTHER_RATE = 1e-3  # peak of the learning rate for weights that have learned before


@dataclass
class Law:
    """What one patch is seen through, in photons: variance = slope · s + read, then rows, columns, rounding."""

    slope: float
    read: float
    spread: float = 0.0  # of a photon's pulse
    kernel: Tensor | None = None
    rows: float = 0.0
    columns: float = 0.0
    step: float = 0.0
    clipped: bool = False


def choose_law(chance: Rng, unit: float) -> Law:
    """A law for a scene whose noise at its mean has about this standard deviation."""
    noise_model = Law(1.0, 0.0)
    if not chance.bernoulli(0.45):
        noise_model.read = chance.log_uniform(0.2, 10) ** 2
    if chance.bernoulli(0.2):
        noise_model.spread = chance.uniform(0.2, 1.0)
        noise_model.slope = 1 + noise_model.spread**2
    return finish(noise_model, chance, unit)


def finish(noise_model: Law, chance: Rng, unit: float) -> Law:
    """Correlation, rows, columns and rounding, each by chance."""
    if chance.bernoulli(0.35):
        noise_model.kernel = choose_kernel(chance)
    if chance.bernoulli(0.12):
        noise_model.rows = chance.log_uniform(0.08, 2) * unit
    if chance.bernoulli(0.06):
        noise_model.columns = chance.log_uniform(0.08, 2) * unit
    if chance.bernoulli(0.3):
        noise_model.step = chance.log_uniform(0.1, 2.0) * (1.0 if noise_model.slope else unit)
        noise_model.clipped = chance.bernoulli(0.7) and noise_model.slope > 0
    return noise_model


def choose_kernel(chance: Rng) -> Tensor:
    """What white noise is convolved with: a blur, a mean of pixels, or little with the neighbours alone."""
    kind = chance.uniform(0, 1)
    if kind < 0.6:
        widths = [chance.log_uniform(0.3, 1.4)] * 2
        if chance.bernoulli(0.5):
            widths[1] = chance.log_uniform(0.3, 1.4)
        along = torch.arange(-4.0, 5.0)
        parts = [torch.exp(-0.5 * (along / width) ** 2) for width in widths]
        kernel = parts[0][:, None] * parts[1]
    elif kind < 0.8:
        height, width = chance.integer(1, 3), chance.integer(1, 3)
        kernel = F.pad(torch.ones(height, width), (0, (width + 1) % 2, 0, (height + 1) % 2))
    else:
        kernel = 0.35 * (chance.uniforms(3, 3) - 0.3)
        kernel[1, 1] += 1
        kernel = (kernel + kernel.flip(0)) / 2
        kernel = (kernel + kernel.flip(1)) / 2
    return kernel / (kernel**2).sum().sqrt()


def exposed(scene: Tensor, chance: Rng) -> tuple[Tensor, Tensor, Law, float]:
    """Signal, noisy image, law, and the level that the image is told to have as its mean."""
    if chance.bernoulli(0.3):
        scene = scene.amax() - scene
    if chance.bernoulli(0.2):
        scene = scene * torch.linspace(chance.uniform(0.3, 1), chance.uniform(0.3, 1), len(scene))[:, None]
    if chance.bernoulli(0.3):  # Gaussian noise: contrast in its standard deviations
        contrast = chance.log_uniform(1.5, 60)
        signal = contrast * scene
        noise_model = finish(Law(0.0, 1.0), chance, 1.0)
        mean = float(signal.mean()) + 0.3 * min(contrast, 5) * float(chance.normal(1))
    else:  # photons at the brightest
        peak, ground = chance.log_uniform(0.4, 1000), chance.uniform(0, 0.5 if chance.bernoulli(0.5) else 0.05)
        signal = peak * (ground + (1 - ground) * scene)
        mean = float(signal.mean()) * math.exp(0.3 * float(chance.normal(1)))
        noise_model = choose_law(chance, math.sqrt(mean + 0.4))
    return signal, seen_through(noise_model, signal, chance), noise_model, mean


def seen_through(noise_model: Law, signal: Tensor, chance: Rng) -> Tensor:
    """A noisy image of a signal."""
    g = chance.generator
    if noise_model.kernel is not None:
        noisy = signal + filtered(signal, noise_model.kernel, g) * (noise_model.slope * signal + noise_model.read).sqrt()
    elif noise_model.slope:
        photons = torch.poisson(signal, generator=g)
        noisy = photons + (noise_model.read + photons * noise_model.spread**2).sqrt() * chance.normal(*signal.shape)
    else:
        noisy = signal + noise_model.read**0.5 * chance.normal(*signal.shape)
    noisy = noisy + noise_model.rows * chance.normal(len(signal), 1) + noise_model.columns * chance.normal(1, len(signal))
    if noise_model.step:
        noisy = (noisy / noise_model.step).round() * noise_model.step
    return noisy.clamp(min=0) if noise_model.clipped else noisy


def told(noise_models: list[Law], means: list[float]) -> NoiseFeatures:
    """The laws of a batch."""

    def numbers(values: list[float]) -> Tensor:
        return torch.tensor(values)

    read = numbers([noise_model.read + noise_model.step**2 / 12 for noise_model in noise_models])
    white = torch.zeros(len(LAGS))
    return NoiseFeatures.make(
        numbers([noise_model.slope for noise_model in noise_models]), read, read.clamp(min=1e-12), numbers(means),
        step=numbers([noise_model.step for noise_model in noise_models]), rows=numbers([noise_model.rows for noise_model in noise_models]),
        columns=numbers([noise_model.columns for noise_model in noise_models]),
        rho=torch.stack([white if noise_model.kernel is None else correlation(noise_model.kernel) for noise_model in noise_models]),
    ).of_dims(2)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Prior(Simulated):
    """The training of the prior: every patch has a law of its own."""

    prior: bool = False
    pool: Tensor = field(default_factory=lambda: torch.zeros(0), compare=False)

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        chance = Rng(batch.generator)
        rows = (len(self.pool) - HELD_OUT, len(self.pool)) if batch.held_out else (0, len(self.pool) - HELD_OUT)
        count = HELD_OUT_BATCH if batch.held_out else self.patches_per_step(2)
        parts = [exposed(self.crop(chance, *rows), chance) for _ in range(count)]
        signal, noisy = (torch.stack([part[i] for part in parts])[:, None] for i in (0, 1))
        noise_model = told([part[2] for part in parts], [part[3] for part in parts])
        squared, likelihood = learned(net, noisy, signal, noise_model)
        hard = hardness(squared)
        if batch.held_out:
            return hard.mean()
        return (squared / hard + WIDTH_WEIGHT * likelihood).mean()

    def crop(self, chance: Rng, first: int, last: int) -> Tensor:
        """A patch of a scene, mirrored and turned."""
        return random_patch(self.pool[chance.integer(first, last - 1)], (PATCH, PATCH), chance.generator)


@dataclass
class Randomness:
    """What a batch says here: where its randomness comes from."""

    generator: torch.Generator
    noisy: Any = None
    valid: Any = None
    target: Any = None
    coordinates: Any = None
    background: tuple[Any, ...] = ()


class Steps:
    """A source of randomness a step."""

    held_out = Randomness(torch.Generator())

    def draw(self, step: int) -> Randomness:
        return Randomness(torch.Generator().manual_seed(step + 1))


def scene_pool(path: Path) -> Tensor:
    """The scenes, drawn if they are not there."""
    if not path.exists():
        with ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,)) as pool:
            np.save(path, np.stack(list(pool.map(scene, range(SCENES), chunksize=50))))
    return torch.from_numpy(np.load(path))


def scene(seed: int) -> np.ndarray:
    """One scene, two bytes a pixel."""
    return draw("mixed", (SIDE, SIDE), seed).half().numpy()


def keep(path: Path, net: Standardized, run: TrainState) -> None:
    """Weights and state of an unfinished run."""
    state = {f"run.{name}": tensor.contiguous() for name, tensor in run.tensors.items()}
    numbers = torch.tensor([[*pair] for pair in run.validation_losses] or [[0, 0]], dtype=torch.float64)
    save_file(
        {**state, "risks": numbers, "step": torch.tensor([run.step, run.steps])}
        | {f"net.{n}": t.contiguous() for n, t in net.backbone.state_dict().items()},
        path,
    )  # fmt: skip


def resumed(path: Path) -> TrainState:
    """The state that `keep` wrote; a fresh one if there is none."""
    if not path.exists():
        return TrainState()
    kept = load_file(path)
    step, steps = kept["step"].tolist()
    validation_losses = [(int(s), float(r)) for s, r in kept["risks"].tolist() if s]
    return TrainState(steps, step, validation_losses=validation_losses, tensors={n[4:]: t for n, t in kept.items() if n.startswith("run.")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--folder", type=Path, default=Path("prior"))
    parser.add_argument("--further", action="store_true", help="start from the packaged weights")
    parser.add_argument("--install", action="store_true", help="put the result into the package")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    rate = FURTHER_RATE if arguments.further else Prior.learning_rate
    method = Prior(batch_size=8, learning_rate=rate, pool=scene_pool(arguments.folder / "scenes.npy"))
    ones = (1.0,)
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=(PATCH, PATCH), mean=ones, std=ones, target_mean=ones,
        target_std=ones,
    )  # fmt: skip
    torch.manual_seed(0)
    net = Standardized(method.backbone(spec, 1), 2, *[ones] * 4, inputs=method.inputs, heads=2)
    before = None
    if arguments.further:
        before = read_container(PRIOR, "prior")[0]["record"]
        net.backbone.load_state_dict(prior_weights(2))
    net.backbone.to(memory_format=torch.channels_last)
    path = arguments.folder / "run.safetensors"
    run, start = resumed(path), time.perf_counter()

    def save() -> None:
        keep(path, net, run)
        print(run.step, round(time.perf_counter() - start), run.validation_losses[-1:], flush=True)

    run = fit(method, net, Steps(), steps=arguments.steps, run=run, save=save)
    save()
    if arguments.install and run.finished:
        record = {"steps": run.step, "batch": 8, "scenes": SCENES, "risks": run.validation_losses, "before": before}
        save_prior(PRIOR, net.backbone, record)


if __name__ == "__main__":
    main()
