"""Trains the network that measures noise: block statistics of synthetic noisy scenes in, noise and its errors out.

    python training/noise_estimator.py draw --images 100000     (100 minutes on two cores; adds to what is there)
    python training/noise_estimator.py train                    (minutes; writes net.safetensors beside the images)

Every image is a scene (drawn, or a dense field), exposed with noise of its own. What is kept of it are its statistics
(`block_statistics`) and its true noise. See `training/README.md`.
"""

from __future__ import annotations

import argparse
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal, Normal
from torch.nn.functional import binary_cross_entropy_with_logits

from noisewise.errors import UserError
from noisewise.estimate.block_statistics import COARSE, FINE, LAGS, RATIOS, WHOLE, BlockStatistics
from noisewise.estimate.learned import WEIGHTS
from noisewise.estimate.measure import single_image_statistics
from noisewise.nets.noise_estimator import NoiseEstimator
from noisewise.noise.models.correlated import kernel_autocovariance
from noisewise.scenes import draw
from noisewise.scenes.fields import frequencies
from noisewise.scenes.pool import random_patch
from noisewise.scenes.rng import Rng
from pretrain import PatchNoise, add_noise, random_kernel

SCENES, SIDE = 1500, 256
FAINT = 0.1  # of the range of values: added before a power or a logarithm
KERNEL = 10  # pixels: half a kernel
SMALLEST = 64  # pixels: side of an image
LARGE = 0.08  # part of the images that are larger than the scenes
SHARD = 250  # images


# -- scenes ------------------------------------------------------------------------------------------


def random_signal(pool: np.ndarray, rng: Rng) -> Tensor:
    """A scene (Y, X) from 0 to 1: drawn, a dense field, or both."""
    sides = (SIDE, 2 * SIDE) if rng.bernoulli(LARGE) else (SMALLEST, SIDE)
    size = [int(rng.log_uniform(sides[0], sides[1] + 0.99)) for _ in "YX"]
    kind = rng.uniform(0, 1)
    if kind < 0.5:
        signal = drawn(pool, size, rng)
    elif kind < 0.85:
        signal = dense_field(size, rng)
    else:
        other = dense_field(size, rng)
        signal = drawn(pool, size, rng) * (1 + rng.log_uniform(0.03, 2) * other)
    if rng.bernoulli(0.3):
        signal = signal.clamp(min=0) ** rng.log_uniform(1.5, 5)
    signal = (signal - signal.min()) / (signal.max() - signal.min()).clamp(min=1e-6)
    if rng.bernoulli(0.25):
        signal = 1 - signal
    if rng.bernoulli(0.15):
        signal = signal * torch.linspace(rng.uniform(0.3, 1), rng.uniform(0.3, 1), len(signal))[:, None]
    return signal


def drawn(pool: np.ndarray, size: list[int], rng: Rng) -> Tensor:
    """A part of one of the drawn scenes, mirrored where it is larger."""
    scene = np.array(pool[rng.integer(0, len(pool) - 1)])
    scene = np.pad(scene, [(0, max(side - SIDE, 0)) for side in size], mode="symmetric")
    return random_patch(torch.from_numpy(scene), size, rng.generator)


def dense_field(size: list[int], rng: Rng) -> Tensor:
    """A random field that optics band-limit, with the same texture everywhere; about 0 to 1."""
    sharp = [rng.log_uniform(0.65, 6)] * 2
    if rng.bernoulli(0.2):
        sharp[1] *= rng.log_uniform(0.4, 2.5)
    exponent = sum((f * width) ** 2 for f, width in zip(frequencies(size), sharp, strict=True))
    transfer = torch.exp(-2 * math.pi**2 * exponent)
    if rng.bernoulli(0.3):  # light of several depths
        wide = torch.exp(-2 * math.pi**2 * exponent * rng.uniform(2, 6) ** 2)
        transfer = transfer + rng.uniform(0.5, 5) * wide
    field = torch.fft.irfftn(torch.fft.rfftn(rng.normal(*size)) * transfer, s=size)
    field = field / field.std().clamp(min=1e-9)
    kind = rng.uniform(0, 1)
    if kind < 0.35:
        return 0.5 + field / 8
    if kind < 0.6:
        return (field.abs() if rng.bernoulli(0.5) else (field - field.min())) ** rng.uniform(1, 3)
    if kind < 0.8:
        return torch.exp(rng.uniform(0.3, 1.5) * field)
    return torch.sigmoid(rng.log_uniform(1, 6) * (field - rng.uniform(-1, 1)))


