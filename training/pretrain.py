"""Trains the packaged weights: one network for many kinds of noise, on synthetic scenes alone.

    python training/pretrain.py --steps 60000                  (hours on two cores; continues an interrupted training)
    python training/pretrain.py --steps 60000 --from-packaged  (starts from the packaged weights, at half the rate)
    python training/pretrain.py --steps 60000 --install        (then writes the result into the package)

Scenes are generated once (`scenes.draw("mixed", ...)`, seeds 0 to 7999) and kept in the folder of the training. Every
patch gets noise of its own, from the distribution that `expose` defines, and the network is conditioned on that noise,
as it is when it is used. The error of a patch counts over its own root mean square, so that patches with few details,
or much noise, weigh about as much as others. See `training/README.md`.
"""

from __future__ import annotations

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from noisewise.container import read_container
from noisewise.methods._conditioned import HOLDS, PRETRAINED, pretrained_state, save_pretrained
from noisewise.methods.base import Batch, Denoiser, ImageSpec, make_unet
from noisewise.methods.losses.supervised import STD_WEIGHT, patch_rmse, supervised_terms
from noisewise.methods.simulated import Simulated
from noisewise.noise.models.correlated import filtered_noise
from noisewise.noise.ops.conditioning import FEATURES, LAGS, NoiseFeatures, kernel_correlation
from noisewise.scenes import draw
from noisewise.scenes.pool import random_patch
from noisewise.scenes.rng import Rng
from noisewise.train.loop import fit
from noisewise.train.state import TrainState

SCENES, SIDE, PATCH = 8000, 192, 64
HELD_OUT = 200  # scenes for validation only
HELD_OUT_BATCH, BATCH = 128, 8
CONTINUED_RATE = 1e-3  # peak of the learning rate when starting from the packaged weights


# -- noise of a patch --------------------------------------------------------------------------------


@dataclass
class PatchNoise:
    """Noise of one patch, in photons: variance = slope · s + read_variance, row and column offsets, rounding.

    excess: standard deviation of the pulse of a photon. rows, columns: standard deviations of the offsets.
    """

    slope: float
    read_variance: float
    excess: float = 0.0
    kernel: Tensor | None = None
    rows: float = 0.0
    columns: float = 0.0
    step: float = 0.0
    clipped: bool = False


def random_photon_noise(rng: Rng, unit: float) -> PatchNoise:
    """Photon noise with read noise or excess noise. unit: about its standard deviation at the mean of the scene."""
    noise = PatchNoise(1.0, 0.0)
    if not rng.bernoulli(0.45):
        noise.read_variance = rng.log_uniform(0.2, 10) ** 2
    if rng.bernoulli(0.2):
        noise.excess = rng.uniform(0.2, 1.0)
        noise.slope = 1 + noise.excess**2
    return with_structure(noise, rng, unit)


def with_structure(noise: PatchNoise, rng: Rng, unit: float) -> PatchNoise:
    """The same with correlation, row offsets, column offsets and rounding, each at random."""
    if rng.bernoulli(0.35):
        noise.kernel = random_kernel(rng)
    if rng.bernoulli(0.12):
        noise.rows = rng.log_uniform(0.08, 2) * unit
    if rng.bernoulli(0.06):
        noise.columns = rng.log_uniform(0.08, 2) * unit
    if rng.bernoulli(0.3):
        noise.step = rng.log_uniform(0.1, 2.0) * (1.0 if noise.slope else unit)
        noise.clipped = rng.bernoulli(0.7) and noise.slope > 0
    return noise


def random_kernel(rng: Rng) -> Tensor:
    """Kernel that correlates white noise: a Gaussian blur, a mean of neighbours, or weak random neighbours."""
    kind = rng.uniform(0, 1)
    if kind < 0.6:
        widths = [rng.log_uniform(0.3, 1.4)] * 2
        if rng.bernoulli(0.5):
            widths[1] = rng.log_uniform(0.3, 1.4)
        along = torch.arange(-4.0, 5.0)
        parts = [torch.exp(-0.5 * (along / width) ** 2) for width in widths]
        kernel = parts[0][:, None] * parts[1]
    elif kind < 0.8:
        height, width = rng.integer(1, 3), rng.integer(1, 3)
        kernel = F.pad(torch.ones(height, width), (0, (width + 1) % 2, 0, (height + 1) % 2))
    else:
        kernel = 0.35 * (rng.uniforms(3, 3) - 0.3)
        kernel[1, 1] += 1
        kernel = (kernel + kernel.flip(0)) / 2
        kernel = (kernel + kernel.flip(1)) / 2
    return kernel / (kernel**2).sum().sqrt()


