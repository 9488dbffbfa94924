"""Warnings where a denoised image is inconsistent with the measured noise."""

from __future__ import annotations

from collections.abc import Iterator

from noisewise.estimate.report import NoiseReport
from noisewise.evaluate.consistency import (
    STRUCTURED,
    TOO_LITTLE,
    TOO_MUCH,
    UNSTABLE,
    ConsistencyCheck,
    check_consistency,
)
from noisewise.io.base import Source
from noisewise.model import Model
from noisewise.workflow.refine_noise import as_function, planes_of

COMPARE = "compare with: noisewise denoise IMAGE --method n2v -o COMPARE"
COMPARE_CORRELATED = "compare with the result of: noisewise train n2v IMAGE --blind-shape auto -o MODEL"


def consistency_warnings(model: Model, source: Source, checkup: NoiseReport | None) -> list[str]:
    """Warnings for one image: where the result of a pretrained model is inconsistent with the noise model.

    checkup: the measured noise of the image. Only for methods whose mean comes from a pretrained network, and images
    with one channel that are denoised plane by plane; otherwise none.
    """
    traits = model.method.traits
    checked = traits.pretrained and not traits.mean_from_samples
    if checkup is None or not checked or model.spec.dims != 2 or model.spec.channels != 1:
        return []
    planes, counts = planes_of(source, checkup, 0)
    denoise = as_function(model.method, model.net)
    check = check_consistency(planes, model.noise_models[0].typical(), denoise, valid=counts)
    return list(described(check, checkup.kind == "white"))


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
    if check.stability is not None and check.stability > UNSTABLE:
        yield (
            f"With new noise and denoised again, the image changes by {check.stability:.1f} times its predicted "
            f"standard deviation. Some of its fine structure may be invented; {compare}"
        )
