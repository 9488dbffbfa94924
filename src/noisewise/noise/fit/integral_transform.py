"""The probability integral transform of noisy values, which is uniform where the noise model is right."""

from __future__ import annotations

import torch
from torch import Tensor

from noisewise.noise.base import Noise
from noisewise.noise.quantization import CONTINUOUS

BINS, LEVELS = 50, 4  # of the transform; of the signal, with equally many pairs


def integral_transform(noise_model: Noise, noisy: Tensor, signal: Tensor, generator: torch.Generator) -> Tensor:
    """P(X < x) plus a random fraction of P(X = x): uniform if the noise model is correct."""
    above, quantization = noise_model.cdf(noisy, signal), noise_model.quantization
    if quantization == CONTINUOUS:
        return above
    below = noise_model.cdf(noisy - (quantization.step or 1e-9), signal)
    uniform = torch.rand(above.shape, generator=generator, dtype=above.dtype)
    return below + uniform * (above - below)


def missing_likelihood(noise_model: Noise, noisy: Tensor, signal: Tensor) -> float:
    """How much likelier pairs (flat, ADU) can at most be under noise of another shape, nats per pair.

    That is the Kullback-Leibler divergence of histograms of the integral transform, at some levels of the signal, from
    uniform ones, minus what is expected by chance, (BINS - 1) / 2 for each level.
    """
    generator = torch.Generator().manual_seed(0)
    found = integral_transform(noise_model, noisy, signal, generator)[signal.argsort()]
    gain = 0.0
    for part in found.tensor_split(LEVELS):
        count = torch.histc(part, BINS, 0, 1)
        gain += float(torch.xlogy(count, BINS * count / len(part)).sum()) - (BINS - 1) / 2
    return gain / len(found)
