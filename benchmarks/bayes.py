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

import noisewise as nw
from common import Rows
from noisewise import methods
from noisewise.evaluate.bayes import FiniteWorld, GaussianWorld, World, decibel_gap
from noisewise.noise.digital import Digital
from noisewise.noise.poisson_gaussian import PoissonGaussian

WORLDS: dict[str, World] = {
    "gaussian": GaussianWorld(),
    "poisson": FiniteWorld(PoissonGaussian(1.0, 0.0, 0.0, Digital(1.0))),
    "poisson_gaussian": FiniteWorld(PoissonGaussian(2.5, 50.0, 2.0), gain=2.5, offset=50.0),
}
TRAINING = {"gaussian": 64, "poisson": 60_000, "poisson_gaussian": 60_000}  # images
TESTED = {"gaussian": 24, "poisson": 4000, "poisson_gaussian": 4000}
SMALL = {"patch_size": 12, "batch_size": 128, "features": 96, "depth": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "gaussian": {"patch_size": 64, "batch_size": 8}, "poisson": SMALL, "poisson_gaussian": SMALL,
}  # fmt: skip
STEPS = {"gaussian": 3000, "poisson": 8000, "poisson_gaussian": 8000}
SCENES, SCENES_DRAWN = Path(tempfile.gettempdir()) / "scenes_of_a_world.npy", 400
BLIND = {"n2v": {"blind_prediction": True}}
# Signals of a finite world are few: what the surroundings leave open of a pixel has several modes.
FINITE = {**BLIND, "pn2v": {"components": 3}}
EXTRA: dict[str, dict[str, dict[str, Any]]] = {
    "gaussian": {**BLIND, "care": {"uncertainty": True}, "simulated": {"own": 0.0}},
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
    noise = world.noise if kind(**extra).wants_noise else None
    start = time.perf_counter()
    model = nw.train(name, noisy.numpy(), target, steps=steps, noise=noise, seed=seed, **(SETTINGS[world_name] | extra))
    seconds = time.perf_counter() - start
    return {
        "method": name, "world": world_name, "settings": extra, "steps": model.run.step, "seed": seed,
        "training_s": seconds, **score(model, world, TESTED[world_name]),
    }  # fmt: skip


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
        std = torch.from_numpy(found.std)[inner].double()
        own = errors["method"].double()
        row["std"] = {
            "rms": float((std**2).mean().sqrt()), "exact_rms": float((exact.std[inner] ** 2).mean().sqrt()),
            "pixelwise_error": float(((std - exact.std[inner]).abs() / exact.std[inner].clamp(min=1e-9)).median()),
            "within_90": float((own.abs() < 1.645 * std).double().mean()),
        }  # fmt: skip
    return row


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