# -- noise -------------------------------------------------------------------------------------------


def random_noise(signal: Tensor, rng: Rng) -> tuple[Tensor, PatchNoise]:
    """A signal in photons, or in standard deviations of constant noise; and its noise."""
    if rng.bernoulli(0.2):
        noise, unit = PatchNoise(0.0, 1.0), 1.0
        signal = rng.log_uniform(1, 300) * signal
    else:
        peak, background = rng.log_uniform(2, 4000), rng.uniform(0, 0.8 if rng.bernoulli(0.3) else 0.1)
        signal = peak * (background + (1 - background) * signal)
        noise = PatchNoise(1.0, 0.0)
        if rng.bernoulli(0.55):
            noise.read_variance = rng.log_uniform(0.2, 10) ** 2
        if rng.bernoulli(0.2):
            noise.excess = rng.uniform(0.2, 1.0)
            noise.slope = 1 + noise.excess**2
        unit = math.sqrt(noise.slope * float(signal.mean()) + noise.read_variance)
    if rng.bernoulli(0.45):
        kinds = {
            "round": round_kernel, "resampled": resampled_kernel, "enlarged": enlarged_kernel, "any": random_kernel,
        }  # fmt: skip
        noise.kernel = kinds[rng.choice(dict.fromkeys(kinds, 1.0))](rng)
        if rng.bernoulli(0.25):
            noise.kernel = with_wide_part(noise.kernel, rng)
    if rng.bernoulli(0.12):
        noise.rows = rng.log_uniform(0.05, 2) * unit
    if rng.bernoulli(0.06):
        noise.columns = rng.log_uniform(0.05, 2) * unit
    if rng.bernoulli(0.6):
        noise.step = rng.log_uniform(0.02, 1.5) * (unit if rng.bernoulli(0.5) else 1.0)
    noise.clipped = rng.bernoulli(0.5) and noise.slope > 0
    return signal, noise


def round_kernel(rng: Rng) -> Tensor:
    """A round Gaussian, as of interpolation."""
    profile = torch.exp(-0.5 * (torch.arange(-4.0, 5.0) / rng.log_uniform(0.35, 1.1)) ** 2)
    kernel = torch.outer(profile, profile)
    return kernel / (kernel**2).sum().sqrt()


