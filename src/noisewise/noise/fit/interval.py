"""Estimates with 95 % confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

TWO_SIDED = 1.96  # standard errors to each side of a 95 % interval


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, error: float) -> Estimate:
        """Estimate from a value and its standard error."""
        return cls(value, value - TWO_SIDED * error, value + TWO_SIDED * error)

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"
