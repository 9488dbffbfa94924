"""How far from the best that any method could do: worlds in which the posterior is known exactly.

    python benchmarks/bayes.py                       (every method in every world; hours on two cores)
    python benchmarks/bayes.py --methods n2v --worlds gaussian

Each method trains for a world's number of steps on images of it, with what it needs (a second noisy image, the
clean one, the law of the noise, scenes of that world), and denoises others of the same world. Its mean squared error
is held against that of the exact posterior mean, and of the exact mean without the pixel's own value, on the same
images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ks_2samp

import noisewise as nw
from common import Rows
from noisewise import methods
from noisewise.testing.worlds import FiniteWorld, GaussianWorld, World, decibel_gap
from noisewise.noise.quantization import Quantization
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

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
SCENES, SCENES_DRAWN = Path(tempfile.gettempdir()) / "scenes_of_a_world.npy", 400
BLIND = {"n2v": {"blind_prediction": True}}
ALONE = {"drawn": 0.0, "prior": False}  # what is learned is of this world, and of no scenes of others
UNSUPERVISED = {"hdn": ALONE, "divnoising": ALONE, "gap": ALONE, "cosdd": ALONE}
# Signals of a finite world are few: what the surroundings leave open of a pixel has several modes.
FINITE = {**BLIND, **UNSUPERVISED, "pn2v": {"components": 3}, "hdn": {"levels": 2} | ALONE}
DRAWS = 100  # samples of an image
DRAWN = {"gaussian": 8, "correlated": 8, "poisson": 400, "poisson_gaussian": 400}  # images
COMPARED = 20  # samples of an image that are held against exact ones
STATIONARY = {**BLIND, **UNSUPERVISED, "care": {"uncertainty": True}, "simulated": {"own": 0.0}}
EXTRA: dict[str, dict[str, dict[str, Any]]] = {
    "gaussian": STATIONARY, "correlated": STATIONARY | {"n2v": {"blind_shape": "auto", "blind_prediction": True}},
    "poisson": FINITE, "poisson_gaussian": FINITE,
}  # fmt: skip


def run(name: str, world_name: str, steps: int, seed: int, extra: dict[str, Any]) -> dict[str, Any]:
    """One method in one world."""
    world = WORLDS[world_name]
    kind = methods.get(name)
    signal, noisy = world.draw(TRAINING[world_name], 2 * seed + 1)
    again = world.noise.sample(signal.double(), torch.Generator().manual_seed(seed + 77)).float()
    target = {"noisy": None, "pairs": again.numpy(), "clean": signal.numpy()}[kind.needs]
    if name == "simulated":  # other scenes of the same world
        np.save(SCENES, world.draw(SCENES_DRAWN, 2 * seed + 2)[0].numpy())
        extra = extra | {"scenes": str(SCENES)}
    if kind.counts_only and world_name != "poisson":
        return {"method": name, "world": world_name, "seed": seed, "refused": "its pixels are no counts"}
    noise = world.noise if kind(**extra).wants_noise else None
    start = time.perf_counter()
    model = nw.train(name, noisy.numpy(), target, steps=steps, noise=noise, seed=seed, **(SETTINGS[world_name] | extra))
    seconds = time.perf_counter() - start
    row = {
        "method": name, "world": world_name, "settings": extra, "steps": model.run.step, "seed": seed,
        "training_s": seconds, **score(model, world, TESTED[world_name]),
    }  # fmt: skip
    if model.method.gives_samples and not kind.counts_only:
        row["drawn"] = score_samples(model, world, DRAWN[world_name])
    return row


def score(model: nw.Model, world: World, count: int) -> dict[str, Any]:
    """Squared errors of a model and of the two limits, on fresh images."""
    signal, noisy = world.draw(count, 10_000)
    inner = (slice(None), *[slice(world.margin, world.side - world.margin)] * 2)
    found = model.predict(noisy.numpy())
    exact, blind = world.posterior(noisy), world.blind(noisy)
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
    """Claimed standard deviations against exact ones, and against errors."""
    std, error = std.double(), error.double()
    return {
        "rms": float((std**2).mean().sqrt()), "exact_rms": float((exact**2).mean().sqrt()),
        "pixelwise_error": float(((std - exact).abs() / exact.clamp(min=1e-9)).median()),
        "within_90": float((error.abs() < 1.645 * std).double().mean()),
    }  # fmt: skip


def score_samples(model: nw.Model, world: World, count: int) -> dict[str, Any]:
    """Mean and standard deviation of samples against exact ones, and single samples against exact samples."""
    signal, noisy = world.draw(count, 20_000)
    inner = (..., *[slice(world.margin, world.side - world.margin)] * 2)
    drawn = torch.from_numpy(model.predict(noisy.numpy()).sample(DRAWS)).transpose(0, 1)
    exact, true = world.posterior(noisy), world.sample(noisy, COMPARED, seed=0)
    mean, std = drawn.double().mean(1), drawn.double().std(1)
    error, limit = (mean - signal)[inner], (exact.mean - signal)[inner]
    pairs = zip(*(figures(part[inner]).items() for part in (drawn[:, :COMPARED], true)), strict=True)
    return {
        "samples": DRAWS, "above_posterior_db": decibel_gap(error, limit),
        "std": deviations(std[inner], exact.std[inner], error),
        "two_samples": {
            name: {"model": float(a.mean()), "exact": float(b.mean()), "ks": float(ks_2samp(a, b).statistic)}
            for (name, a), (_, b) in pairs
        },
    }  # fmt: skip


def figures(drawn: torch.Tensor) -> dict[str, np.ndarray]:
    """Low-order statistics of each sample (N, K, Y, X), flat: over its pixels, and of its distance from the mean."""
    left = drawn - drawn.mean(1, keepdim=True)
    neighbours = (left[..., 1:] * left[..., :-1]).mean((-2, -1)) / (left**2).mean((-2, -1)).clamp(min=1e-12)
    found = {
        "mean": drawn.mean((-2, -1)), "standard deviation": drawn.std((-2, -1)),
        "variance about the mean": (left**2).mean((-2, -1)), "neighbour correlation about the mean": neighbours,
    }  # fmt: skip
    return {name: part.double().flatten().numpy() for name, part in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="*", default=list(methods.modules()))
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--steps", type=int, help="in place of the world's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method, name=value")
    parser.add_argument("--dry", action="store_true", help="do not keep the results")
    arguments = parser.parse_args()
    given = {key: json.loads(value) for key, value in (pair.split("=") for pair in arguments.set)}
    rows = Rows("bayes", ["method", "world", "seed"])
    for world in arguments.worlds:
        for name in arguments.methods:
            steps, extra = arguments.steps or STEPS[world], EXTRA[world].get(name, {}) | given
            row = run(name, world, steps, arguments.seed, extra)
            print(json.dumps(row), flush=True)
            if not arguments.dry:
                rows.keep(row)


if __name__ == "__main__":
    main()
