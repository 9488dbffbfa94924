"""What is checked of a trained model before its result is written: notes for the user, and a record of all numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from noisewise import methods
from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.consistency import (
    OTHER_SHAPE,
    STRUCTURED,
    TOO_LITTLE,
    TOO_MUCH,
    UNSTABLE,
    ConsistencyCheck,
    DenoiseFunction,
    NoiseLike,
    check_consistency,
)
from noisewise.evaluate.coverage import Coverage, coverages
from noisewise.io.base import Source
from noisewise.io.text import finite
from noisewise.methods.losses.conditioned import conditioning, moments
from noisewise.methods.losses.thinning import thinned_pair
from noisewise.model import Model
from noisewise.workflow.judge import Judge
from noisewise.workflow.packaged import as_function, for_checks, planes_of

COMPARE = "compare with: noisewise denoise IMAGE --method n2v -o COMPARE"
COMPARE_CORRELATED = "compare with the result of: noisewise train n2v IMAGE --blind-shape auto -o MODEL"
HELD_OUT = 0.5  # of the light, taken out to test the intervals
EMPTY_SIDE, EMPTY_DEPTH = 128, 5  # pixels, planes
SEED = 1_000_037  # not a seed from which others draw noise


def check_result(model: Model, source: Source, checkup: NoiseReport | None) -> tuple[list[str], dict[str, Any]]:
    """Notes on one image where the result of a pretrained model is inconsistent with the noise, and all numbers.

    checkup: the measured noise of the image. Only for methods whose mean comes from a pretrained network, and images
    with one channel; otherwise nothing.
    """
    traits = model.method.traits
    checked = traits.pretrained and not traits.mean_from_samples
    if checkup is None or not checked or model.spec.channels != 1:
        return [], {}
    planes, counts = parts_of(model, source, checkup)
    denoise, noise = as_function(model.method, model.net), for_checks(model.noise_models)
    check = check_consistency(planes, noise, denoise, valid=counts)
    empty = empty_region(denoise, noise, checkup, model.spec.dims)
    record: dict[str, Any] = {"image": source.name, "consistency": asdict(check), "empty": empty}
    if checkup.kind == "white" and methods.name_of(model.method) == "simulated":
        record["coverage"] = [asdict(one) for one in thinned_coverage(model, planes, counts)]
    return list(described(check, checkup.kind == "white")), finite(record)


def parts_of(model: Model, source: Source, checkup: NoiseReport) -> tuple[Tensor, Tensor]:
    """A part of some planes (N, 1, Y, X) or stacks (N, 1, Z, Y, X) of an image, and which of their pixels count."""
    if model.spec.dims == 2:
        return planes_of(source, checkup, 0)
    limit = checkup.pixel_values.high
    return Judge([source], (), {} if limit is None else {0: limit.value}).parts(model.spec.spatial)


def empty_region(denoise: DenoiseFunction, noise: NoiseLike, checkup: NoiseReport, dims: int = 2) -> dict[str, float]:
    """A constant dark signal with the same noise, denoised: what is left, in standard deviations of the noise.

    std: of all pixels. most: the largest deviation of one. An empty region must stay empty.
    """
    signal = torch.full((1, 1, *[EMPTY_DEPTH] * (dims - 2), EMPTY_SIDE, EMPTY_SIDE), checkup.signal_range[0])
    noisy = noise.sample(signal, torch.Generator().manual_seed(SEED)).float()
    unit = float(noise.mean_var(signal.double())[1].mean()) ** 0.5
    left = (denoise(noisy).mean - signal) / unit
    return {"std": float(left.std()), "most": float(left.abs().max())}


def thinned_coverage(model: Model, planes: Tensor, counts: Tensor) -> list[Coverage]:
    """Half of the light is taken out, predicted from the other half, and compared with the intervals for it."""
    net, generator = model.net, torch.Generator().manual_seed(SEED)
    features = conditioning(net, len(planes)).thinned(HELD_OUT)
    with torch.no_grad():
        rest, target = thinned_pair(net, planes.to(net.mean.device), HELD_OUT, generator)
        mean, width = moments(net, rest, features)
    variance = features.stabilizer.variance(mean)
    std = net.std_scale * width * variance.sqrt()
    mean, std, target, variance = (part.cpu() for part in (mean, std, target, variance))
    return coverages(mean, std, target, variance, counts)


def described(check: ConsistencyCheck, white: bool) -> Iterator[str]:
    """A sentence for each respect in which the result is not consistent: what was found, what it means, what to do."""
    compare = COMPARE if white else COMPARE_CORRELATED
    if check.residual > TOO_MUCH:
        yield (
            f"The denoiser removed {100 * (check.residual - 1):.0f} % more than the measured noise. Fine structure may "
            f"be lost; {compare}"
        )
    if check.residual < TOO_LITTLE:
        yield (
            f"The denoiser removed {100 * (1 - check.residual):.0f} % less noise than was measured. The noise may be "
            f"overestimated; {compare}"
        )
    if (correlation := max(check.correlation.values())) > STRUCTURED:
        yield (
            f"What was removed has structure: its neighbouring pixels are correlated by {correlation:.2f} more than "
            f"the noise. Part of the image may be lost; {compare}"
        )
    if abs(check.shape) > OTHER_SHAPE:
        yield f"What was removed has other tails than the noise ({check.shape:+.0%}): it may be texture; {compare}"
    if check.stability is not None and check.stability > UNSTABLE:
        yield (
            f"With new noise and denoised again, the image changes by {check.stability:.1f} times its predicted "
            f"standard deviation. Some of its fine structure may be invented; {compare}"
        )
