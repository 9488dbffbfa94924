"""Reductions of per-pixel losses to one number."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where the mask is True; zero (with a gradient) where it never is."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def entropy_power(nats: Tensor) -> Tensor:
    """exp(2 h) / 2πe: the variance of a normal density with an entropy of h nats per pixel.

    Validation losses of likelihoods are reported in this form: positive, and in the units of a squared error.
    """
    return torch.exp(2 * nats) / (2 * math.pi * math.e)
