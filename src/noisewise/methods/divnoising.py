"""DivNoising: one level of latent variables learns a prior of signals and samples from the posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from noisewise.methods._ladder import LadderSettings


@dataclass(frozen=True, kw_only=True)
class DivNoising(LadderSettings):
    """DivNoising: a variational autoencoder whose decoder includes the noise model; samples diverse solutions.

    Signals are s(z) of latent variables z ~ N(μ, σ²), independent at each position.
    loss = −log p(x | s(z)) + KL(q(z | x) ‖ p(z)), nats per pixel, z drawn from q(z | x). The one-level form of `hdn`,
    which is better at structures larger than a few pixels.

    Source: Prakash et al. 2021, arXiv:2006.06072.
    """

    levels: Annotated[int, Interval(ge=1, le=8)] = 1
    """levels of latent variables"""
