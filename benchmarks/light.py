"""Samples by adding light, on drawn scenes: their error, spread, and how often the truth lies within their range.

    python benchmarks/light.py               (half an hour on two cores)
    python benchmarks/light.py --images 8    (three minutes)

The packaged network as it is, with the true noise model. If samples are those of the exact posterior, the squared error
of one is twice that of the mean; the truth lies within the range of eight of them with a probability of 7 / 9; and
their variance is the squared error of the mean: all that for single pixels, and for means over regions.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common import make_parser, write
from noisewise.methods.base import ImageSpec
from noisewise.methods.simulated import Simulated
from noisewise.noise.base import Noise
from noisewise.noise.models.correlated import Correlated
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.scenes import draw

SIDE, SAMPLES, FIRST = 96, 8, 100_000  # seeds from here on: scenes that the network was not trained on
REGIONS = (1, 4, 8, 16)  # pixels
BACKGROUND = (0.05, 0.5)  # of the brightest pixel
BLUR = torch.exp(-0.5 * (torch.arange(-4.0, 5.0) / 0.8) ** 2)
WORLDS: dict[str, tuple[Noise, float]] = {  # and the brightest pixel
    "Gaussian noise": (Gaussian(1.0), 10.0),
    "10 photons, read noise": (PoissonGaussian(1.0, 0.0, 1.0), 10.0),
    "50 photons": (PoissonGaussian(1.0, 0.0, 0.0), 50.0),
    "correlated noise": (Correlated(Gaussian(1.0), BLUR[:, None] * BLUR), 10.0),
    "row noise": (Correlated(PoissonGaussian(1.0, 0.0, 1.0), None, 1.0), 30.0),
}


def scene(number: int, peak: float) -> Tensor:
    """A drawn scene on a background, (1, 1, Y, X)."""
    low = np.random.default_rng(number).uniform(*BACKGROUND)
    return peak * (low + (1 - low) * draw("mixed", (SIDE, SIDE), FIRST + number).float())[None, None]


def measured(signal: Tensor, noise_model: Noise, number: int) -> dict[str, Any]:
    """Sums over an image that give the figures of a world."""
    noisy = noise_model.sample(signal, torch.Generator().manual_seed(number))
    mean, std = float(noisy.mean()), float(noisy.std())
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=(SIDE, SIDE), mean=(mean,), std=(std,),
        target_mean=(mean,), target_std=(std,),
    )  # fmt: skip
    method = Simulated()
    net = method.build(spec, [noise_model]).eval()
    with torch.inference_mode():
        found = method.posterior(net, noisy)
        drawn = method.sampler(net, noisy, seed=number)(range(SAMPLES))
    of_mean, of_samples = drawn.mean(0) - signal, drawn - signal
    record: dict[str, Any] = {
        "mean": float(((found.mean - signal) ** 2).mean()), "sample": float((of_samples**2).mean()),
        "mean_of_samples": float((of_mean**2).mean()),
        "claimed": float((found.std**2).mean()) / REGIONS[-1] ** 2,
    }  # fmt: skip
    for side in REGIONS:
        error, part, truth = (F.avg_pool2d(one, side) for one in (found.mean - signal, drawn[:, 0], signal[0]))
        inside = (truth >= part.amin(0)) & (truth <= part.amax(0))
        record[f"error_{side}"] = float((error**2).mean())
        record[f"variance_{side}"] = float(part.var(0).mean())
        record[f"inside_{side}"] = float(inside.float().mean())
    return record


def figures(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a world from those of its images."""
    total = {name: float(np.mean([one[name] for one in records])) for name in records[0]}
    return {
        "images": len(records), "ratio": total["sample"] / total["mean"],
        "mean_of_samples_db": 10 * np.log10(total["mean_of_samples"] / total["mean"]),
        "inside": [total[f"inside_{side}"] for side in REGIONS],
        "variance": [total[f"variance_{side}"] / total[f"error_{side}"] for side in REGIONS],
        "claimed": total["claimed"] / total[f"error_{REGIONS[-1]}"],
    }  # fmt: skip


def main() -> None:
    """Measure all worlds."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    found = {}
    for name, (noise_model, peak) in WORLDS.items():
        started = time.perf_counter()
        records = [measured(scene(number, peak), noise_model, number) for number in range(arguments.images)]
        found[name] = figures(records)
        print(f"{name}: {found[name]}, {time.perf_counter() - started:.0f} s", flush=True)
    write("light", {"samples": SAMPLES, "regions": REGIONS, "worlds": found}, arguments.dry)


if __name__ == "__main__":
    main()