def expose(scene: Tensor, rng: Rng) -> tuple[Tensor, Tensor, PatchNoise, float]:
    """Signal, noisy image, its noise, and the image mean that the network is conditioned on."""
    if rng.bernoulli(0.3):
        scene = scene.amax() - scene
    if rng.bernoulli(0.2):
        scene = scene * torch.linspace(rng.uniform(0.3, 1), rng.uniform(0.3, 1), len(scene))[:, None]
    if rng.bernoulli(0.3):  # Gaussian noise: contrast in its standard deviations
        contrast = rng.log_uniform(1.5, 60)
        signal = contrast * scene
        noise = with_structure(PatchNoise(0.0, 1.0), rng, 1.0)
        mean = float(signal.mean()) + 0.3 * min(contrast, 5) * float(rng.normal(1))
    else:  # photons in the brightest pixel
        peak, background = rng.log_uniform(0.4, 1000), rng.uniform(0, 0.5 if rng.bernoulli(0.5) else 0.05)
        signal = peak * (background + (1 - background) * scene)
        mean = float(signal.mean()) * math.exp(0.3 * float(rng.normal(1)))
        noise = random_photon_noise(rng, math.sqrt(mean + 0.4))
    return signal, add_noise(noise, signal, rng), noise, mean


def add_noise(noise: PatchNoise, signal: Tensor, rng: Rng) -> Tensor:
    """A noisy image of a signal."""
    if noise.kernel is not None:
        std = (noise.slope * signal + noise.read_variance).sqrt()
        noisy = signal + filtered_noise(signal, noise.kernel, rng.generator) * std
    elif noise.slope:
        photons = torch.poisson(signal, generator=rng.generator)
        noisy = photons + (noise.read_variance + photons * noise.excess**2).sqrt() * rng.normal(*signal.shape)
    else:
        noisy = signal + noise.read_variance**0.5 * rng.normal(*signal.shape)
    noisy = noisy + noise.rows * rng.normal(len(signal), 1) + noise.columns * rng.normal(1, len(signal[0]))
    if noise.step:
        noisy = (noisy / noise.step).round() * noise.step
    return noisy.clamp(min=0) if noise.clipped else noisy


def features_of(noises: list[PatchNoise], means: list[float]) -> NoiseFeatures:
    """What the network is conditioned on, for a batch of patches (N, 1, Y, X)."""
    read = torch.tensor([noise.read_variance + noise.step**2 / 12 for noise in noises])
    white = torch.zeros(len(LAGS))
    return NoiseFeatures.make(
        torch.tensor([noise.slope for noise in noises]), read, read.clamp(min=1e-12), torch.tensor(means),
        step=torch.tensor([noise.step for noise in noises]), rows=torch.tensor([noise.rows for noise in noises]),
        columns=torch.tensor([noise.columns for noise in noises]),
        rho=torch.stack([white if noise.kernel is None else kernel_correlation(noise.kernel) for noise in noises]),
    ).for_dims(2)  # fmt: skip


# -- training ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pretraining(Simulated):
    """Supervised training on synthetic scenes in which every patch has noise of its own."""

    pretrained: bool = False
    pool: Tensor = field(default_factory=lambda: torch.zeros(0), compare=False)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        rng, trained = Rng(batch.generator), len(self.pool) - HELD_OUT
        first, last, count = (trained, len(self.pool), HELD_OUT_BATCH) if batch.held_out else (0, trained, BATCH)
        parts = [expose(self.random_scene(rng, first, last), rng) for _ in range(count)]
        signal, noisy = (torch.stack([part[i] for part in parts])[:, None] for i in (0, 1))
        features = features_of([part[2] for part in parts], [part[3] for part in parts])
        squared, likelihood = supervised_terms(net, noisy, signal, features)
        rmse = patch_rmse(squared)
        if batch.held_out:
            return rmse.mean()
        return (squared / rmse + STD_WEIGHT * likelihood).mean()

    def random_scene(self, rng: Rng, first: int, last: int) -> Tensor:
        """A patch of a scene, flipped and rotated at random."""
        return random_patch(self.pool[rng.integer(first, last - 1)], (PATCH, PATCH), rng.generator)


