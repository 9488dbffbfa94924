"""Whether a law of noise was made for images like these."""

from __future__ import annotations

import torch

from noisewise.noise.base import Noise

BEYOND = 0.1  # of the range of signals that a law was made from, outside of which the mean of an image is odd


def misfit(law: Noise, mean: float, std: float) -> str | None:
    """What is odd about a law for images of this mean and standard deviation (ADU), or None."""
    low, high = (float(end) for end in law.provenance.get("signal_range", (-float("inf"), float("inf"))))
    room = BEYOND * (high - low)
    if not low - room <= mean <= high + room:
        return (
            f"the noise model was made from signals of {low:.4g} to {high:.4g}, and the mean of the image is "
            f"{mean:.4g}: it may be of another camera, or of other settings of this one"
        )
    expected = float(law.typical().mean_var(torch.tensor(mean, dtype=torch.float64))[1]) ** 0.5
    if expected > 1.5 * std:
        return (
            f"the noise model expects noise of {expected:.3g}, and all that varies in the image is {std:.3g}: "
            f"it may be of another camera, or of other settings of this one"
        )
    return None
