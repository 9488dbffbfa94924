"""Samples by adding light, of a network trained in a world whose exact posterior is known.

    python benchmarks/light_worlds.py               (forty minutes on two cores)

`simulated` is trained on scenes of Gaussian fields with white noise, and with noise along X. Then an image is sampled
400 times, and exactly 4,000 times: mean, standard deviation, variance about their mean and neighbour correlation of
each sample, within 48 x 48 pixels. Largest difference of the distributions (Kolmogorov and Smirnov).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from scipy.stats import ks_2samp

import noisewise as nw
from bayes import STATIONARY, STEPS, WORLDS, statistics, trained
from common import make_parser, write
from noisewise.testing.worlds import World

SIDE, BORDER, SAMPLES, EXACT, PASSES = 88, 20, 400, 4000, (12, 40)


def compared(model: nw.Model, world: World) -> dict[str, Any]:
    """The statistics of samples, and of exact ones."""
    small = replace(world, side=SIDE)  # type: ignore[type-var]
    noisy = small.draw(1, 3)[1]
    inner = (..., *[slice(BORDER, SIDE - BORDER)] * 2)
    exact = statistics(small.sample(noisy, EXACT, seed=0)[inner])
    found = {}
    for passes in PASSES:
        model.method = replace(model.method, passes=passes)  # type: ignore[call-arg]
        drawn = torch.from_numpy(model.predict(noisy[0].numpy(), average=False).sample(SAMPLES))
        ours = statistics(drawn[None][inner])
        found[str(passes)] = {
            name: {
                "model": float(values.mean()), "exact": float(exact[name].mean()), "std": float(exact[name].std()),
                "ks": float(ks_2samp(values, exact[name]).statistic),
            }
            for name, values in ours.items()
        }  # fmt: skip
    return found


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--worlds", nargs="*", default=["gaussian", "correlated"])
    parser.add_argument("--steps", type=int, help="instead of the world's own number")
    arguments = parser.parse_args()
    worlds = {}
    for name in arguments.worlds:
        start, world = time.perf_counter(), WORLDS[name]
        made = trained("simulated", name, arguments.steps or STEPS[name], 0, STATIONARY["simulated"])
        assert made is not None
        model, _ = made
        spread = float(model.net.spread)
        worlds[name] = {"spread": spread, "steps": model.train_state.step, "passes": compared(model, world)}
        print(name, round(time.perf_counter() - start), worlds[name], flush=True)
    write("light_worlds", {"worlds": worlds, "samples": SAMPLES, "exact": EXACT}, arguments.dry)


if __name__ == "__main__":
    main()
