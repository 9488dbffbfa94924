"""CARE, Noise2Noise and Noise2Void learn an expectation: three targets, two minima.

For one noisy image x in a world with a known posterior, scenes s are sampled from p(s|x) and noisy copies x' from
p(x'|s). CARE's cost of a prediction a in a pixel is E (a − s)², that of Noise2Noise is E (a − x')²: the same parabola,
shifted up by the variance of the copy's noise, with its minimum at the same E[s|x]. Noise2Void does not see the pixel
itself; its target is the pixel's own noisy value, and its cost has its minimum at E[s_i | x without x_i].

    python examples/three_targets.py [OUT.png]
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
SAMPLES = 20_000


def main(path: Path) -> None:
    """Draw the figure into a file."""
    generator = torch.Generator().manual_seed(1)
    _, noisy = WORLD.draw(60, seed=3)
    probability, evidence = WORLD.marginals(noisy)
    blind = (probability.log() - evidence).softmax(1)
    std = WORLD.moments(probability).std
    n, y, x = np.unravel_index(int(std.argmax()), std.shape)

    def sample(weights: torch.Tensor) -> torch.Tensor:
        """Signals of the pixel from a posterior."""
        return WORLD.levels[torch.multinomial(weights, SAMPLES, replacement=True, generator=generator)]

    scenes, hidden = sample(probability[n, :, y, x]), sample(blind[n, :, y, x])
    targets = {
        "CARE: the scene s": scenes,
        "Noise2Noise: another noisy copy x'": WORLD.noise.sample(scenes, generator),
        "Noise2Void: the pixel itself, not seen": WORLD.noise.sample(hidden, generator),
    }
    means = {"E[s|x]": float(scenes.mean()), "E[s$_i$ | x without x$_i$]": float(hidden.mean())}

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    image, curves = figure.subplots(1, 2, width_ratios=(1, 1.7))
    image.imshow(noisy[n], cmap="magma", interpolation="nearest")
    image.plot(x, y, "s", ms=22, mfc="none", mec="white", mew=2)
    image.set(xticks=[], yticks=[], title="noisy image x and the pixel")
    answers = torch.linspace(0, 8, 161, dtype=torch.float64)
    for label, target in targets.items():
        cost = ((answers[:, None] - target) ** 2).mean(1)
        curves.plot(answers, cost, lw=2, label=label)
        curves.plot(answers[cost.argmin()], cost.min(), "k.", ms=9)
    for (label, value), style in zip(means.items(), (":", "--"), strict=True):
        curves.axvline(value, color="0.5", ls=style, label=f"{label} = {value:.2f}")
    curves.set(xlabel="answer in this pixel, photons", ylabel="mean squared error", ylim=(0, 38))
    curves.legend(frameon=False)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
