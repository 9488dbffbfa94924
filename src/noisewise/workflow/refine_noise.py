"""Correct the measured noise variance by what a denoiser removes under it, and check a result in the same way."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise import methods
from noisewise.data.images import fill
from noisewise.estimate.planes import cuts_of, fullest, read_planes, valid_mask
from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.consistency import ChannelNoise, DenoiseFunction, check_consistency
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.methods.base import Denoiser, ImageSpec, Method
from noisewise.noise.base import Noise
from noisewise.noise.fit.variance_line import VarianceLine
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.posterior import Normal, Point, Posterior
from noisewise.predict.run import Predictor
from noisewise.scenes.optics import gaussian_blur

PACKAGED = "simulated"  # the method whose pretrained network removes the noise
MOST_PIXELS = 1 << 16  # of all planes together: seconds for a solution to one in a hundred
PLANES = 4
MAX_FACTOR = 2.0  # by which the measured variance may be wrong, either way
ROUNDS = 5
SETTLED, NEAR_ENOUGH = 0.02, 0.05  # logarithm of the residual: no further step is worth it; accepted as a solution
USUAL_SLOPE, FLATTEST_SLOPE = -0.85, -0.3  # of that logarithm against the factor's; flatter is estimation noise
LOWEST_STD = 0.5  # fraction of pixels used: those with the lowest predicted std
ENOUGH, BLUR = 2.0, 2.0  # photons that a pixel needs; blur (pixels) before counting
FEWEST = 0.02  # minimum fraction of such pixels
STRIDE = 16


def refine(image: Any, found: NoiseReport, *, axes: str | None = None, channel: int = 0) -> NoiseReport:
    """The check-up of an image with its noise variance corrected by a factor c, so that a denoiser's residual fits it.

    c solves residual(c) = 1 (see `ConsistencyCheck`): under the noise model with c times the variance, the packaged
    denoiser removes as much as a posterior mean removes. Only pixels with a low predicted standard deviation and not
    too few photons are used. Unchanged if there is no solution within a factor of two, for other kinds of noise than
    white, for photon counts, and where noise was clipped, so that the residual is not that of the noise.

    image: a path or an array. found: its check-up, from `measure`. axes, channel: as for `measure`.

    Returns the check-up with a scaled variance line, and the factor as `variance_correction`.

    Errors: `UserError` for an image that cannot be read.

    Source: Stein 1981, doi:10.1214/aos/1176345632.
    """
    if found.few_photons or found.kind != "white" or found.line.slope < 0 or found.levels.corrected:
        return found
    source = open_source(image, axes)
    planes, counts = planes_of(source, found, channel)
    counts &= bright(planes, found.line)

    def score(factor: float) -> float:
        noise_model = quick_noise_model(found.line.scaled(factor), found)
        checked = check_consistency(
            planes, noise_model, packaged_denoiser(planes, noise_model), valid=counts,
            lowest_std_fraction=LOWEST_STD, stability=False,
        )  # fmt: skip
        return math.log(checked.residual)

    factor = root(score)
    return found if factor is None else replace(found, line=found.line.scaled(factor), variance_correction=factor)


def quick_noise_model(line: VarianceLine, found: NoiseReport) -> Noise:
    """Photon noise with this variance line, without the fit of the check-up's own noise model."""
    if line.slope > 0:
        return PoissonGaussian.from_line(line, found.signal_range[0], found.pixel_values.quantization)
    return Gaussian(max(line.intercept, sys.float_info.min) ** 0.5, found.pixel_values.quantization)


def planes_of(source: Source, found: NoiseReport, channel: int) -> tuple[Tensor, Tensor]:
    """A part of some planes (N, 1, Y, X) of an image, ADU, and where pixels are finite and not saturated."""
    groups = [group[0] for group in read_planes(source, channel, PLANES)[1]]
    side = int((MOST_PIXELS / len(groups)) ** 0.5)
    cuts = cuts_of(groups[0].shape, [min(size, side) // STRIDE * STRIDE for size in groups[0].shape])
    cut = fullest(np.stack([plane[part] for plane in groups]) for part in cuts)[:, None]
    counts = valid_mask([cut], found.pixel_values)
    return torch.from_numpy(fill(cut[:, 0])[0])[:, None], torch.from_numpy(counts)


def bright(planes: Tensor, line: VarianceLine) -> Tensor:
    """Where there are more than a few photons, if all noise were photon noise; everywhere, if hardly anywhere."""
    smooth = torch.stack([gaussian_blur(plane[0], [BLUR, BLUR])[None] for plane in planes])
    found: Tensor = line(smooth) >= ENOUGH * line.slope**2
    return found if found.float().mean() > FEWEST else torch.ones_like(found)


def packaged_denoiser(planes: Tensor, noise_model: Noise) -> DenoiseFunction:
    """The packaged denoiser for planes (N, 1, Y, X), conditioned on their noise."""
    method, one = methods.get(PACKAGED)(), (1.0,)
    spec = ImageSpec(
        spatial="YX", channels=1, spacing=(1.0, 1.0), size=tuple(planes.shape[2:]), mean=(float(planes.mean()),),
        std=(float(planes.std()),), target_mean=one, target_std=one,
    )  # fmt: skip
    net = method.build(spec, [noise_model]).eval()
    net.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return as_function(method, net)


def packaged_result(noisy: Tensor, noise_model: Noise) -> Tensor:
    """The result of the packaged denoiser, as it is, for an image (Y, X) of any size."""
    height, width = noisy.shape
    padded = np.pad(noisy, [(0, -size % STRIDE) for size in noisy.shape], mode="symmetric")[None, None]
    image = torch.from_numpy(padded)
    found: Tensor = packaged_denoiser(image, noise_model)(image).mean[0, 0, :height, :width]
    return found


def as_function(method: Method, net: Denoiser) -> DenoiseFunction:
    """A trained network as a function of images (N, C, *S), on any device; its results are where the images are."""
    predictor = Predictor(method, net)

    def posterior(noisy: Tensor) -> Posterior[Tensor]:
        found = predictor.posterior(noisy.to(predictor.device), transforms=1)
        mean = found.mean.to(noisy.device)
        return Point(mean) if found.std is None else Normal(mean, found.std.to(noisy.device))

    return posterior


def for_checks(models: Sequence[Noise]) -> ChannelNoise:
    """Noise models of channels, typical of all pixels, in the main memory, where checks are computed."""
    return ChannelNoise([deepcopy(model.typical()).cpu() for model in models])


def root(score: Callable[[float], float]) -> float | None:
    """The factor at which a falling score crosses zero, by secants in its logarithm; None if there is none in reach.

    A score that is not smooth may leave zero again: the best of all trials counts.
    """
    limit = math.log(MAX_FACTOR)
    at, value, slope = 0.0, score(1.0), USUAL_SLOPE
    trials = [(abs(value), at)]
    for _ in range(ROUNDS):
        if abs(value) < SETTLED:
            break
        before, at = at, min(max(at - value / slope, -limit), limit)
        if at == before:
            return None
        previous, value = value, score(math.exp(at))
        trials.append((abs(value), at))
        slope = min((value - previous) / (at - before), FLATTEST_SLOPE)
    left, best = min(trials)
    return math.exp(best) if left < NEAR_ENOUGH else None
