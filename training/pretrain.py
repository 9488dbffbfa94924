"""Trains the packaged weights: one network for many kinds of noise, on synthetic scenes alone.

    python training/pretrain.py --steps 60000                  (hours on two cores; continues an interrupted training)
    python training/pretrain.py --steps 60000 --from-packaged  (starts from the packaged weights, at a lower rate)
    python training/pretrain.py --steps 60000 --install        (then writes the result into the package)

Scenes are generated once (`scenes.draw("mixed", ...)`) and kept in the folder of the training: single planes, and
volumes. An example is a patch of a plane, or five neighbouring planes of a moving scene or of a volume, of which the
middle one is denoised. Each has noise of its own (`exposures.py`), and the network is conditioned on it, as it is when
it is used. The error of an example counts over its own root mean square, so that those with few details, or much noise,
weigh about as much as others. See `training/README.md`.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from exposures import Exposure, expose, features_of
from noisewise.container import read_container
from noisewise.methods._conditioned import HOLDS, PRETRAINED, make_backbone, pretrained_state, save_pretrained
from noisewise.methods.base import Batch, Denoiser, ImageSpec
from noisewise.methods.losses.supervised import STD_WEIGHT, patch_rmse, supervised_terms
from noisewise.methods.simulated import Simulated
from noisewise.nets.planes import INPUT_SCALE, NEIGHBOURS, PlanesUNet, differences
from noisewise.noise.ops.conditioning import FEATURES
from noisewise.scenes import draw
from noisewise.scenes.pool import random_patch
from noisewise.scenes.rng import Rng
from noisewise.scenes.sequences import sequence
from noisewise.train.loop import fit
from noisewise.train.state import TrainState

PLANES = len(NEIGHBOURS) + 1
SCENES, SIDE, PATCH = 7000, 192, 80
VOLUMES, VOLUME_SIDE = 1500, 112
HELD_OUT = 200  # scenes for validation only
HELD_OUT_BATCH, BATCH = 192, 6
SINGLE, VOLUME = 0.4, 0.15  # share of examples: single planes, planes of a volume; the others are sequences
GATE_WEIGHT, UNLIKE = 0.5, 8.0  # of the cross entropy of the gates; κ in `alike`
HARM, EVENT = 3.0, 6.0  # more weight of gates where signals differ; of errors where no neighbour is alike
INCOMPLETE = 0.2  # share of those with neighbours that have some on one side only
CONTINUED_RATE = 1.5e-3  # peak of the learning rate when starting from the packaged weights


@dataclass(frozen=True, kw_only=True)
class Pretraining(Simulated):
    """Supervised training on synthetic scenes in which every example has noise of its own."""

    pretrained: bool = False
    pool: Tensor = field(default_factory=lambda: torch.zeros(0), compare=False)
    volumes: Tensor = field(default_factory=lambda: torch.zeros(0), compare=False)

    def loss(self, net: Denoiser, batch: Batch) -> Tensor:
        rng, count = Rng(batch.generator), HELD_OUT_BATCH if batch.held_out else BATCH
        examples = [expose(self.random_planes(rng, batch.held_out), rng) for _ in range(count)]
        with torch.autocast("cpu", torch.bfloat16, enabled=not batch.held_out):
            squared, likelihood, gates, event = terms(net, examples, rng)
        rmse = patch_rmse(squared)
        if batch.held_out:
            return rmse.mean()
        weight = 1 + EVENT * event
        squared = weight / weight.mean((1, 2, 3), keepdim=True) * squared
        return (squared / rmse + STD_WEIGHT * likelihood).mean() + GATE_WEIGHT * gates

    def random_planes(self, rng: Rng, held_out: bool) -> Tensor:
        """A plane (Y, X), or neighbouring planes (planes, Y, X)."""
        kind = rng.uniform(0, 1)
        if kind < SINGLE:
            return random_patch(self.random_scene(self.pool, rng, held_out), (PATCH, PATCH), rng.generator)
        if kind < SINGLE + VOLUME:
            volume = self.random_scene(self.volumes, rng, held_out)
            return random_patch(volume, (PLANES, PATCH, PATCH), rng.generator)
        scene = sequence(lambda: self.random_scene(self.pool, rng, held_out).float(), PLANES, (PATCH, PATCH), rng)
        return scene / scene.amax().clamp(min=1e-6)

    def random_scene(self, scenes: Tensor, rng: Rng, held_out: bool) -> Tensor:
        """One of the scenes."""
        trained = len(scenes) - HELD_OUT
        return scenes[rng.integer(trained, len(scenes) - 1) if held_out else rng.integer(0, trained - 1)]


def terms(net: Denoiser, examples: list[Exposure], rng: Rng) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Squared error of each pixel in units of the noise, negative log-likelihood of the standard deviation, the cross
    entropy of the gates, and how far there are neighbours but none is alike.
    """
    unet, middle = net.backbone, PLANES // 2
    assert isinstance(unet, PlanesUNet)
    planes = [one.noisy if one.noisy.ndim == 3 else one.noisy.expand(PLANES, -1, -1) for one in examples]
    noisy = torch.stack(planes)[:, None]
    signal = torch.stack([one.signal if one.signal.ndim == 2 else one.signal[middle] for one in examples])[:, None]
    features = features_of(examples)
    there = present(examples, rng)
    stable = features.for_dims(3).stabilizer(noisy)[:, 0]
    beside = INPUT_SCALE * differences(stable, torch.tensor([middle]))[0] * there[:, :, None, None]
    logits: list[Tensor] = []
    hook = unet.gates.register_forward_hook(lambda *found: logits.append(found[-1].float()))
    squared, likelihood = supervised_terms(
        net, noisy[:, :, middle], signal, features.for_dims(2), lambda maps: unet.plane(maps, (beside, there))
    )
    hook.remove()
    like = alike(examples)
    # A gate that is open where signals differ does harm, one that is closed where they do not loses a gain.
    entropy = (1 + HARM * (1 - like)) * F.binary_cross_entropy_with_logits(logits[0], like, reduction="none")
    unlike_any = 1 - (like * there[:, :, None, None]).amax(1, keepdim=True)
    event = F.interpolate(unlike_any, scale_factor=2.0) * there.any(1)[:, None, None, None]
    gates = (entropy * there[:, :, None, None]).sum() / entropy[0, 0].numel() / there.sum().clamp(min=1)
    return squared, likelihood, gates, event


