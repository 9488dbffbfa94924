"""A noise model from a recording: about a hundred frames of one fixed scene with dark and bright parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.calibration.detector import Dark, Detector, Unknown, dark_of, detect
from noisewise.calibration.diagnostics import Findings, agrees, look, misfit, refuse, refuse_saturated, slowness
from noisewise.calibration.frame_statistics import FrameStatistics, survey
from noisewise.calibration.frames import Frames, open_frames
from noisewise.calibration.goodness_of_fit import GoodnessOfFit, assess
from noisewise.calibration.photon_transfer import Curve, fixed_pattern, joined, photon_transfer, samples_of
from noisewise.errors import UserError
from noisewise.io import checksum
from noisewise.noise.base import Noise
from noisewise.noise.fit.interval import Estimate
from noisewise.noise.fit.pairs import Pairs, robust_range
from noisewise.noise.fit.variance_line import VarianceLine
from noisewise.noise.models.gaussian import Gaussian
from noisewise.noise.models.histogram import Histogram
from noisewise.noise.models.mixture import Mixture
from noisewise.noise.models.pixel_maps import Level, PixelMaps
from noisewise.noise.models.poisson_gaussian import PoissonGaussian
from noisewise.version import __version__

KINDS = ("gaussian", "poisson_gaussian", "histogram", "mixture", "maps")
HELD_OUT = 5  # each fifth frame is not fitted to, but told how well the law fits
ASSESSED = 50_000  # pairs that tell it
FEWEST_HELD_OUT = 10  # frames from which on some are held out


@dataclass(frozen=True)
class Calibration:
    """What a recording tells: the law, gain, read noise and offset, how well it fits, and what to be wary of.

    noise: the law, with all of this as its provenance. line: variance (ADU²) against signal (ADU). detector: gain,
    offset, read noise with 95 % intervals, or `Unknown` with the reason. warnings: plain sentences.
    """

    noise: Noise
    line: VarianceLine
    detector: Detector
    goodness: GoodnessOfFit
    warnings: list[str]
    curve: Curve = field(repr=False)
    some: tuple[Tensor, Tensor] = field(repr=False)

    def record(self) -> dict[str, Any]:
        """All figures, JSON-able."""
        return dict(self.noise.provenance)


def calibrate(
    stack: Any,
    *,
    dark: Any = None,
    kind: str = "mixture",
    axes: str | None = None,
    offset: float | None = None,
    seed: int = 0,
) -> Noise:
    """The noise model of a camera from a recording: `record(...).noise`, see there."""
    return record(stack, dark=dark, kind=kind, axes=axes, offset=offset, seed=seed).noise


def record(
    stack: Any,
    *,
    dark: Any = None,
    kind: str = "mixture",
    axes: str | None = None,
    offset: float | None = None,
    seed: int = 0,
) -> Calibration:
    """Gain, read noise, offset and a noise model from frames of one fixed scene.

    stack: a file or array with a frame axis, a folder, or a list of files; 100 frames are good, two are enough for
    the gain. dark: the same of frames without light. kind: gaussian, poisson_gaussian, histogram, mixture, or maps
    (of each pixel; needs dark frames). axes: letters that overrule the file's. offset: ADU, if it is known.
    seed: which pixels are looked at, where there are too many.

    Errors: `UserError` for a single frame, frames of different sizes, NaN, frames that are alike, a moving scene, a
    scene of one brightness.
    """
    check_settings(kind, dark, offset)
    frames = open_frames(stack, axes)
    seen = survey(frames, seed)
    shade = None if dark is None else survey(open_frames(dark, axes), seed)
    refuse_saturated(frames.name, seen)
    scene, curve, dim = transfer_of(seen, shade)
    refuse(frames.name, seen, scene, curve, kind)
    rounding = seen.quantization.step**2 / 12
    detector = detect(curve, rounding, dim, offset, float(np.percentile(seen.mean, 0.1)))
    noise_model = fit_law(kind, seen, shade, curve, detector)
    goodness, some = assess_law(noise_model, seen)
    warnings = look(Findings(seen, curve, scene, detector, dim)) + misfit(goodness.distance)
    noise_model.provenance = provenance(frames, kind, seen, detector, goodness, warnings)
    return Calibration(noise_model, curve.line, detector, goodness, warnings, curve, some)


def transfer_of(seen: FrameStatistics, shade: FrameStatistics | None) -> tuple[Curve, Curve, Dark | None]:
    """The curve of the scene, that of scene and dark frames if they fit, and what the dark frames tell."""
    if shade is None:
        scene = photon_transfer(samples_of(seen))
        return scene, scene, None
    same = seen.mean.shape == shade.mean.shape
    light, without = samples_of(seen, fixed_pattern(shade) if same else 0.0), samples_of(shade)
    scene, dark = photon_transfer(light), dark_of(without)
    if not agrees(scene, dark):
        return scene, scene, dark
    level = np.full_like(without.mean, dark.level)
    return scene, photon_transfer(joined([light, replace(without, key=level, mean=level)])), dark


def check_settings(kind: str, dark: Any, offset: float | None) -> None:
    """Errors: `UserError` for settings that make no sense."""
    if kind not in KINDS:
        raise UserError(f"unknown kind of noise model '{kind}'; there are: {', '.join(KINDS)}")
    if kind == "maps" and dark is None:
        raise UserError("kind maps: the offset of each pixel is known from dark frames only; give --dark")
    if offset is not None and not np.isfinite(offset):
        raise UserError(f"offset {offset} is not a grey level; give a number, in ADU")
    if offset is not None and dark is not None:
        raise UserError("the offset is known from the dark frames; give either --dark or --offset")


# -- the law ---------------------------------------------------------------------------------------


def fit_law(kind: str, seen: FrameStatistics, shade: FrameStatistics | None, curve: Curve, detector: Detector) -> Noise:
    """The law of this kind."""
    if kind == "maps":
        assert shade is not None
        return fit_maps(seen, shade, detector.gain_adu_per_e.value)
    offset = None if isinstance(detector.offset_adu, Unknown) else detector.offset_adu.value
    low, high = signal_range(seen)
    if kind == "poisson_gaussian":
        return PoissonGaussian.from_line(curve.line, low, seen.quantization, offset=offset)
    recordings = [(seen, fitted(len(seen.kept)))]
    recordings += [] if shade is None else [(shade, fitted(len(shade.kept)))]
    if kind == "gaussian":
        noisy, signal = (torch.cat(part) for part in zip(*(pairs_of(*part) for part in recordings), strict=True))
        return Gaussian.fit(noisy, signal, quantization=seen.quantization)
    pairs = count(recordings, curve.line, offset, low, high)
    return Mixture.from_pairs(pairs) if kind == "mixture" else Histogram.from_pairs(pairs)


def count(
    recordings: list[tuple[FrameStatistics, Array]], line: VarianceLine, offset: float | None, low: float, high: float
) -> Pairs:
    """The pairs of all recordings, frame by frame. offset: below it, the law is that of the offset; ADU."""
    least = None if offset is None else max(line(offset), 0.0) ** 0.5
    low = min(low, *(signal_range(part)[0] for part, _ in recordings))
    pairs = Pairs(line, low, high, recordings[0][0].quantization, least)
    for part, frames in recordings:
        for frame in frames:
            noisy, signal = pairs_of(part, frame[None])
            pairs.add(noisy.flatten(), signal.flatten())
    return pairs


def fit_maps(seen: FrameStatistics, shade: FrameStatistics, gain: float) -> PixelMaps:
    """Gain, offset and read noise of each pixel. Errors: `UserError` if the frames differ in size."""
    if seen.mean.shape != shade.mean.shape:
        raise UserError(
            f"{shade.frames.name}: dark frames of {shade.mean.shape[0]} x {shade.mean.shape[1]} pixels do not fit "
            f"the recording of {seen.mean.shape[0]} x {seen.mean.shape[1]}; give those of the same part of the sensor"
        )
    light, dark = (
        Level(torch.from_numpy(part.mean), torch.from_numpy(part.whole), len(part.kept) - 1.0) for part in (seen, shade)
    )
    return PixelMaps.of_recordings(light, dark, gain, seen.quantization)


def signal_range(seen: FrameStatistics) -> tuple[float, float]:
    """Darkest and brightest signal, but for a few pixels; ADU."""
    low, high = robust_range(torch.from_numpy(seen.mean.ravel()))
    return low, high


def fitted(frames: int) -> Array:
    """Numbers of the frames that the law is fitted to."""
    numbers = np.arange(frames)
    return numbers if frames < FEWEST_HELD_OUT else numbers[numbers % HELD_OUT != HELD_OUT - 1]


def pairs_of(seen: FrameStatistics, frames: Array) -> tuple[Tensor, Tensor]:
    """Noisy values and signals (frames, pixels) of the pixels that were kept, ADU.

    The signal of a frame is the mean of all, itself included, with its own brightness: then E[x|s] = s exactly, as
    no frame is before another. Deviations from it are too small by √(1 − 1/n), and too large where the scene changes
    slowly; both are put right. What is at a limit stays there.
    """
    n = len(seen.kept)
    mean = seen.mean.ravel()[seen.where]
    alpha, beta = seen.brightness[frames].T[..., None]
    signal = alpha + beta * mean
    stretch = (n / (n - 1) / max(slowness(seen), 1.0)) ** 0.5
    raw = seen.kept[frames].astype(np.float64)
    noisy = signal + stretch * (raw - signal)
    for limit, beyond in ((seen.quantization.low, np.less_equal), (seen.quantization.high, np.greater_equal)):
        if limit is not None:
            noisy = np.where(beyond(raw, limit), limit, noisy)
    return torch.from_numpy(noisy), torch.from_numpy(signal)


def assess_law(noise_model: Noise, seen: FrameStatistics) -> tuple[GoodnessOfFit, tuple[Tensor, Tensor]]:
    """How well the law fits the frames that were held out; and some pairs to be drawn."""
    held = np.setdiff1d(np.arange(len(seen.kept)), fitted(len(seen.kept)))
    noisy, signal = pairs_of(seen, held if len(held) else np.arange(len(seen.kept)))
    few = slice(None, None, max(1, noisy.numel() // ASSESSED))
    shown = noisy, signal = noisy[:, few], signal[:, few]
    if isinstance(noise_model, PixelMaps):
        noise_model = noise_model.of_pixels(torch.from_numpy(seen.where[few]))
        signal = noise_model.freed(signal)
    return assess(noise_model, noisy, signal, len(held)), shown


def provenance(
    frames: Frames, kind: str, seen: FrameStatistics, detector: Detector, goodness: GoodnessOfFit, warnings: list[str]
) -> dict[str, Any]:
    """What is written beside the law, JSON-able."""
    figures = {name: told(value) for name, value in vars(detector).items()}
    return {
        "software": f"noisewise {__version__}",
        "kind": kind,
        "recording": frames.name,
        "sha256": [checksum(path) for path in dict.fromkeys(frames.paths)],
        "frames": len(seen.kept),
        "frame_shape": list(frames.shape),
        "signal_range": list(signal_range(seen)),
        "digital": asdict(seen.quantization),
        **figures,
        "goodness": asdict(goodness),
        "warnings": warnings,
    }


def told(value: Any) -> Any:
    """An estimate as {value, low, high}; what is unknown as {value: None, reason}."""
    if isinstance(value, Unknown):
        return {"value": None, "reason": value.reason}
    return asdict(value) if isinstance(value, Estimate) else value
