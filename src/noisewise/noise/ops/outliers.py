"""Robust likelihood: a few outliers bound the weight of any single pixel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OUTLIERS = 1e-3  # fraction of pixels that do not follow the noise model


def with_outliers(log_prob: Tensor, span: float) -> Tensor:
    """log p of a noise model with a fraction `OUTLIERS` of pixels distributed uniformly over a span (ADU)."""
    return torch.logaddexp(log_prob + math.log1p(-OUTLIERS), torch.full_like(log_prob, math.log(OUTLIERS / span)))
