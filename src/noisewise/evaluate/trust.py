"""Whether a denoised image can be trusted, told from the noisy image and the law of its noise alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.posterior import Posterior

NUDGE = 0.3  # standard deviations of the noise, by which an image is moved to feel a denoiser's divergence
TOO_MUCH, TOO_LITTLE = 1.25, 0.75  # of the residual, beyond which it is said
STRUCTURED, INCONSISTENT = 0.15, 1.5  # of correlation and consistency
SEED = 1_000_003  # not one that others draw noise from

Denoiser = Callable[[Tensor], Posterior[Tensor]]


@dataclass(frozen=True)
class Trust:
    """What a denoiser took away, against the law of the noise; n: its noise, v: its variance, D: what it made of x.

    residual: Σ (x − D)² / v over Σ (n² − n · dD(x + t n)/dt) / v: 1 where as much is taken away as a posterior mean
    under the right law takes away; less, and the law has too much noise (or the image was learned by heart); more, and
    it has too little (or structure went with it).
    follows: (Σ n · dD/dt) / Σ n²: the share of the noise that is left in D.
    correlation: by axis, of neighbours in (x − D)/√v, less that of the noise itself: structure taken away, or left.
    consistency: √ mean (D(D + n) − D)² / σ²: D seen through new noise and denoised again, in units of σ, the
    standard deviation that the denoiser tells; well above 1 where D has what the denoiser itself takes for noise.
    """

    residual: float
    follows: float
    correlation: dict[str, float]
    consistency: float | None

    @property
    def doubts(self) -> list[str]:
        """What should be said to somebody who is to trust the image; empty if nothing."""
        found = [
            (
                self.residual > TOO_MUCH,
                f"more was taken off than is noise (by {100 * (self.residual - 1):.0f} %): fine structure may be lost",
            ),
            (
                self.residual < TOO_LITTLE,
                f"less was taken off than is noise (by {100 * (1 - self.residual):.0f} %): noise is left, or is weaker "
                f"than it was measured",
            ),
            (
                max(self.correlation.values()) > STRUCTURED,
                f"what was taken off has structure (neighbours correlate by {max(self.correlation.values()):.2f} more "
                f"than the noise's)",
            ),
            (
                self.consistency is not None and self.consistency > INCONSISTENT,
                "seen through new noise and denoised again, the image changes more than its standard deviation says: "
                "some of its fine structure may be invented",
            ),
        ]
        return [sentence for holds, sentence in found if holds]


def trust(
    noisy: Tensor, law: Noise, denoiser: Denoiser, *, usable: Tensor | None = None, surest: float = 1.0,
    again: bool = True,
) -> Trust:  # fmt: skip
    """Look at a denoiser's work on images (N, 1, Y, X), ADU; four passes.

    usable: True where pixels count. surest: of these, the part whose standard deviation, in units of the noise, is
    least: there is least structure to be taken for noise. again: look at the consistency too, one of the passes.

    Source: for the posterior mean D of Gaussian noise, E (x − D)² = σ² (1 − div D / n), as E (D − s)² = σ² div D / n
    (Stein 1981, Raphan and Simoncelli 2011); the divergence along random directions: Ramani et al. 2008.
    """
    generator = torch.Generator().manual_seed(SEED)
    counts = torch.ones_like(noisy, dtype=torch.bool) if usable is None else usable
    found = denoiser(noisy)
    mean = found.mean
    variance = law.mean_var(mean.double())[1].to(mean).clamp(min=1e-30)
    if surest < 1 and found.std is not None:
        doubt = found.std / variance.sqrt()
        counts = counts & (doubt <= doubt[counts].float().kthvalue(max(1, int(surest * int(counts.sum())))).values)
    noise = law.sample(mean, generator) - mean
    ahead, back = (denoiser(noisy + sign * NUDGE * noise).mean for sign in (1, -1))
    felt = noise * (ahead - back) / (2 * NUDGE)

    def average(values: Tensor) -> float:
        return float(values[counts].double().mean())

    power, followed = average(noise**2 / variance), average(felt / variance)
    residual = average((noisy - mean) ** 2 / variance)
    told = {
        axis: neighbours(noisy - mean, variance, counts, axis) - neighbours(noise, variance, counts, axis)
        for axis in "YX"
    }
    consistency = None
    if again and found.std is not None:
        change = (denoiser(law.sample(mean, generator)).mean - mean) / found.std
        consistency = average(change**2) ** 0.5
    return Trust(residual / max(power - followed, 1e-12), followed / power, told, consistency)


def neighbours(residual: Tensor, variance: Tensor, counts: Tensor, axis: str) -> float:
    """Correlation of a residual's neighbours along Y or X, each in units of the noise."""
    unit = (residual / variance.sqrt()).double()
    unit = torch.where(counts, unit, 0.0)
    along = {"Y": -2, "X": -1}[axis]
    size = unit.shape[along]
    first, second = unit.narrow(along, 0, size - 1), unit.narrow(along, 1, size - 1)
    return float((first * second).mean() / (unit**2).mean().clamp(min=1e-30))
