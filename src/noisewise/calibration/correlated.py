"""A noise model whose pixels know their neighbours', from frames of one scene or from images and denoised twins."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisewise.calibration.frames import Frames, open_frames
from noisewise.errors import UserError
from noisewise.io import checksum
from noisewise.noise.base import Noise
from noisewise.noise.fit.recorded_values import Values
from noisewise.noise.models.autoregressive import STEPS, Autoregressive
from noisewise.noise.models.correlated import Correlated, covariances
from noisewise.noise.ops.causal_mixture import Axis
from noisewise.noise.ops.correlation_length import noise_axis
from noisewise.noise.quantization import Quantization
from noisewise.version import __version__

KINDS = ("correlated", "autoregressive")
MOST_PIXELS = 8_000_000  # that are held at once
SMALLEST = 48  # pixels a side
LAGS = 25  # pixels, up to which autocorrelations are compared


@dataclass(frozen=True)
class CorrelatedCalibration:
    """What was made of noise with structure: the law, and the noisy images (N, Y, X) and signals it was made from."""

    noise: Noise
    noisy: Tensor = field(repr=False)
    signal: Tensor = field(repr=False)

    @cached_property
    def sampled(self) -> Tensor:
        """Noise that the law draws for the same signals, ADU."""
        return self.noise.sample(self.signal, torch.Generator().manual_seed(0)) - self.signal


def calibrate_correlated(
    noisy: Any, signal: Any = None, *, kind: str = "autoregressive", along: Literal["auto", "X", "Y", "YX"] = "auto",
    axes: str | None = None, seed: int = 0, steps: int = STEPS,
) -> CorrelatedCalibration:  # fmt: skip
    """p(x|s) with its memory or its spectrum, from pure noise, frames of one still scene, or images and their twins.

    noisy: frames (paths or an array), such as dark frames, cut-outs of empty regions, or a recording; or images.
    signal: their denoised twins. Without them the signal is the mean of all frames, of a single one its mean value;
    residuals of n frames are too small by √(1 − 1/n), which is put right. kind: correlated (the spectral Gaussian), or
    autoregressive. along: the axis that a memory runs along (auto: as is found). steps: of learning a memory.

    Errors: `UserError` for frames that are too small, or twins that do not fit.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of noise with structure '{kind}'; there are: {', '.join(KINDS)}")
    frames = open_frames(noisy, axes)
    if min(frames.shape) < SMALLEST:
        raise UserError(
            f"{frames.name}: {frames.shape[0]} x {frames.shape[1]} pixels show too little of what noise has in common; "
            f"give {SMALLEST} x {SMALLEST} or more"
        )
    x, quantization = read(frames)
    if signal is None:
        x, s = about_the_mean(x)
    else:
        twins = open_frames(signal, axes)
        if twins.shape != frames.shape or len(twins) != len(frames):
            raise UserError(f"{twins.name}: does not have the shape of {frames.name}; give its denoised twin")
        s = read(twins)[0]
    if not float((x - s).std()) > 0:
        raise UserError(f"{frames.name}: holds no noise; give frames that differ, as exposures do")
    noise_model: Noise = Correlated.fit(x, s, quantization=quantization)
    axis: Axis = noise_axis((noise_model,)) if along == "auto" else along
    if kind == "autoregressive":
        noise_model = Autoregressive.fit(x, s, quantization=quantization, axis=axis, seed=seed, steps=steps)
    noise_model.provenance = provenance(kind, frames, axis, s, quantization)
    return CorrelatedCalibration(noise_model, x, s)


def about_the_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (N, Y, X) with their noise's own size, and the signal that all share."""
    if len(x) == 1:
        return x, x.mean().expand_as(x)
    s = x.mean(0, keepdim=True).expand_as(x)
    return s + (len(x) / (len(x) - 1)) ** 0.5 * (x - s), s


def provenance(kind: str, frames: Frames, axis: Axis, signal: Tensor, quantization: Quantization) -> dict[str, Any]:
    """What is written beside the law, JSON-able."""
    return {
        "software": f"noisewise {__version__}", "kind": kind, "axis": axis, "fitted_to": frames.name,
        "sha256": [checksum(path) for path in dict.fromkeys(frames.paths)], "frames": len(frames),
        "signal_range": [float(signal.min()), float(signal.max())], "digital": asdict(quantization), "warnings": [],
    }  # fmt: skip


def read(frames: Frames) -> tuple[Tensor, Quantization]:
    """As many frames as are held at once, evenly chosen, (N, Y, X); and how they are rounded and cut off."""
    values, kept = Values(frames.dtype), []
    every = max(1, -(-len(frames) * int(np.prod(frames.shape)) // MOST_PIXELS))
    for number, frame in enumerate(frames):
        values.add(frame)
        if number % every == 0:
            kept.append(torch.from_numpy(frame))
    return torch.stack(kept), values.quantization


def autocorrelation_along(noise: Tensor, axis: int, lags: int = LAGS) -> list[float]:
    """Autocorrelation of noise images (..., Y, X) at distances from 0 to `lags` along an axis."""
    lags = min(lags, noise.shape[axis] // 2)
    found = covariances(noise, *((0, lags) if axis == -1 else (lags, 0))).flatten()[lags:]
    return [float(part) for part in found / found[0]]
