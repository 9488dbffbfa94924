"""What is corrected after training: results where a network is worse than the noise, and standard deviations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from noisewise import threads
from noisewise.evaluate.calibration import (
    NOISE_ERROR,
    Errors,
    Reliability,
    reliability,
    reliability_without_truth,
    squared_errors,
)
from noisewise.evaluate.noisy_share import noisy_share
from noisewise.methods.base import Denoiser, Method
from noisewise.noise.base import Noise
from noisewise.posterior import Posterior

SEED = 1_000_033  # not one from which others draw noise
NOTEWORTHY = 0.15  # relative change of standard deviations from which on a note reports it


def calibrate(
    method: Method, net: Denoiser, batches: Sequence[Any]
) -> tuple[list[Reliability | None], list[str]]:  # fmt: skip
    """Correct results and standard deviations of a network by its errors on patches of images.

    Errors are those against clean targets where there are some, otherwise estimates by the noise model, without any
    truth. Returns for each channel the standard deviations against the errors, None where there is neither; and notes.
    """
    channels = range(len(net.mean))
    found: list[Reliability | None] = [None for _ in channels]
    notes: list[str] = []
    if method.traits.needs == "clean":
        found = [against_targets(method, net, batches, channel) for channel in channels]
    elif net.noise:
        net.kept_share.zero_()
        pieces = errors_of(method, net, batches)
        # Few photons leave nothing worth keeping of a pixel: means of photon counts keep no share of it.
        if method.traits.pretrained and not method.traits.counts_only and (notes := keep_noisy_pixels(net, pieces)):
            pieces = errors_of(method, net, batches)
        found = [without_truth(pieces[channel], net.noise_model(channel)) for channel in channels]
    return found, notes + recalibrate_std(net, found)


def keep_noisy_pixels(net: Denoiser, errors: Sequence[Sequence[Errors]]) -> list[str]:
    """Set the share of the noisy pixels that results keep. Returns a note for each channel where it is not 0."""
    notes = []
    for channel, pieces in enumerate(errors):
        levels, shares = noisy_share(pieces)
        net.keep_noisy(channel, levels, shares)
        if float(shares.max()):
            which = "" if len(net.mean) == 1 else f" of channel {channel}"
            where = levels[shares > 0]
            notes.append(
                f"around signals of {float(where.min()):.4g} to {float(where.max()):.4g} ADU{which}, up to "
                f"{float(shares.max()):.0%} of the noisy pixel is kept: there the network errs by more than the noise"
            )
    return notes


def errors_of(method: Method, net: Denoiser, batches: Sequence[Any]) -> list[list[Errors]]:
    """Estimated errors of each channel, on batches of patches."""
    noise_models = [net.noise_model(channel).typical() for channel in range(len(net.mean))]

    def errors(numbered: tuple[int, Any]) -> list[Errors]:
        number, batch = numbered

        def denoise(x: Tensor) -> Posterior[Tensor]:
            with torch.inference_mode():
                return method.posterior(net, x, batch.coordinates)

        return squared_errors(batch.noisy.float(), noise_models, denoise, torch.Generator().manual_seed(SEED + number))

    work = list(enumerate(batches))
    pieces = threads.in_parallel(errors, work) if net.mean.device.type == "cpu" else list(map(errors, work))
    return [list(channel) for channel in zip(*pieces, strict=True)]


def against_targets(method: Method, net: Denoiser, batches: Sequence[Any], channel: int) -> Reliability:
    """Standard deviations against the errors to clean images."""
    parts = []
    for batch in batches:
        with torch.inference_mode():
            found = method.posterior(net, batch.noisy.float(), batch.coordinates)
        assert found.std is not None
        known = batch.valid[:, channel]
        parts.append([image[:, channel][known] for image in (found.mean, found.std, batch.target)])
    mean, std, truth = (torch.cat(part) for part in zip(*parts, strict=True))
    return reliability(mean, std, truth)


def without_truth(pieces: Sequence[Errors], noise_model: Noise) -> Reliability | None:
    """Standard deviations against errors estimated by the noise model, which is not exact if it was measured."""
    try:
        return reliability_without_truth(pieces, NOISE_ERROR if noise_model.provenance else 0.0)
    except ValueError:
        return None


def recalibrate_std(net: Denoiser, found: Sequence[Reliability | None]) -> list[str]:
    """Scale the network's standard deviations to its errors. Returns notes for large changes."""
    notes = []
    for channel, one in enumerate(found):
        scale = 1.0 if one is None else one.std_scale
        net.std_scale[channel] = scale
        if abs(scale - 1) > NOTEWORTHY:
            which = "" if len(found) == 1 else f" of channel {channel}"
            size, factor = ("small", scale) if scale > 1 else ("large", 1 / scale)
            notes.append(
                f"the predicted standard deviation{which} was too {size} by a factor of {factor:.2f} compared with the "
                f"estimated errors; it has been corrected"
            )
    return notes
