"""A noise model from a recording: about a hundred frames of one fixed scene with dark and bright parts."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.calibration.correlated import KINDS as CORRELATED_KINDS
from noisewise.calibration.correlated import calibrate_correlated
from noisewise.calibration.detector import DarkLevel, Detector, Unknown, dark_level, estimate_detector
from noisewise.calibration.diagnostics import (
    DiagnosticInput,
    diagnose,
    is_consistent,
    refuse_saturated,
    refuse_unsuitable,
)
from noisewise.calibration.frame_statistics import FrameStatistics, measure_frames
from noisewise.calibration.frames import open_frames, provenance_of
from noisewise.calibration.goodness_of_fit import GoodnessOfFit, assess
from noisewise.calibration.photon_transfer import (
    PhotonTransferCurve,
    concatenate,
    fixed_pattern,
    photon_transfer,
    samples_of,
)
from noisewise.calibration.result import Calibration
from noisewise.calibration.stability import slow_variance_ratio
from noisewise.errors import UserError, check_seed
from noisewise.noise.base import Noise
from noisewise.noise.fit.interval import Estimate
from noisewise.noise.fit.pairs import Pairs, robust_range
from noisewise.noise.fit.variance_line import VarianceLine
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.pixel_maps import PixelMaps, PixelStatistics
from noisewise.noise.models.poisson_gaussian import PoissonGaussian

KINDS = ("gaussian", "poisson_gaussian", "histogram", "mixture", "pixel_maps")
HELD_OUT = 5  # every fifth frame is held out from the fit, to assess it
MAX_ASSESSED = 50_000  # pairs
MIN_FRAMES = 10  # from which on some are held out


def calibrate(
    stack: Any, *, dark: Any = None, kind: str = "mixture", axes: str | None = None, offset: float | None = None,
    seed: int = 0,
) -> Noise:  # fmt: skip
    """Make a noise model p(x|s) of a camera from frames of one fixed scene.

    stack: a file or array with a frame axis, a folder, or a list of files; 100 frames are good, two are enough for the
    gain. dark: the same, of frames without light, which determine offset and read noise. kind: gaussian,
    poisson_gaussian, histogram, mixture, pixel_maps (parameters of each pixel; needs dark frames), or correlated and
    autoregressive, for which dark frames alone are a recording. axes: letters from `STCZYX`, one per dimension, if the
    file does not give them or they are wrong. offset: ADU, if it is known. seed: selects the pixels that are used,
    where there are too many.

    Returns the noise model; its `provenance` holds gain, offset and read noise with 95 % intervals, the goodness of
    fit, and warnings. `calibrate_recording` returns these as a `Calibration`.

    Errors: `UserError` for a single frame, frames of different sizes, NaN, identical frames, a moving scene, a scene of
    one brightness, or settings that contradict each other.

    Source: Janesick, Photon Transfer, SPIE Press (2007), doi:10.1117/3.725073.
    """
    check_seed(seed)
    if kind in CORRELATED_KINDS:
        if dark is not None or offset is not None:
            raise UserError(f"kind {kind} needs neither dark frames nor an offset; give dark frames as the recording")
        return calibrate_correlated(stack, kind=kind, axes=axes, seed=seed).noise
    return calibrate_recording(stack, dark=dark, kind=kind, axes=axes, offset=offset, seed=seed).noise


def calibrate_recording(
    stack: Any, *, dark: Any = None, kind: str = "mixture", axes: str | None = None, offset: float | None = None,
    seed: int = 0,
) -> Calibration:  # fmt: skip
    """Estimate gain, read noise, offset and a noise model from frames of one fixed scene.

    stack: a file or array with a frame axis, a folder, or a list of files; 100 frames are good, two are enough for the
    gain. dark: the same, of frames without light. kind: gaussian, poisson_gaussian, histogram, mixture, or pixel_maps
    (parameters of each pixel; needs dark frames). axes: letters that override those of the file. offset: ADU, if it is
    known. seed: selects the pixels that are used, where there are too many.

    Errors: `UserError` for a single frame, frames of different sizes, NaN, identical frames, a moving scene, a scene of
    one brightness, or settings that contradict each other.
    """
    check_settings(kind, dark, offset)
    frames = open_frames(stack, axes)
    light = measure_frames(frames, seed)
    dark_frames = None if dark is None else measure_frames(open_frames(dark, axes), seed)
    refuse_saturated(frames.name, light)
    scene, curve, level = photon_transfer_curves(light, dark_frames)
    refuse_unsuitable(frames.name, light, scene, curve, kind)
    rounding = light.quantization.step**2 / 12
    detector = estimate_detector(curve, rounding, level, offset, float(np.percentile(light.mean, 0.1)))
    noise_model = fit_noise_model(kind, light, dark_frames, curve, detector)
    goodness, pairs = assess_noise_model(noise_model, light)
    warnings = diagnose(DiagnosticInput(light, curve, scene, detector, level, goodness.distance))
    noise_model.provenance = provenance_of(frames, kind, signal_range(light), light.quantization) | {
        "recording": frames.name,
        "frame_shape": list(frames.shape),
        **{name: as_json(value) for name, value in vars(detector).items()},
        "goodness": asdict(goodness),
        "warnings": warnings,
    }
    return Calibration(noise_model, curve.line, detector, goodness, warnings, curve, pairs)


def check_settings(kind: str, dark: Any, offset: float | None) -> None:
    """Errors: `UserError` for settings that contradict each other."""
    if kind not in KINDS:
        raise UserError(f"unknown kind of noise model '{kind}'; there are: {', '.join((*KINDS, *CORRELATED_KINDS))}")
    if kind == "pixel_maps" and dark is None:
        raise UserError("kind pixel_maps: the offset of each pixel is measured in dark frames only; give them")
    if offset is not None and not np.isfinite(offset):
        raise UserError(f"offset {offset} is not a pixel value; give a number, in ADU")
    if offset is not None and dark is not None:
        raise UserError("the offset is known from the dark frames; give either dark frames or the offset")


def photon_transfer_curves(
    light: FrameStatistics, dark: FrameStatistics | None
) -> tuple[PhotonTransferCurve, PhotonTransferCurve, DarkLevel | None]:
    """The curve of the scene, that of scene and dark frames if they agree, and the level of the dark frames."""
    if dark is None:
        scene = photon_transfer(samples_of(light))
        return scene, scene, None
    pattern = fixed_pattern(dark) if light.mean.shape == dark.mean.shape else 0.0
    samples, dark_samples = samples_of(light, pattern), samples_of(dark)
    scene, level = photon_transfer(samples), dark_level(dark_samples)
    if not is_consistent(scene, level):
        return scene, scene, level
    offset = np.full_like(dark_samples.mean, level.offset)
    return scene, photon_transfer(concatenate([samples, replace(dark_samples, sort_key=offset, mean=offset)])), level


# -- the noise model -------------------------------------------------------------------------------


def fit_noise_model(
    kind: str, light: FrameStatistics, dark: FrameStatistics | None, curve: PhotonTransferCurve, detector: Detector
) -> Noise:
    """Fit the noise model of this kind."""
    if kind == "pixel_maps":
        assert dark is not None
        return fit_pixel_maps(light, dark, detector.gain_adu_per_e.value)
    offset = None if isinstance(detector.offset_adu, Unknown) else detector.offset_adu.value
    low, high = signal_range(light)
    if kind == "poisson_gaussian":
        return PoissonGaussian.from_line(curve.line, low, light.quantization, offset=offset)
    recordings = [(part, fitted_frames(len(part.values))) for part in (light, dark) if part is not None]
    if kind == "gaussian":
        noisy, signal = (torch.cat(part) for part in zip(*(pairs_of(*part) for part in recordings), strict=True))
        return Gaussian.fit(noisy, signal, quantization=light.quantization)
    pairs = count_pairs(recordings, curve.line, offset, low, high)
    return Mixture.from_pairs(pairs) if kind == "mixture" else Histogram.from_pairs(pairs)


def count_pairs(
    recordings: list[tuple[FrameStatistics, Array]], line: VarianceLine, offset: float | None, low: float, high: float
) -> Pairs:
    """Count the pairs of all recordings, frame by frame. offset: signals below it have the noise of the offset; ADU."""
    least_std = None if offset is None else max(line(offset), 0.0) ** 0.5
    low = min(low, *(signal_range(part)[0] for part, _ in recordings))
    pairs = Pairs(line, low, high, recordings[0][0].quantization, least_std)
    for part, frames in recordings:
        for frame in frames:
            noisy, signal = pairs_of(part, frame[None])
            pairs.add(noisy.flatten(), signal.flatten())
    return pairs


def fit_pixel_maps(light: FrameStatistics, dark: FrameStatistics, gain: float) -> PixelMaps:
    """Gain, offset and read noise of each pixel. Errors: `UserError` if the frames differ in size."""
    if light.mean.shape != dark.mean.shape:
        raise UserError(
            f"{dark.frames.name}: dark frames of {dark.mean.shape[0]} x {dark.mean.shape[1]} pixels do not fit "
            f"the recording of {light.mean.shape[0]} x {light.mean.shape[1]}; give those of the same part of the sensor"
        )
    light_pixels, dark_pixels = (
        PixelStatistics(torch.from_numpy(part.mean), torch.from_numpy(part.total_variance), len(part.values) - 1.0)
        for part in (light, dark)
    )
    return PixelMaps.of_recordings(light_pixels, dark_pixels, gain, light.quantization)


def signal_range(statistics: FrameStatistics) -> tuple[float, float]:
    """Darkest and brightest signal without a few outliers; ADU."""
    return robust_range(torch.from_numpy(statistics.mean.ravel()))


def fitted_frames(count: int) -> Array:
    """Numbers of the frames that the noise model is fitted to."""
    numbers = np.arange(count)
    return numbers if count < MIN_FRAMES else numbers[numbers % HELD_OUT != HELD_OUT - 1]


def pairs_of(statistics: FrameStatistics, frames: Array) -> tuple[Tensor, Tensor]:
    """Noisy values and signals (frames, pixels) of the pixels that were kept, ADU.

    The signal of a frame is the mean of all, itself included, with the brightness of the frame: then E[x|s] = s, as all
    frames are equivalent. Deviations from it are too small by √(1 − 1/n), and too large where the scene changes
    slowly; both are corrected. Values at a limit are kept.
    """
    n, quantization = len(statistics.values), statistics.quantization
    mean = statistics.mean.ravel()[statistics.pixels]
    alpha, beta = statistics.brightness[frames].T[..., None]
    signal = alpha + beta * mean
    stretch = (n / (n - 1) / max(slow_variance_ratio(statistics), 1.0)) ** 0.5
    recorded = statistics.values[frames].astype(np.float64)
    noisy = signal + stretch * (recorded - signal)
    for limit, reached in ((quantization.low, np.less_equal), (quantization.high, np.greater_equal)):
        if limit is not None:
            noisy = np.where(reached(recorded, limit), limit, noisy)
    return torch.from_numpy(noisy), torch.from_numpy(signal)


def assess_noise_model(noise_model: Noise, light: FrameStatistics) -> tuple[GoodnessOfFit, tuple[Tensor, Tensor]]:
    """The goodness of fit to the held-out frames, or to all if there are none; and some pairs for figures."""
    count = len(light.values)
    held_out = np.setdiff1d(np.arange(count), fitted_frames(count))
    noisy, signal = pairs_of(light, held_out if len(held_out) else np.arange(count))
    some = slice(None, None, max(1, noisy.numel() // MAX_ASSESSED))
    pairs = noisy, signal = noisy[:, some], signal[:, some]
    if isinstance(noise_model, PixelMaps):
        noise_model = noise_model.of_pixels(torch.from_numpy(light.pixels[some]))
        signal = noise_model.signal_from_mean(signal)
    return assess(noise_model, noisy, signal, len(held_out)), pairs


def as_json(value: Any) -> Any:
    """An estimate as {value, low, high}; what is unknown as {value: None, reason}."""
    if isinstance(value, Unknown):
        return {"value": None, "reason": value.reason}
    return asdict(value) if isinstance(value, Estimate) else value