def alike(examples: list[Exposure]) -> Tensor:
    """What gates are to find, (N, neighbours, Y/2, X/2): 1 / (1 + κ Δ²), Δ the difference of the signals, in units of
    the noise.
    """
    planes = [one.signal if one.signal.ndim == 3 else one.signal.expand(PLANES, -1, -1) for one in examples]
    stable = features_of(examples).for_dims(3).stabilizer(torch.stack(planes)[:, None])[:, 0]
    return 1 / (1 + UNLIKE * F.avg_pool2d(differences(stable, torch.tensor([PLANES // 2]))[0] ** 2, 2))


def present(examples: list[Exposure], rng: Rng) -> Tensor:
    """1 where a neighbour is there, (N, neighbours): at the ends of a sequence some are not."""
    offsets, count = torch.tensor(NEIGHBOURS), len(examples)
    first = torch.where(rng.uniforms(count) < INCOMPLETE / 2, (2 * rng.uniforms(count)).floor(), 2)
    last = torch.where(rng.uniforms(count) < INCOMPLETE / 2, (2 * rng.uniforms(count)).floor(), 2)
    several = torch.tensor([[one.noisy.ndim == 3] for one in examples])
    return (several & (offsets >= -first[:, None]) & (offsets <= last[:, None])).float()


class Generators:
    """Batches without patches, which the loss makes itself: each holds the random generator of its step."""

    held_out = Batch(torch.empty(0), torch.empty(0), torch.Generator())

    def draw(self, step: int) -> Batch:
        return Batch(torch.empty(0), torch.empty(0), torch.Generator().manual_seed(step + 1))


def scene_pool(folder: Path, shape: tuple[int, ...], seeds: range) -> Tensor:
    """Scenes of one shape, generated if there is no file of them."""
    path = folder / f"scenes_{'x'.join(map(str, shape))}_{seeds.start}_to_{seeds.stop - 1}.npy"
    if not path.exists():
        with ProcessPoolExecutor(initializer=torch.set_num_threads, initargs=(1,)) as pool:
            scenes = pool.map(half_precision_scene, [shape] * len(seeds), seeds, chunksize=50)
            np.save(path, np.stack(list(scenes)))
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def half_precision_scene(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """One scene."""
    return draw("mixed", shape, seed).half().numpy()


def make_network() -> Denoiser:
    """The network of the default settings, for one channel."""
    ones = (1.0,)
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=(PATCH, PATCH), mean=ones, std=ones, target_mean=ones,
        target_std=ones,
    )  # fmt: skip
    torch.manual_seed(0)
    backbone = make_backbone(2).to(memory_format=torch.channels_last)
    return Denoiser(backbone, spec, inputs=2 + FEATURES, heads=2)


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
    parser.add_argument("--scenes", type=int, default=SCENES, help="number of scenes")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first scene; others than those of earlier trainings"
    )
    parser.add_argument("--folder", type=Path, default=Path("pretraining"), help="for scenes and the training state")
    parser.add_argument("--from-packaged", action="store_true", help="start from the packaged weights")
    parser.add_argument("--install", action="store_true", help="write the result into the package")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    rate = CONTINUED_RATE if arguments.from_packaged else Pretraining.learning_rate
    first, count = arguments.seed, max(arguments.scenes * VOLUMES // SCENES, 2 * HELD_OUT)
    pool = scene_pool(arguments.folder, (SIDE, SIDE), range(first, first + arguments.scenes))
    volumes = scene_pool(arguments.folder, (PLANES, VOLUME_SIDE, VOLUME_SIDE), range(first, first + count))
    method = Pretraining(learning_rate=rate, pool=pool, volumes=volumes)
    net, previous = make_network(), None
    if arguments.from_packaged:
        previous = read_container(PRETRAINED, HOLDS)[0]["record"]
        net.backbone.load_state_dict(pretrained_state())
    path = arguments.folder / "state.safetensors"
    state, start = load_state(path, net), time.perf_counter()
    if state.finished and not arguments.install:
        parser.error(f"{path} is of a finished training; give --install, or another --folder")

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
