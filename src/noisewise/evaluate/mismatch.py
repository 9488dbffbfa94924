"""Whether a noise model can be that of an image, by the mean and the standard deviation of the image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import torch

from noisewise.noise.base import Noise

MARGIN = 0.1  # of the range of signals that a noise model was made from, beyond which the mean of an image is unusual
MUCH_NOISE = 1.5  # times all variation of an image: more noise than that does not fit it
CALIBRATE = "calibrate this camera: noisewise calibrate FRAMES -o NOISE"
GIVEN = f"it may belong to another camera, or to other settings of this one; {CALIBRATE}, or leave out the noise model"
MEASURED = f"it does not describe the noise of this image, and the result may be too smooth; {CALIBRATE}"


def mismatch_warnings(noise_models: Sequence[Noise], means: Sequence[float], stds: Sequence[float]) -> list[str]:
    """Where noise models do not fit channels of these means and standard deviations (ADU), each sentence once.

    noise_models: none, one for all channels, or one per channel.
    """
    if not noise_models:
        return []
    found = [mismatch(*one) for one in zip(cycle(noise_models), means, stds, strict=False)]
    return list(dict.fromkeys(one for one in found if one is not None))


def mismatch(noise_model: Noise, mean: float, std: float) -> str | None:
    """Why a noise model does not fit images of this mean and standard deviation (ADU), or None."""
    advice = GIVEN if "measured" not in noise_model.provenance else MEASURED
    low, high = (float(end) for end in noise_model.provenance.get("signal_range", (-float("inf"), float("inf"))))
    margin = MARGIN * (high - low)
    if not low - margin <= mean <= high + margin:
        return (
            f"the noise model was made from signals of {low:.4g} to {high:.4g} ADU, and the mean of the image is "
            f"{mean:.4g} ADU: {advice}"
        )
    expected = float(noise_model.typical().mean_var(torch.tensor(mean, dtype=torch.float64))[1]) ** 0.5
    if expected > MUCH_NOISE * std:
        return (
            f"the noise model expects noise of {expected:.3g} ADU, and the whole image varies by {std:.3g} ADU: "
            f"{advice}"
        )
    return None
