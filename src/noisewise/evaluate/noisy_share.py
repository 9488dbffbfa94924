"""How much of the noisy pixel a result should keep, by brightness, so that it is nowhere worse than the image.

Of results D + w (x − D), with noise of variance v and the covariance k of D with it, the squared error is least at
w = 1 − (v − k) / mean (x − D)². For a posterior mean that is 0: what it removes is v − k. It is above 0 where D is
wrong by more than that, as where pixels are far brighter than any that a network was trained on.

Source: Stein 1981, doi:10.1214/aos/1176345632 (k: covariance penalties, Efron 2004, doi:10.1198/016214504000000692).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisewise.estimate.dct_blocks import brightness_classes
from noisewise.evaluate.calibration import Errors

CLASSES = 8  # of brightness; the brightest is halved again and again
FEWEST = 50  # pixels of a class
STANDARD_ERRORS, LEAST = 3.0, 0.15  # by which a share must be above the least one that is worth it


def noisy_share(pieces: Sequence[Errors]) -> tuple[Tensor, Tensor]:
    """Levels (K,) from dark to bright, ADU, and the share w of the noisy pixel (K,) at each.

    The level is the mean of the neighbours' results: pixels that were chosen by their own would be those whose own
    noise is large. Below the darkest pixel that is known, as where noise is clipped, the share is 0.
    """
    level, removed, variance, kept = (
        torch.cat([getattr(piece, name) for piece in pieces]).double().cpu()
        for name in ("level", "removed", "variance", "kept")
    )
    levels, shares = list[float](), list[float]()
    for members in brightness_classes(level.numpy(), CLASSES, split_brightest=True):
        if len(members) < FEWEST:
            continue
        unit = variance[members].clamp(min=1e-30)
        power, excess = removed[members] / unit, (removed[members] - variance[members] + kept[members]) / unit
        least = float(power.mean()) or 1.0
        share = float(excess.mean()) / least
        error = float((excess - share * power).std()) / len(members) ** 0.5 / least
        certain = share - STANDARD_ERRORS * error
        levels.append(float(level[members].mean()))
        shares.append(min(certain, 1.0) if certain > LEAST else 0.0)
    if not levels:
        return torch.zeros(1), torch.zeros(1)
    darkest = float(level.min())
    return torch.tensor([darkest, darkest, *levels]), torch.tensor([0.0, shares[0], *shares])