class Generators:
    """Batches without patches, which the loss makes itself: each holds the random generator of its step."""

    held_out = Batch(torch.empty(0), torch.empty(0), torch.Generator())

    def draw(self, step: int) -> Batch:
        return Batch(torch.empty(0), torch.empty(0), torch.Generator().manual_seed(step + 1))


def scene_pool(path: Path, count: int) -> Tensor:
    """The scenes, generated if the file does not exist."""
    if not path.exists():
        with ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,)) as pool:
            np.save(path, np.stack(list(pool.map(half_precision_scene, range(count), chunksize=50))))
    return torch.from_numpy(np.load(path))


def half_precision_scene(seed: int) -> np.ndarray:
    """One scene."""
    return draw("mixed", (SIDE, SIDE), seed).half().numpy()


def make_network(method: Pretraining) -> Denoiser:
    """The network of the default settings, for one channel."""
    ones = (1.0,)
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=(PATCH, PATCH), mean=ones, std=ones, target_mean=ones,
        target_std=ones,
    )  # fmt: skip
    torch.manual_seed(0)
    inputs = 2 + FEATURES
    return Denoiser(make_unet(method, spec, inputs, 2), spec, inputs=inputs, heads=2)


def save_state(path: Path, net: Denoiser, state: TrainState) -> None:
    """Save weights and state of a training that is not finished."""
    tensors = {f"state.{name}": tensor.contiguous() for name, tensor in state.tensors.items()}
    tensors |= {f"net.{name}": tensor.contiguous() for name, tensor in net.backbone.state_dict().items()}
    losses = torch.tensor([[*pair] for pair in state.validation_losses] or [[0, 0]], dtype=torch.float64)
    save_file(tensors | {"validation_losses": losses, "step": torch.tensor([state.step, state.steps])}, path)


def load_state(path: Path, net: Denoiser) -> TrainState:
    """The state that `save_state` wrote, and its weights into the network; a fresh state if there is none."""
    if not path.exists():
        return TrainState()
    saved = load_file(path)
    state, weights = (
        {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
        for prefix in ("state.", "net.")
    )
    net.backbone.load_state_dict(weights)
    step, steps = saved["step"].tolist()
    losses = [(int(at), float(loss)) for at, loss in saved["validation_losses"].tolist() if at]
    return TrainState(steps, step, validation_losses=losses, tensors=state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of scenes, of which 200 for validation")
    parser.add_argument("--folder", type=Path, default=Path("pretraining"), help="for scenes and the training state")
    parser.add_argument("--from-packaged", action="store_true", help="start from the packaged weights")
    parser.add_argument("--install", action="store_true", help="write the result into the package")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    rate = CONTINUED_RATE if arguments.from_packaged else Pretraining.learning_rate
    pool = scene_pool(arguments.folder / "scenes.npy", arguments.scenes)
    method = Pretraining(learning_rate=rate, pool=pool)
    net, previous = make_network(method), None
    if arguments.from_packaged:
        previous = read_container(PRETRAINED, HOLDS)[0]["record"]
        net.backbone.load_state_dict(pretrained_state(2))
    net.backbone.to(memory_format=torch.channels_last)
    path = arguments.folder / "state.safetensors"
    state, start = load_state(path, net), time.perf_counter()

    def save() -> None:
        save_state(path, net, state)
        print(state.step, round(time.perf_counter() - start), state.validation_losses[-1:], flush=True)

    fit(method, net, Generators(), steps=arguments.steps, state=state, save=save)
    save()
    if arguments.install and state.finished:
        record = {
            "steps": state.step, "batch": BATCH, "scenes": len(pool), "validation_losses": state.validation_losses,
            "previous": previous,
        }  # fmt: skip
        save_pretrained(PRETRAINED, net.backbone, record)


if __name__ == "__main__":
    main()
