"""Noise model times prior: the posterior of a pixel from its own value and its neighbours.

p(s|x) ∝ p(x|s) p(s). In a world with known probabilities, the neighbours of a pixel give a prior for it, the noise
model gives the likelihood of its noisy value, and their product is the posterior (left, for one pixel). Right: the mean
without the pixel's own value (all that a blind-spot method can know), the posterior mean, and the posterior standard
deviation.

    python examples/model_times_prior.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from noisewise.testing.worlds import FiniteWorld

WORLD = FiniteWorld(PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0)))


def main(path: Path) -> None:
    """Draw the figure into a file."""
    signal, noisy = WORLD.draw(200, seed=5)
    probability, evidence = WORLD.marginals(noisy)
    prior = (probability.log() - evidence).softmax(1)
    blind, posterior = WORLD.moments(prior), WORLD.moments(probability)
    # The image that gains most, and the pixel in it whose own value changes the mean most.
    won = ((blind.mean - signal) ** 2).sum((1, 2)) - ((posterior.mean - signal) ** 2).sum((1, 2))
    n = int(won.argmax())
    y, x = np.unravel_index(int((blind.mean[n] - posterior.mean[n]).abs().argmax()), signal.shape[1:])
    values, member = WORLD.levels.unique(return_inverse=True)  # figures may share a level

    def by_value(weights: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(values), dtype=weights.dtype).index_add(0, member, weights)

    figure = Figure(figsize=(13, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2.1))
    bars = left.subplots()
    value = noisy[n, y, x].double()
    parts = (
        ("prior p(s), from the surroundings", by_value(prior[n, :, y, x])),
        (f"likelihood p(x = {value:.0f} | s)", WORLD.noise.log_prob(value, values).exp()),
        ("posterior p(s|x)", by_value(probability[n, :, y, x])),
    )
    places = np.arange(len(values))
    for i, (label, heights) in enumerate(parts):
        bars.bar(places + 0.27 * (i - 1), heights, width=0.27, label=label)
    bars.set_xticks(places, [f"{level:g}" for level in values.tolist()])
    bars.set(xlabel="signal s of the pixel, photons", ylabel="probability")
    bars.legend(frameon=False)
    images = (
        ("signal", signal), ("noisy", noisy), ("blind mean", blind.mean),
        ("posterior mean", posterior.mean), ("standard deviation", posterior.std),
    )  # fmt: skip
    for panel, (title, stack) in zip(right.subplots(1, 5), images, strict=True):
        scale = {} if stack is posterior.std else {"vmin": 0, "vmax": 7}
        panel.imshow(stack[n], cmap="magma", interpolation="nearest", **scale)
        panel.plot(x, y, "s", ms=9, mfc="none", mec="cyan", mew=1.5)
        panel.set(xticks=[], yticks=[], title=title)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
