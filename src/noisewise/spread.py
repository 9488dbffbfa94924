"""How much larger or smaller the standard deviations of a trained network should be, so that they are its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from noisewise.evaluate.calibration import LAW_ERROR, Reliability, reliability, reliability_unseen, squared_errors
from noisewise.methods.base import Method
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.posterior import Posterior

SEED = 1_000_033  # not one that others draw noise from
NOTEWORTHY = 0.15  # relative change of standard deviations, from which on it is said


def reliabilities(method: Method, net: Standardized, batches: Sequence[Any]) -> list[Reliability | None]:
    """Of each channel, how claimed standard deviations and errors go together on patches of images.

    By their targets, where these are clean images, otherwise by the law of the noise, without any truth; None where
    neither is there.
    """
    channels = range(len(net.mean))
    if method.needs == "clean":
        return [of_targets(method, net, batches, channel) for channel in channels]
    if not len(net.laws):
        return [None for _ in channels]
    laws = [cast(Noise, net.law(channel)).typical() for channel in channels]
    generator, pieces = torch.Generator().manual_seed(SEED), []
    for batch in batches:

        def denoiser(x: Tensor, coordinates: Tensor = batch.coordinates) -> Posterior[Tensor]:
            with torch.inference_mode():
                return method.posterior(net, x, coordinates)

        pieces.append(squared_errors(batch.noisy.float(), laws, denoiser, generator))
    return [unseen([piece[channel] for piece in pieces], laws[channel]) for channel in channels]


def of_targets(method: Method, net: Standardized, batches: Sequence[Any], channel: int) -> Reliability:
    """By clean images."""
    parts = []
    for batch in batches:
        with torch.inference_mode():
            found = method.posterior(net, batch.noisy.float(), batch.coordinates)
        assert found.std is not None
        known = batch.teach[:, channel]
        parts.append([image[:, channel][known] for image in (found.mean, found.std, batch.target)])
    mean, std, truth = (torch.cat(part) for part in zip(*parts, strict=True))
    return reliability(mean, std, truth)


def unseen(pieces: list[tuple[Tensor, Tensor, float]], law: Noise) -> Reliability | None:
    """By the law; one that was measured or recorded is not exact."""
    try:
        return reliability_unseen(pieces, LAW_ERROR if law.provenance else 0.0)
    except ValueError:
        return None


def respread(net: Standardized, found: Sequence[Reliability | None]) -> list[str]:
    """Let the network's standard deviations be as large as its errors; says where that changes them much."""
    notes = []
    for channel, one in enumerate(found):
        spread = 1.0 if one is None else one.spread
        net.spread[channel] = spread
        if abs(spread - 1) > NOTEWORTHY:
            which = "" if len(found) == 1 else f" in channel {channel}"
            change = f"{100 * abs(spread - 1):.0f} % {'larger' if spread > 1 else 'smaller'}"
            notes.append(f"standard deviations{which} were made {change}: so far off are the errors, by the noise")
    return notes