def resampled_kernel(rng: Rng) -> Tensor:
    """Noise of an image that was enlarged: nearly white up to a frequency, and little above it."""
    cutoff, steepness = rng.log_uniform(0.15, 0.45), rng.log_uniform(1.5, 8)
    floor = rng.log_uniform(0.003, 0.2)
    frequency = torch.fft.fftfreq(SIDE)
    stretch = rng.log_uniform(0.8, 1.25) if rng.bernoulli(0.3) else 1.0
    if rng.bernoulli(0.5):
        radius = torch.hypot(frequency[:, None] * stretch, frequency[None] / stretch)
        response = (1 + (radius / cutoff) ** (2 * steepness)) ** -0.5
    else:
        along = [(1 + (frequency.abs() * s / cutoff) ** (2 * steepness)) ** -0.5 for s in (stretch, 1 / stretch)]
        response = torch.outer(*along)
    kernel = torch.fft.fftshift(torch.fft.ifft2(response + floor).real)
    middle = slice(SIDE // 2 - KERNEL, SIDE // 2 + KERNEL + 1)
    window = torch.hann_window(2 * KERNEL + 3, periodic=False)[1:-1]
    kernel = kernel[middle, middle] * torch.outer(window, window)
    return kernel / (kernel**2).sum().sqrt()


def enlarged_kernel(rng: Rng) -> Tensor:
    """Linear or cubic interpolation of noise that was white on coarser pixels; often slightly blurred before."""
    pixel, blur = rng.log_uniform(1.1, 2.8), rng.log_uniform(0.2, 0.8) if rng.bernoulli(0.5) else 0.0
    at = torch.arange(-8.0, 9.0) / pixel
    distance = at.abs()
    if rng.bernoulli(0.5):
        profile = (1 - distance).clamp(min=0)
    else:
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        profile = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    if blur:
        gauss = torch.exp(-0.5 * (torch.arange(-4.0, 5.0) / (blur * pixel)) ** 2)
        profile = torch.nn.functional.conv1d(profile[None, None], gauss[None, None], padding=4)[0, 0]
    kernel = torch.outer(profile, profile)
    return kernel / (kernel**2).sum().sqrt()


def with_wide_part(kernel: Tensor, rng: Rng) -> Tensor:
    """The kernel and a wide one: noise with more power at low frequencies, as of light that flickers."""
    at = torch.arange(-KERNEL, KERNEL + 1.0)
    profile = torch.exp(-0.5 * (at / rng.log_uniform(1.5, 4.0)) ** 2)
    wide = torch.outer(profile, profile)
    missing = (len(wide) - kernel.shape[0]) // 2, (len(wide) - kernel.shape[1]) // 2
    narrow = torch.nn.functional.pad(kernel, (missing[1], missing[1], missing[0], missing[0]))
    found = narrow / narrow.sum() + rng.uniform(0.1, 1.0) * wide / wide.sum()
    return found / (found**2).sum().sqrt()


@dataclass(frozen=True)
class Contrast:
    """What is done to pixel values after recording: inverted, or raised to a power, or a logarithm; None: nothing.

    low, span: of the values before.
    """

    kind: str | None
    low: float = 0.0
    span: float = 1.0
    power: float = 1.0

    @classmethod
    def random(cls, noisy: Tensor, correlated: bool, rng: Rng) -> Contrast:
        """Usually none; more often in images that were processed, whose noise is correlated."""
        if not rng.bernoulli(0.4 if correlated else 0.2):
            return cls(None)
        kind = rng.choice({"inverted": 1.0, "power": 1.0, "logarithm": 0.3})
        low, high = float(noisy.min()), float(noisy.max())
        return cls(kind, low, max(high - low, 1e-6), rng.log_uniform(0.4, 1.6))

    def apply(self, noisy: Tensor) -> Tensor:
        """The values afterwards."""
        part = (noisy - self.low) / self.span
        if self.kind == "inverted":
            return self.span * (1 - part)
        if self.kind == "power":
            return self.span * (part + FAINT) ** self.power
        return self.span * torch.log1p(part / FAINT) if self.kind == "logarithm" else noisy

    def before(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signals before, and the factor on the variance, from signals afterwards."""
        part = signal / self.span
        if self.kind == "inverted":
            return self.low + self.span * (1 - part), np.ones_like(part)
        if self.kind == "power":
            base = np.maximum(part, 1e-6) ** (1 / self.power)
            return self.low + self.span * (base - FAINT), (self.power * base ** (self.power - 1)) ** 2
        if self.kind == "logarithm":
            base = np.expm1(part) * FAINT
            return self.low + self.span * base, 1 / (FAINT + np.maximum(base, -0.9 * FAINT)) ** 2
        return signal, np.ones_like(part)


# -- one training example ----------------------------------------------------------------------------


def example(pool: np.ndarray, seed: int) -> tuple[BlockStatistics, np.ndarray, np.ndarray] | None:
    """Statistics of a noisy scene, true log variance over the floor in each class, and the other targets.

    None where the image cannot be measured, or is measured in another way (counts, clipped noise).
    """
    rng = Rng.from_seed(seed)
    signal, noise = random_noise(random_signal(pool, rng), rng)
    noisy = add_noise(noise, signal, rng)
    contrast = Contrast.random(noisy, noise.kernel is not None, rng)
    try:
        found = single_image_statistics(contrast.apply(noisy).numpy().astype(np.float32))
    except (UserError, np.linalg.LinAlgError):
        return None
    if found is None or not np.isfinite(found.fine).all():
        return None
    before, factor = contrast.before(found.signal)
    pixel = factor * (noise.slope * np.maximum(before, 0) + noise.read_variance + noise.step**2 / 12)
    half = slice(max(len(pixel) // 2, 1))
    precision = float(np.median(factor[half] / np.maximum(pixel[half], 1e-12)))  # one over the variance before
    rho = np.zeros((LAGS, LAGS))
    rho[0, 0] = 1
    if noise.kernel is not None:
        rho = kernel_autocovariance(noise.kernel.double(), (LAGS, LAGS)).numpy()
        rho = rho / rho[0, 0] * max(1 - noise.step**2 / 12 * precision, 0.1)
    lines = np.log1p([noise.rows**2 * precision, noise.columns**2 * precision])
    correlated = float(np.abs(rho.ravel()[1:]).max() > 0.1)
    targets = np.concatenate([rho.ravel()[1:], lines, [correlated]])
    return found, np.log(np.clip(pixel / found.floor, *RATIOS)), targets


def draw_shard(folder: Path, number: int) -> None:
    """Statistics and targets of some images, in one file; classes beyond those of an image are zero."""
    path = folder / f"shard_{number:05d}.npz"
    if path.exists():
        return
    torch.set_num_threads(1)
    pool = np.load(folder / "scenes.npy", mmap_mode="r")
    found = [example(pool, 1_000_000 + number * SHARD + i) for i in range(SHARD)]
    rows = [one for one in found if one is not None]
    classes = max(len(one[0].fine) for one in rows), max(len(one[0].coarse) for one in rows)
    fine, coarse = (
        np.stack([padded(getattr(one[0], name), count) for one in rows]).astype(np.float16)
        for name, count in zip(("fine", "coarse"), classes, strict=True)
    )
    temporary = path.with_suffix(".part.npz")
    np.savez(
        temporary, fine=fine, coarse=coarse, whole=np.stack([one[0].whole for one in rows]).astype(np.float32),
        variance=np.stack([padded(one[1], classes[0]) for one in rows]).astype(np.float32),
        counts=np.array([[len(one[0].fine), len(one[0].coarse)] for one in rows]),
        targets=np.stack([one[2] for one in rows]).astype(np.float32),
    )  # fmt: skip
    temporary.replace(path)


def padded(array: np.ndarray, count: int) -> np.ndarray:
    """The array with zeros appended along its first axis."""
    return np.pad(array, [(0, count - len(array)), *[(0, 0)] * (array.ndim - 1)])


def scene(seed: int) -> np.ndarray:
    """One drawn scene."""
    torch.set_num_threads(1)
    return draw("mixed", (SIDE, SIDE), 50_000 + seed).half().numpy()


def draw_images(folder: Path, images: int) -> None:
    """Draw scenes once, and as many noisy images as are missing."""
    with ProcessPoolExecutor(2) as pool:
        if not (folder / "scenes.npy").exists():
            np.save(folder / "scenes.npy", np.stack(list(pool.map(scene, range(SCENES), chunksize=25))))
        jobs = [pool.submit(draw_shard, folder, number) for number in range(images // SHARD)]
        for number, job in enumerate(jobs):
            job.result()
            print(number, flush=True) if number % 20 == 0 else None


# -- training ----------------------------------------------------------------------------------------

Examples = dict[str, Tensor]


def load_examples(folder: Path) -> Examples:
    """All examples, classes padded to the same number."""
    shards = [dict(np.load(path)) for path in sorted(folder.glob("shard_*[0-9].npz"))]
    most = {name: max(shard[name].shape[1] for shard in shards) for name in ("fine", "coarse", "variance")}
    found = {}
    for name in shards[0]:
        parts = [torch.from_numpy(shard[name]) for shard in shards]
        if name in most:
            parts = [widened(part, most[name]) for part in parts]
        found[name] = torch.cat(parts)
    return found


def widened(part: Tensor, count: int) -> Tensor:
    """Zeros appended along the second axis."""
    more = part.new_zeros(len(part), count - part.shape[1], *part.shape[2:])
    return torch.cat([part, more], 1)


def loss_of(net: NoiseEstimator, batch: Examples) -> Tensor:
    """Negative log-likelihoods (N, 3): of the variances together, of the correlation, and of being correlated."""
    out = net(batch["fine"].float(), batch["coarse"].float(), batch["whole"], batch["counts"], batch["assumed"])
    present = torch.arange(out.variance.shape[1]) < batch["counts"][:, :1]
    error = torch.where(present, batch["variance"] - out.variance, 0.0)
    std = torch.where(present, out.std, 1.0)
    factors = torch.where(present[..., None], out.factors, 0.0)
    joint = LowRankMultivariateNormal(torch.zeros_like(error), factors, std**2)
    variances = -joint.log_prob(error) / batch["counts"][:, 0]
    targets = batch["targets"]
    correlation = -Normal(out.correlation, out.correlation_std).log_prob(targets[:, :-1]).mean(1)
    decision = binary_cross_entropy_with_logits(out.correlated, targets[:, -1], reduction="none")
    decision = 2 * decision * (batch["assumed"] == 0)
    return torch.stack([variances, correlation, decision], 1)


def with_assumption(examples: Examples, chosen: Tensor, generator: torch.Generator) -> Examples:
    """Some examples; of half of them it is given whether the noise is correlated."""
    batch = {name: values[chosen] for name, values in examples.items()}
    given = torch.rand(len(chosen), generator=generator) < 0.5
    return batch | {"assumed": torch.where(given, 2 * batch["targets"][:, -1] - 1, 0.0)}


def set_normalisation(net: NoiseEstimator, examples: Examples) -> None:
    """Mean and standard deviation of the inputs."""
    some = slice(None, None, max(1, len(examples["whole"]) // 20_000))
    for name, column in (("fine", 0), ("coarse", 1), ("whole", None)):
        values = examples[name][some].float()
        if column is not None:
            present = torch.arange(values.shape[1]) < examples["counts"][some][:, column, None]
            values = values[present]
        getattr(net, f"{name}_mean").copy_(values.mean(0))
        getattr(net, f"{name}_std").copy_(values.std(0).clamp(min=1e-3))


def train(folder: Path, epochs: int, start_from: Path | None = None, batch_size: int = 256) -> NoiseEstimator:
    """Train on all examples but a twentieth, and print the losses on those."""
    examples = load_examples(folder)
    count = len(examples["whole"])
    held_out = {name: values[: count // 20] for name, values in examples.items()}
    torch.manual_seed(0)
    net = NoiseEstimator(FINE, COARSE, WHOLE, LAGS**2 - 1)
    if start_from is None:
        set_normalisation(net, examples)
    else:
        net.load_state_dict(load_file(start_from))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1.5e-3, weight_decay=0.01)
    steps = epochs * (count - count // 20) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, steps)
    generator, step, start = torch.Generator().manual_seed(0), 0, time.perf_counter()
    while step < steps:
        order = count // 20 + torch.randperm(count - count // 20, generator=generator)
        for chosen in order.split(batch_size):
            if len(chosen) < batch_size or step == steps:
                break
            optimizer.zero_grad()
            loss = loss_of(net, with_assumption(examples, chosen, generator)).mean(0).sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
        with torch.no_grad():
            losses = torch.cat([
                loss_of(net, with_assumption(held_out, part, torch.Generator().manual_seed(0)))
                for part in torch.arange(count // 20).split(1000)
            ]).mean(0)  # fmt: skip
        print(step, round(time.perf_counter() - start), [round(one, 4) for one in losses.tolist()], flush=True)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["draw", "train"])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--start-from", type=Path, help="weights to continue from")
    parser.add_argument("--folder", type=Path, default=Path("pretraining/noise"))
    parser.add_argument("--install", action="store_true", help="write the weights into the package")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True, parents=True)
    if arguments.work == "draw":
        draw_images(arguments.folder, arguments.images)
        return
    net = train(arguments.folder, arguments.epochs, arguments.start_from)
    weights = net.state_dict()
    save_file(weights, arguments.folder / "net.safetensors")
    if arguments.install:
        save_file({name: tensor.half() for name, tensor in weights.items()}, WEIGHTS)


if __name__ == "__main__":
    main()
