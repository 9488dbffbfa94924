"""DivNoising: one level of latent variables learns what signals look like, and samples of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from noisewise.methods._latent import LatentMethod


@dataclass(frozen=True, kw_only=True)
class DivNoising(LatentMethod):
    """DivNoising: a variational autoencoder whose decoder is the noise model; draws diverse solutions.

    Signals are s(z) of latent variables z ~ N(μ, σ²), independent at each place.
    loss = −log p(x | s(z)) + KL(q(z | x) ‖ p(z)), nats a pixel, z drawn from q(z | x). The one-level form of `hdn`,
    which is better at structures larger than a few pixels.

    Source: Prakash et al. 2021.
    """

    levels: Annotated[int, Interval(ge=1, le=8)] = 1
    """of latent variables"""
