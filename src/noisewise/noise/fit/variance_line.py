"""The variance line of photon transfer: variance against signal, v(s) = slope · s + intercept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.errors import UserError

Signal = TypeVar("Signal", float, Array, Tensor)

OUTLIER = 16.0  # times the variance of its signal: larger squared deviations are left out
ITERATIONS = 8
LOG_ITERATIONS, LARGEST_RATIO = 30, 12.0  # of the logarithms of the variances at both ends


@dataclass(frozen=True)
class VarianceLine:
    """v(s) = slope · s + intercept (ADU²), with the covariance matrix of (slope, intercept)."""

    slope: float
    intercept: float
    covariance: tuple[tuple[float, float], tuple[float, float]]

    def __call__(self, signal: Signal) -> Signal:
        return self.slope * signal + self.intercept

    @property
    def slope_error(self) -> float:
        """Standard error of the slope."""
        return float(self.covariance[0][0] ** 0.5)

    def scaled(self, factor: float) -> VarianceLine:
        """Variance line of noise whose variance is larger by a factor."""
        return replace(self.with_scaled_errors(factor), slope=self.slope * factor, intercept=self.intercept * factor)

    def with_scaled_errors(self, factor: float) -> VarianceLine:
        """The same line with standard errors larger by a factor."""
        (a, b), (_, c) = self.covariance
        return VarianceLine(
            self.slope, self.intercept, ((a * factor**2, b * factor**2), (b * factor**2, c * factor**2))
        )

    def with_relative_error(self, error: float) -> VarianceLine:
        """The same line, whose slope and intercept may also be wrong by a common factor with this relative error."""
        (a, b), (_, c) = self.covariance
        slope, intercept = self.slope * error, self.intercept * error
        mixed = b + slope * intercept
        return replace(self, covariance=((a + slope**2, mixed), (mixed, c + intercept**2)))


def fit_line(signal: Tensor, squares: Tensor, freedom: Tensor | float = 1.0) -> VarianceLine:
    """Fit variances to signals by iteratively reweighted least squares without outliers (flat float64 tensors).

    signal: ADU. squares: estimates of the variance, ADU². freedom: degrees of freedom of each: Var = 2 v² / freedom.

    Errors: `UserError` if the signals do not span a range.
    """
    span = float(signal.max() - signal.min()) if signal.numel() > 2 else 0.0
    if not span > 0:
        raise UserError("all signals are equal; a noise model needs a range of signals, so give images with contrast")
    centre = signal.mean()
    design = torch.stack([(signal - centre) / span, torch.ones_like(signal)], 1)
    floor = 1e-6 * squares.mean().clamp(min=torch.finfo(squares.dtype).tiny)
    variance = squares.mean().expand(signal.shape)
    for _ in range(ITERATIONS):
        weight = freedom / (2 * variance**2) * (squares < OUTLIER * variance)
        normal = design.T @ (design * weight[:, None])
        inverse = torch.linalg.pinv(normal)
        solution = inverse @ (design.T @ (weight * squares))
        variance = (design @ solution).clamp(min=floor)
    slope = float(solution[0]) / span
    transform = torch.tensor([[1 / span, 0.0], [-float(centre) / span, 1.0]], dtype=design.dtype)
    covariance = (transform @ inverse @ transform.T).tolist()
    return VarianceLine(slope, float(solution[1]) - slope * float(centre), (tuple(covariance[0]), tuple(covariance[1])))


def fit_log_line(signal: Tensor, variance: Tensor, covariance: Tensor) -> VarianceLine:
    """Fit variances whose logarithms have normal errors that may be correlated (flat float64 tensors).

    Minimises rᵀ C⁻¹ r, r = log v − log line(s), by Gauss-Newton steps over the logarithms of the line at both ends, so
    that it is positive there. covariance: C (K, K), of the logarithms.

    Errors: `UserError` if the signals do not span a range.
    """
    low, span = float(signal.min()), float(signal.max() - signal.min())
    if not span > 0:
        raise UserError("all signals are equal; a noise model needs a range of signals, so give images with contrast")
    t = (signal - low) / span
    share = torch.stack([1 - t, t], 1)
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))
    ends = torch.stack([variance[t <= 0.5].log().mean(), variance[t >= 0.5].log().mean()])

    def linearised(ends: Tensor) -> tuple[Tensor, Tensor]:
        parts = share * ends.exp()
        line = parts.sum(1)
        return whiten @ (variance / line).log(), whiten @ (parts / line[:, None])

    ridge = 1e-9 * torch.eye(2, dtype=ends.dtype)
    for _ in range(LOG_ITERATIONS):
        residual, jacobian = linearised(ends)
        step = torch.linalg.solve(jacobian.T @ jacobian + ridge, jacobian.T @ residual)
        ends = ends + step.clamp(-1, 1)
        ends = ends.clamp(min=float(ends.max()) - LARGEST_RATIO)
    _, jacobian = linearised(ends)
    inverse = torch.linalg.inv(jacobian.T @ jacobian + ridge)
    at_ends = ends.exp()
    transform = torch.tensor([[-1 / span, 1 / span], [1 + low / span, -low / span]], dtype=ends.dtype) * at_ends
    slope, intercept = (transform.sum(1)).tolist()
    covariance_list = (transform @ inverse @ transform.T).tolist()
    return VarianceLine(slope, intercept, (tuple(covariance_list[0]), tuple(covariance_list[1])))
