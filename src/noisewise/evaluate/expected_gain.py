"""The gain that is expected of a result, in dB, where the noise itself is uncertain; no truth is needed.

For any denoiser D, Stein's estimate (x − D)² − n² + 2 n · dD/dt has the squared error of D as its expectation, if the
noise model is right. So it tells two things: which result is best; and, where it is clearly negative, that the noise
model has too much noise, for a squared error is not negative.

Source: Stein 1981, doi:10.1214/aos/1176345632.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array
from noisewise.evaluate.consistency import ConsistencyCheck

NODES = np.linspace(-2.5, 2.5, 21)  # standard deviations of the logarithm of the noise variance
LEAST_RISK = 0.01  # of the noise variance: lower expected errors count as this
LOSS = 0.1  # dB
TOLERANCE = 0.05  # of the noise variance: error of the estimate itself


@dataclass(frozen=True)
class Power:
    """Of a result under a noise model, in common units: mean squares of what was removed, and of the noise n; the noise
    that was kept, mean n · dD/dt; and the standard error of the risk.
    """

    removed: float
    noise: float
    kept: float
    error: float

    @classmethod
    def of(cls, check: ConsistencyCheck) -> Power:
        """What a check found."""
        return cls(check.removed, check.noise, check.kept, check.risk_error)

    def relative_risk(self, factor: float = 1.0) -> float:
        """Squared error of the result in units of the noise, if this has `factor` times the variance of the model."""
        return self.removed / (factor * self.noise) - 1 + 2 * self.kept / self.noise

    def relative_risk_with_floor(self, factor: float) -> float:
        """The same, and at least that of a posterior mean which keeps this much noise: E (D − s)² = σ² div D / n."""
        return max(self.relative_risk(factor), self.kept / self.noise, LEAST_RISK)

    def likelihood(self, factor: float) -> float:
        """How well a risk that is not negative agrees with this factor: 1 if it does."""
        error = self.error / (factor * self.noise) + TOLERANCE
        return math.exp(-0.5 * (min(self.relative_risk(factor), 0.0) / error) ** 2)


@dataclass(frozen=True)
class Weights:
    """Probabilities (K, J) of K explanations of the noise, each at J factors (K, J) of its variance; their sum is 1."""

    probability: Array
    factors: Array

    @classmethod
    def found(
        cls, probabilities: Sequence[float], errors: Sequence[float], results: Sequence[Sequence[Power]]
    ) -> Weights:
        """From K probabilities and standard deviations of the logarithm of the variance, and what results tell.

        results: for each result, its power under each explanation.
        """
        factors = np.exp(np.outer(errors, NODES))
        prior = np.outer(probabilities, np.exp(-0.5 * NODES**2))
        for powers in results:
            found = [[power.likelihood(factor) for factor in row] for power, row in zip(powers, factors, strict=True)]
            prior = prior * np.maximum(found, 1e-12)
        return cls(prior / prior.sum(), factors)

    def gains(self, powers: Sequence[Power]) -> Array:
        """Change of the PSNR by a result (K, J), dB, under each explanation and factor."""
        return np.array([
            [-10 * math.log10(power.relative_risk_with_floor(factor)) for factor in row]
            for power, row in zip(powers, self.factors, strict=True)
        ])  # fmt: skip

    def expected_gain(self, powers: Sequence[Power]) -> float:
        """Expected change of the PSNR by a result, dB."""
        return float((self.probability * self.gains(powers)).sum())

    def probability_of_loss(self, powers: Sequence[Power]) -> float:
        """Probability that a result is clearly worse than the image."""
        return float(self.probability[self.gains(powers) < -LOSS].sum())
