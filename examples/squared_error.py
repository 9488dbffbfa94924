"""The best guess under the squared error is the mean: for a die, and for a pixel.

Left: the mean cost of each guess of a die's next roll. The expected squared error is smallest at the mean, 3.5, which
is on no face; the absolute error is smallest anywhere between 3 and 4. Right: the same for a pixel. Of all scenes that
could be behind one noisy image, some have a figure in this pixel and some have not. A network trained with the squared
error predicts their mean E[s|x], weighted by p(s|x), a value in between where the image is ambiguous.

    python examples/squared_error.py [OUT.png]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.noise.quantization import Quantization
from noisewise.testing.worlds import FiniteWorld

FACES = np.arange(1, 7)
WORLD = FiniteWorld(PoissonGaussian(1.0, 0.0, 0.0, Quantization(1.0)))


def main(path: Path) -> None:
    """Draw the figure into a file."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    die, pixel = figure.subplots(1, 2)
    guesses = np.linspace(1, 6, 251)
    apart = FACES[:, None] - guesses
    for cost, label in (((apart**2).mean(0), "squared error"), (np.abs(apart).mean(0), "absolute error")):
        die.plot(guesses, cost, label=label, lw=2)
        least = guesses[cost < cost.min() + 1e-9]
        die.plot(least, np.full(len(least), cost.min()), "k", marker=".", ms=9)
    die.axvline(FACES.mean(), color="0.6", ls=":", label=f"mean of the faces: {FACES.mean()}")
    die.set(xlabel="guess of the next roll", ylabel="mean cost", title="A die", ylim=(0, 12))
    die.legend(frameon=False)

    _, noisy = WORLD.draw(40, seed=0)
    probability = WORLD.marginals(noisy)[0]
    # The pixel that is least certain of all.
    std = WORLD.moments(probability).std
    n, y, x = np.unravel_index(int(std.argmax()), std.shape)
    weights, levels = probability[n, :, y, x].numpy(), WORLD.levels.numpy()
    guesses = np.linspace(levels.min() - 0.5, levels.max() + 0.5, 251)
    cost = (weights[:, None] * (levels[:, None] - guesses) ** 2).sum(0)
    best = float((torch.from_numpy(weights) * WORLD.levels).sum())
    pixel.bar(levels, weights * cost.max(), width=0.25, color="0.8", label="p(s|x): what it could be")
    pixel.plot(guesses, cost, lw=2, label="mean squared error of an answer")
    pixel.axvline(best, color="0.6", ls=":", label=f"E[s|x] = {best:.2f}")
    pixel.plot(guesses[cost.argmin()], cost.min(), "k.", ms=9)
    pixel.set(xlabel="answer, photons", title="A pixel", ylim=(0, 11))
    pixel.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
