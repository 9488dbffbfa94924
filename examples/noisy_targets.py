"""Noise2Noise reaches the same result as CARE, without any clean image.

Two equal small networks are trained on the same textures: one with clean targets, one with second noisy copies. After
some numbers of steps their error on other images is compared with that of the exact posterior mean, the smallest
possible.

    python examples/noisy_targets.py [OUT.png]
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

import noisewise as nw
from noisewise.testing.worlds import GaussianWorld

WORLD = GaussianWorld(side=80, border=16)
STEPS = (20, 60, 180)
SETTINGS = {"features": 16, "depth": 1, "batch_size": 8, "patch_size": 40}


def main(path: Path) -> None:
    """Draw the figure into a file."""
    signal, noisy = WORLD.draw(16, seed=0)
    copy = signal + WORLD.sigma * torch.randn(signal.shape, generator=torch.Generator().manual_seed(9))
    truth, test = WORLD.draw(8, seed=1)
    inner = (slice(None), *[slice(WORLD.border, -WORLD.border)] * 2)

    def rms(image: torch.Tensor) -> float:
        return float(((image - truth)[inner] ** 2).mean().sqrt())

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    curve, *shown = figure.subplots(1, 4, width_ratios=(2.2, 1, 1, 1))
    last = {}
    for name, target, label in (("care", signal, "CARE: clean targets"), ("n2n", copy, "Noise2Noise: noisy targets")):
        errors = []
        for steps in STEPS:
            model = nw.train(name, noisy.numpy(), target.numpy(), steps=steps, **SETTINGS)
            last[label] = torch.from_numpy(model.predict(test.numpy(), average=False).mean)
            errors.append(rms(last[label]))
        curve.plot(STEPS, errors, "o-", label=label)
    curve.axhline(rms(WORLD.posterior(test).mean), color="0.4", ls="--", label="exact posterior mean E[s|x]")
    curve.set(xscale="log", xlabel="training steps", ylabel="error, ADU (noise: 15)", xticks=STEPS)
    curve.set_xticks(STEPS, [str(s) for s in STEPS])
    curve.minorticks_off()
    curve.legend(frameon=False)
    for panel, (title, image) in zip(shown, {"noisy": test, **last}.items(), strict=True):
        panel.imshow(image[0][inner[1:]], cmap="gray", vmin=40, vmax=160, interpolation="nearest")
        panel.set(xticks=[], yticks=[], title=title.replace(": ", ":\n"))
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".png"))
