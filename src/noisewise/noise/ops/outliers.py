"""A law with a few outliers: no pixel can outvote all others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OUTLIERS = 1e-3  # share of pixels that no law explains


def robust(log_prob: Tensor, span: float) -> Tensor:
    """log p of a law that has a few outliers, spread evenly over a span (ADU)."""
    return torch.logaddexp(log_prob + math.log1p(-OUTLIERS), torch.full_like(log_prob, math.log(OUTLIERS / span)))
