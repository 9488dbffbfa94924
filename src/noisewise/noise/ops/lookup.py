"""Positions in tables."""

from __future__ import annotations

from torch import Tensor


def index_below(position: Tensor, last: int) -> Tensor:
    """Index (int64) of the entry at or below a fractional position, from 0 to `last`; 0 for NaN.

    What is interpolated with a NaN position is NaN, and no error.
    """
    return position.detach().floor().nan_to_num(0.0).clamp(0, last).long()
