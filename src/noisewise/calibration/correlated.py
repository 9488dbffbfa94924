"""A noise model with correlation between pixels, from frames of one scene or from images and their denoised images."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisewise.calibration.frames import Frames, open_frames, provenance_of
from noisewise.errors import UserError
from noisewise.noise.base import Noise
from noisewise.noise.fit.pixel_values import PixelValueCounter
from noisewise.noise.models.autoregressive import STEPS, Autoregressive
from noisewise.noise.models.correlated import Correlated, two_sided_autocovariance
from noisewise.noise.ops.causal_mixture import Axis
from noisewise.noise.ops.correlation_length import noise_axis
from noisewise.noise.quantization import Quantization

KINDS = ("correlated", "autoregressive")
MAX_PIXELS = 8_000_000  # in memory at once
MIN_SIDE = 48  # pixels
MAX_LAG = 25  # pixels, up to which autocorrelations are compared


@dataclass(frozen=True)
class CorrelatedCalibration:
    """A noise model with correlation, and the noisy images (N, Y, X) and signals, ADU, that it was fitted to."""

    noise: Noise
    noisy: Tensor = field(repr=False)
    signal: Tensor = field(repr=False)

    @cached_property
    def sampled(self) -> Tensor:
        """Noise that the noise model samples for the same signals, ADU."""
        return self.noise.sample(self.signal, torch.Generator().manual_seed(0)) - self.signal


def calibrate_correlated(
    noisy: Any, signal: Any = None, *, kind: str = "autoregressive", along: Literal["auto", "X", "Y", "YX"] = "auto",
    axes: str | None = None, seed: int = 0, steps: int = STEPS,
) -> CorrelatedCalibration:  # fmt: skip
    """Fit a spectral or autoregressive p(x|s) to pure noise, frames of one fixed scene, or images and denoised images.

    noisy: frames (paths or an array), such as dark frames, crops of empty regions, or a recording; or images. signal:
    their denoised images; without them the signal is the mean of all frames, or the mean value of a single one.
    Residuals of n frames are too small by √(1 − 1/n), which is corrected. kind: correlated (spectral Gaussian) or
    autoregressive. along: axis of the causal context (auto: as the noise is correlated). steps: training steps of the
    autoregressive model.

    Errors: `UserError` for frames that are too small, or denoised images that do not fit.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of correlated noise model '{kind}'; there are: {', '.join(KINDS)}")
    frames = open_frames(noisy, axes)
    if min(frames.shape) < MIN_SIDE:
        raise UserError(
            f"{frames.name}: {frames.shape[0]} x {frames.shape[1]} pixels show too little of the noise's correlation; "
            f"give {MIN_SIDE} x {MIN_SIDE} or more"
        )
    x, quantization = read_images(frames)
    if signal is None:
        x, s = about_the_mean(x)
    else:
        denoised = open_frames(signal, axes)
        if denoised.shape != frames.shape or len(denoised) != len(frames):
            raise UserError(
                f"{denoised.name}: does not have the shape of {frames.name}; give the denoised image of each image"
            )
        s = read_images(denoised)[0]
    if not float((x - s).std()) > 0:
        raise UserError(f"{frames.name}: holds no noise; give frames that differ, as exposures do")
    noise_model: Noise = Correlated.fit(x, s, quantization=quantization)
    axis: Axis = noise_axis((noise_model,)) if along == "auto" else along
    if kind == "autoregressive":
        noise_model = Autoregressive.fit(x, s, quantization=quantization, axis=axis, seed=seed, steps=steps)
    provenance = provenance_of(frames, kind, (float(s.min()), float(s.max())), quantization)
    noise_model.provenance = provenance | {"axis": axis, "fitted_to": frames.name, "warnings": []}
    return CorrelatedCalibration(noise_model, x, s)


def about_the_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Frames (N, Y, X) with the variance of their noise corrected, and the signal that all share."""
    if len(x) == 1:
        return x, x.mean().expand_as(x)
    s = x.mean(0, keepdim=True).expand_as(x)
    return s + (len(x) / (len(x) - 1)) ** 0.5 * (x - s), s


def read_images(frames: Frames) -> tuple[Tensor, Quantization]:
    """Evenly spaced frames (N, Y, X), as many as fit into memory, and the quantization of all."""
    values, kept = PixelValueCounter(frames.dtype), []
    every = max(1, -(-len(frames) * int(np.prod(frames.shape)) // MAX_PIXELS))
    for number, frame in enumerate(frames):
        values.add(frame)
        if number % every == 0:
            kept.append(torch.from_numpy(frame))
    return torch.stack(kept), values.quantization


def autocorrelation_along(noise: Tensor, axis: int, lags: int = MAX_LAG) -> list[float]:
    """Autocorrelation of noise images (..., Y, X) at distances from 0 to `lags` along an axis (-1 or -2)."""
    lags = min(lags, noise.shape[axis] // 2)
    found = two_sided_autocovariance(noise, *((0, lags) if axis == -1 else (lags, 0))).flatten()[lags:]
    return [float(part) for part in found / found[0]]
