"""The law of multiplying detectors: each photon makes a pulse, and pulses are of different heights."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from noisewise.noise.base import GaussianSum, Value, normal_like
from noisewise.noise.curve import Line, fit_line
from noisewise.noise.digital import CONTINUOUS, Digital
from noisewise.noise.poisson_gaussian import FEWEST, REACH, SHARPEST, log_poisson

TERMS = 33  # of the sum over photon numbers
SPREADS = (0.3, 0.5, 0.65, 0.8, 1.0)  # that are tried
READ_NOISES = 8  # that are tried, between none and all noise of the darkest signal
MOST_PAIRS = 4000


class Pulses(GaussianSum):
    """x = o + g k + N(0, σ² + k c² g²) with k ~ Poisson((s − o) / g): mean s, variance (1 + c²) g (s − o) + σ².

    gain: g, mean height of a photon's pulse, ADU. spread: c, relative standard deviation of the heights, at least 0.2;
    pulses that are more alike are better counted. offset: o, ADU. read_noise: σ, ADU. darkest: signal (ADU) below which
    the noise is that of this signal, moved: the law is not known there, and on the line the noise would vanish.

    Photomultipliers and EMCCDs are such, with 1 + c² their excess noise factor: where no photon came, x is the offset,
    whatever the signal.

    p(x|s) = Σₖ Pois(k; λ) N(x; o + g k, σ² + k c² g²); where photons are many, k is taken as continuous.
    """

    gain: Tensor
    spread: Tensor
    offset: Tensor
    read_noise: Tensor
    darkest: Tensor

    def __init__(
        self, gain: Value, spread: Value, offset: Value, read_noise: Value, darkest: Value,
        digital: Digital = CONTINUOUS,
    ) -> None:  # fmt: skip
        super().__init__(digital)
        self.keep(gain=gain, spread=spread, offset=offset, read_noise=read_noise, darkest=darkest)

    def electrons(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """λ = (s − o) / g, at least that of the darkest signal; and what is missing of s, ADU."""
        offset, gain = self.offset.to(signal), self.gain.to(signal)
        least = (self.offset + FEWEST * self.gain).maximum(self.darkest).to(signal)
        lit = signal.maximum(least)
        return (lit - offset) / gain, signal - lit

    def components(self, signal: Tensor, noisy: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG002
        electrons, missing = self.electrons(signal)
        with torch.no_grad():
            spacing = (2 * REACH * electrons.sqrt() / (TERMS - 1)).clamp(min=1.0)[..., None]
            steps = torch.arange(TERMS, device=signal.device, dtype=signal.dtype)
            first = ((electrons[..., None] / spacing).round() - (TERMS - 1) // 2).clamp(min=0)
            k = (first + steps) * spacing
        log_weight = (log_poisson(k, electrons[..., None]) + torch.log(spacing)).log_softmax(-1)
        mean = (self.offset.to(signal) + missing)[..., None] + self.gain.to(signal) * k
        least = SHARPEST * (self.digital.step or self.gain)
        floor = torch.maximum(self.read_noise, torch.as_tensor(least)).to(signal)
        return log_weight, mean, (floor**2 + k * (self.spread * self.gain).to(signal) ** 2).sqrt()

    def sample(self, signal: Tensor, generator: torch.Generator | None = None) -> Tensor:
        electrons, missing = self.electrons(signal)
        photons = torch.poisson(electrons, generator=generator)
        std = (self.read_noise**2 + photons * (self.spread * self.gain) ** 2).sqrt()
        drawn = self.offset + missing + self.gain * photons + std * normal_like(signal, generator)
        return self.digital(drawn.to(signal.dtype))

    def mean_var(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        electrons, _ = self.electrons(signal)
        variance = (1 + self.spread**2) * self.gain**2 * electrons + self.read_noise**2 + self.digital.step**2 / 12
        return signal, variance.to(signal)

    @classmethod
    def fit(cls, noisy: Tensor, signal: Tensor, *, digital: Digital = CONTINUOUS) -> Self:
        """See `on_line`; of the line of the variance against the signal.

        Errors: `UserError` if the signals do not span a range.
        """
        noisy, signal = noisy.double().flatten(), signal.double().flatten()
        line = fit_line(signal, (noisy - signal) ** 2)
        return cls.on_line(line, float(signal.min()), noisy, signal, digital)

    @classmethod
    def on_line(cls, line: Line, darkest: float, noisy: Tensor, signal: Tensor, digital: Digital = CONTINUOUS) -> Self:
        """The law with this line of variance against signal under which the pairs are most likely.

        The line leaves open how different the pulses are, and how much of the noise in the dark is of reading out.
        """
        slope = max(line.slope, 1e-9 * max(line(darkest), 1e-9))
        free = line.intercept - digital.step**2 / 12
        most = max(free + slope * darkest, 0.0) ** 0.5
        order = signal.argsort()[: len(signal) // 2 + 1]  # few photons tell
        some = order[:: max(1, len(order) // MOST_PAIRS)]
        best, found = -torch.inf, None
        for read_noise in torch.linspace(0.0, most, READ_NOISES).tolist():
            for spread in SPREADS:
                offset = (read_noise**2 - free) / slope
                law = cls(slope / (1 + spread**2), spread, offset, read_noise, darkest, digital)
                likely = float(law.log_prob(noisy[some], signal[some]).mean())
                if likely > best:
                    best, found = likely, law
        assert found is not None
        return found
