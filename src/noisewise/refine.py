"""The check-up, corrected: the law of noise that agrees with what a denoiser takes away under it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise.evaluate.trust import Denoiser, trust
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.methods.base import ImageSpec, Method
from noisewise.methods.simulated import Simulated
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.checkup import CheckUp
from noisewise.noise.curve import Line
from noisewise.noise.gaussian import Gaussian
from noisewise.noise.measure import measure, read_planes, usable
from noisewise.noise.measured import digital_of
from noisewise.noise.poisson_gaussian import PoissonGaussian
from noisewise.posterior import Posterior
from noisewise.scenes.optics import blurred
from noisewise.train.loop import fast_precision

MOST_PIXELS = 1 << 16  # of all planes together: seconds for a solution to one in a hundred
PLANES = 4
SPAN = 2.0  # by which factor the measured variance may be wrong, either way
ROUNDS = 5
SETTLED, NEAR_ENOUGH = 0.01, 0.05  # logarithm of the residual: no further step is worth it; taken for a solution
STEEPEST_RISE = -0.3  # of that logarithm against the factor's: what is flatter is chance
SUREST = 0.5  # of the pixels are looked at: those where there is hardly any structure that could go with the noise
ENOUGH, BLUR = 2.0, 2.0  # photons, in an image blurred by so many pixels, for a pixel to be looked at
FEWEST = 0.02  # of all pixels must have so many
STRIDE = 16


def refine(image: Any, found: CheckUp | None = None, *, axes: str | None = None, channel: int = 0) -> CheckUp:
    """The check-up of an image with its variance corrected by a factor c, so that the denoiser's residual fits it.

    c solves residual(c) = 1 (see `Trust`): under the law with c times the variance, as much is taken away by the
    packaged denoiser as a posterior mean takes away; looked at where the denoiser is surest and photons are not too
    few. As it was measured where no c within a factor of two does, and where neighbouring pixels share their noise.

    found: the check-up as `measure` made it. Errors: those of `measure`.
    """
    source = open_source(image, axes)
    found = found or measure(source, channel=channel)
    if found.kind != "white":
        return found
    planes, counts = planes_of(source, found, channel)
    counts &= bright(planes, found.line)

    def score(factor: float) -> float:
        law = quick_law(found.line.times(factor), found)
        looked = trust(planes, law, packaged(planes, law), usable=counts, surest=SUREST, again=False)
        return math.log(looked.residual)

    factor = root(score)
    return found if factor is None else replace(found, line=found.line.times(factor), refined=factor)


def quick_law(line: Line, found: CheckUp) -> Noise:
    """Counting with this line of variance: made at once, where the law of the check-up itself is fitted."""
    if line.slope > 0:
        return PoissonGaussian.from_line(line, found.signal_range[0], digital_of(found))
    return Gaussian(max(line.intercept, 1e-30) ** 0.5, digital_of(found))


def planes_of(source: Source, found: CheckUp, channel: int) -> tuple[Tensor, Tensor]:
    """Some planes (N, 1, Y, X) of an image, their middle, and where their pixels are finite and not clipped above."""
    groups = [group[0] for group in read_planes(source, channel, PLANES)[1]]
    side = int((MOST_PIXELS / len(groups)) ** 0.5)
    cut = np.stack([plane[tuple(middle(size, side) for size in plane.shape)] for plane in groups])[:, None]
    counts = usable([cut], found.grey, with_dark=False)
    filled = np.where(np.isfinite(cut), cut, np.nanmedian(cut))
    return torch.from_numpy(filled).float(), torch.from_numpy(counts)


def bright(planes: Tensor, line: Line) -> Tensor:
    """Where there are more than a few photons, were all noise that of photons; everywhere, if there are hardly any."""
    smooth = torch.stack([blurred(plane[0], [BLUR, BLUR])[None] for plane in planes])
    found: Tensor = line(smooth) >= ENOUGH * line.slope**2
    return found if found.float().mean() > FEWEST else torch.ones_like(found)


def middle(size: int, most: int) -> slice:
    """The middle of an axis, a multiple of the network's stride."""
    kept = min(size, most) // STRIDE * STRIDE
    return slice((size - kept) // 2, (size - kept) // 2 + kept)


def packaged(planes: Tensor, law: Noise) -> Denoiser:
    """The packaged denoiser for planes (N, 1, Y, X), told the law of their noise."""
    method, one = Simulated(), (1.0,)
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=tuple(planes.shape[2:]), mean=(float(planes.mean()),),
        std=(float(planes.std()),), target_mean=one, target_std=one,
    )  # fmt: skip
    net = method.build(spec, [law]).eval()
    net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return denoiser(method, net)


def denoiser(method: Method, net: Standardized) -> Denoiser:
    """A trained network as a function of images (N, C, Y, X)."""
    device = next(net.parameters()).device
    precision = fast_precision(device)

    def posterior(noisy: Tensor) -> Posterior[Tensor]:
        with torch.no_grad(), torch.autocast(device.type, dtype=precision, enabled=precision is not None):
            return method.posterior(net, noisy)

    return posterior


def root(score: Callable[[float], float]) -> float | None:
    """The factor at which a falling score crosses zero, by secants in its logarithm; None if out of reach.

    A score that is not smooth may leave zero again: the best of what was tried counts.
    """
    reach = math.log(SPAN)
    at, value, slope = 0.0, score(1.0), -1.0
    tried = [(abs(value), at)]
    for _ in range(ROUNDS):
        if abs(value) < SETTLED:
            break
        before, at = at, min(max(at - value / slope, -reach), reach)
        if at == before:
            return None
        previous, value = value, score(math.exp(at))
        tried.append((abs(value), at))
        slope = min((value - previous) / (at - before), STEEPEST_RISE)
    left, best = min(tried)
    return math.exp(best) if left < NEAR_ENOUGH else None
