"""Distance from the optimum: simulated worlds in which the posterior is known exactly.

    python benchmarks/bayes.py                       (every method in every world; hours on two cores)
    python benchmarks/bayes.py --methods n2v --worlds gaussian

Each method is trained for a world's number of steps on images of it, with what it needs (a second noisy image, the
clean one, the noise model, scenes of that world), and denoises other images of the same world. Its mean squared error
is compared with that of the exact posterior mean, and of the exact mean without the pixel's own value, on the same
images.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ks_2samp

import noisewise as nw
from common import Rows, make_parser, parse_settings
from noisewise import methods
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from noisewise.testing.worlds import FiniteWorld, GaussianWorld, World, decibel_gap

ALONG_X = tuple(0.8 ** abs(lag) for lag in range(-5, 6))
WORLDS: dict[str, World] = {
    "gaussian": GaussianWorld(),
    "correlated": GaussianWorld(kernel=(ALONG_X,)),
    "poisson": FiniteWorld(PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0))),
    "poisson_gaussian": FiniteWorld(PoissonGaussian(2.5, 50.0, 2.0), gain=2.5, offset=50.0),
}
TRAINING = {"gaussian": 64, "correlated": 64, "poisson": 60_000, "poisson_gaussian": 60_000}  # images
TESTED = {"gaussian": 24, "correlated": 24, "poisson": 4000, "poisson_gaussian": 4000}
LARGE = {"patch_size": 64, "batch_size": 8}
SMALL = {"patch_size": 12, "batch_size": 128, "features": 96, "depth": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "gaussian": LARGE, "correlated": LARGE, "poisson": SMALL, "poisson_gaussian": SMALL,
}  # fmt: skip
STEPS = {"gaussian": 3000, "correlated": 2000, "poisson": 8000, "poisson_gaussian": 8000}
SCENES, SCENE_COUNT = Path(tempfile.gettempdir()) / "scenes_of_a_world.npy", 400
BLIND = {"n2v": {"blind_prediction": True}}
FROM_IMAGES = {"synthetic_weight": 0.0, "pretrained": False}  # trained on images of this world, on no other scenes
UNSUPERVISED = dict.fromkeys(("hdn", "divnoising", "gap", "cosdd"), FROM_IMAGES)
# A finite world has few signals: given its neighbours, the value of a pixel has several modes.
FINITE = {**BLIND, **UNSUPERVISED, "pn2v": {"components": 3}, "hdn": {"levels": 2} | FROM_IMAGES}
SAMPLES = 100  # of an image
SAMPLED = {"gaussian": 8, "correlated": 8, "poisson": 400, "poisson_gaussian": 400}  # images
COMPARED = 20  # samples of an image that are compared with exact ones
STATIONARY = {**BLIND, **UNSUPERVISED, "care": {"uncertainty": True}, "simulated": {"self_weight": 0.0}}
EXTRA: dict[str, dict[str, dict[str, Any]]] = {
    "gaussian": STATIONARY, "correlated": STATIONARY | {"n2v": {"blind_shape": "auto", "blind_prediction": True}},
    "poisson": FINITE, "poisson_gaussian": FINITE,
}  # fmt: skip


def trained(
    name: str, world_name: str, steps: int, seed: int, extra: dict[str, Any]
) -> tuple[nw.Model, float] | None:  # fmt: skip
    """A model of a world, and the seconds of its training; None where the method is not for such images."""
    world = WORLDS[world_name]
    signal, noisy = world.draw(TRAINING[world_name], 2 * seed + 1)
    again = world.noise.sample(signal.double(), torch.Generator().manual_seed(seed + 77)).float()
    if name == "simulated":  # other scenes of the same world
        np.save(SCENES, world.draw(SCENE_COUNT, 2 * seed + 2)[0].numpy())
        extra = extra | {"scenes": str(SCENES)}
    traits = methods.get(name)(**extra).traits
    if traits.counts_only and world_name != "poisson":
        return None
    target = {"noisy": None, "pairs": again.numpy(), "clean": signal.numpy()}[traits.needs]
    noise = None if traits.noise == "none" else world.noise
    start = time.perf_counter()
    model = nw.train(name, noisy.numpy(), target, steps=steps, noise=noise, seed=seed, **(SETTINGS[world_name] | extra))
    return model, time.perf_counter() - start


def run(name: str, world_name: str, steps: int, seed: int, extra: dict[str, Any]) -> dict[str, Any]:
    """One method in one world."""
    found, world = trained(name, world_name, steps, seed, extra), WORLDS[world_name]
    if found is None:
        return {"refused": "its pixels are no counts"}
    (model, seconds), traits = found, methods.get(name)(**extra).traits
    row = {"settings": extra, "steps": model.train_state.step, "training_s": seconds}
    row |= score(model, world, TESTED[world_name])
    if traits.samples and not traits.counts_only:
        row["drawn"] = score_samples(model, world, SAMPLED[world_name])
    return row


def score(model: nw.Model, world: World, count: int) -> dict[str, Any]:
    """Squared errors of a model and of the two limits, on new images."""
    signal, noisy = world.draw(count, 10_000)
    inner = (slice(None), *[slice(world.border, world.side - world.border)] * 2)
    found = model.predict(noisy.numpy(), average=False)
    exact, blind = world.posterior(noisy), world.blind_spot_posterior(noisy)
    mean = torch.from_numpy(found.mean)
    errors = {
        "method": mean - signal, "posterior": exact.mean - signal, "blind": blind.mean - signal,
        "noisy": noisy - signal, "constant": signal - signal.mean(),
    }  # fmt: skip
    errors = {key: error[inner] for key, error in errors.items()}
    row = {
        "above_posterior_db": decibel_gap(errors["method"], errors["posterior"]),
        "above_blind_db": decibel_gap(errors["method"], errors["blind"]),
        "rms": {key: float((error.double() ** 2).mean().sqrt()) for key, error in errors.items()},
    }
    if found.std is not None:
        row["std"] = deviations(torch.from_numpy(found.std)[inner], exact.std[inner], errors["method"])
        row["calibration"] = model.provenance.get("calibration")
    return row


def deviations(std: torch.Tensor, exact: torch.Tensor, error: torch.Tensor) -> dict[str, float]:
    """Predicted standard deviations compared with exact ones, and with errors."""
    std, error = std.double(), error.double()
    return {
        "rms": float((std**2).mean().sqrt()), "exact_rms": float((exact**2).mean().sqrt()),
        "pixelwise_error": float(((std - exact).abs() / exact.clamp(min=1e-9)).median()),
        "within_90": float((error.abs() < 1.645 * std).double().mean()),
    }  # fmt: skip


def score_samples(model: nw.Model, world: World, count: int) -> dict[str, Any]:
    """Mean and standard deviation of samples compared with exact ones, and single samples with exact samples."""
    signal, noisy = world.draw(count, 20_000)
    inner = (..., *[slice(world.border, world.side - world.border)] * 2)
    samples = torch.from_numpy(model.predict(noisy.numpy(), average=False).sample(SAMPLES)).transpose(0, 1)
    exact, true = world.posterior(noisy), world.sample(noisy, COMPARED, seed=0)
    mean, std = samples.double().mean(1), samples.double().std(1)
    error, limit = (mean - signal)[inner], (exact.mean - signal)[inner]
    pairs = zip(*(statistics(part[inner]).items() for part in (samples[:, :COMPARED], true)), strict=True)
    return {
        "samples": SAMPLES, "above_posterior_db": decibel_gap(error, limit),
        "std": deviations(std[inner], exact.std[inner], error),
        "two_samples": {
            name: {"model": float(a.mean()), "exact": float(b.mean()), "ks": float(ks_2samp(a, b).statistic)}
            for (name, a), (_, b) in pairs
        },
    }  # fmt: skip


def statistics(samples: torch.Tensor) -> dict[str, np.ndarray]:
    """Low-order statistics of each sample (N, K, Y, X), flattened: over its pixels, and of its distance to the mean."""
    residual = samples - samples.mean(1, keepdim=True)
    power = (residual**2).mean((-2, -1))
    neighbours = (residual[..., 1:] * residual[..., :-1]).mean((-2, -1)) / power.clamp(min=1e-12)
    found = {
        "mean": samples.mean((-2, -1)), "standard deviation": samples.std((-2, -1)),
        "variance about the mean": power, "neighbour correlation about the mean": neighbours,
    }  # fmt: skip
    return {name: part.double().flatten().numpy() for name, part in found.items()}


def main() -> None:
    parser = make_parser(__doc__, rows=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=list(methods.modules()))
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--steps", type=int, help="instead of the world's own number")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method, name=value")
    arguments = parser.parse_args()
    given = parse_settings(arguments.set)
    rows = Rows("bayes", arguments)
    for world in arguments.worlds:
        for name in arguments.methods:
            steps, extra = arguments.steps or STEPS[world], EXTRA[world].get(name, {}) | given
            work = partial(run, name, world, steps, arguments.seed, extra)
            rows.measure(work, method=name, world=world, seed=arguments.seed)


if __name__ == "__main__":
    main()
