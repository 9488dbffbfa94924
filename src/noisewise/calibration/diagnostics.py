"""Diagnostics for a calibration recording. Each check returns warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from noisewise.calibration.detector import DarkLevel, Detector, Unknown, format_quantity
from noisewise.calibration.frame_statistics import FrameStatistics
from noisewise.calibration.photon_transfer import PhotonTransferCurve
from noisewise.calibration.stability import shift_px, slow_variance_ratio, unstable_pixels, vibration_px2
from noisewise.errors import UserError

SIGNIFICANT = 6.0  # standard errors: a smaller deviation is chance
MIN_SHIFT_PX = 0.1  # over the recording
MIN_VIBRATION_PX = 0.05
MIN_BRIGHTNESS_CHANGE = 0.1  # over the recording, relative to the noise of a pixel
CORRELATED, FILTERED, MOVING = 0.02, 0.2, 0.5  # correlation of neighbours; above the second, no camera produces it
MIN_SHARED_NOISE = 0.1  # standard deviation that a row shares, relative to the noise of a pixel
MIN_ADDED_VARIANCE = 0.02  # of the variance, from vibration
SLOW, RATHER_SLOW, TOO_SLOW = 1.05, 1.2, 2.0  # variance over all frames, over that between neighbouring frames
MIN_UNSTABLE, TOO_UNSTABLE = 0.01, 0.2  # fraction of pixels that vary far more than others of the same brightness
CLUSTERED = 0.3  # fraction of their neighbours that do so too, above which they are objects, not pixels
MIN_SATURATED, MIN_DARK_CLIPPED, MOSTLY = 1e-4, 1e-3, 0.5  # fraction of pixels at a limit
NONLINEAR = 0.1  # relative deviation of the variance from its line
UNCERTAIN_GAIN = 0.05  # relative half width of the gain's interval
MIN_FRAMES = 20
MISFIT = 0.02  # Kolmogorov-Smirnov distance
DARK_DEVIATION = 0.25  # relative difference of the variance at the offset
ADVICE = (
    "a noise model of single pixels does not describe this; use: noisewise calibrate FRAMES --kind correlated -o NOISE"
)


@dataclass(frozen=True)
class DiagnosticInput:
    """What the checks look at. scene: the curve without dark frames. distance: see `GoodnessOfFit`."""

    statistics: FrameStatistics
    curve: PhotonTransferCurve
    scene: PhotonTransferCurve
    detector: Detector
    dark: DarkLevel | None
    distance: float

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise of a pixel of mean brightness, ADU."""
        return float(max(self.curve.line(float(self.statistics.mean.mean())), 1e-12) ** 0.5)


def refuse_unsuitable(
    name: str, statistics: FrameStatistics, scene: PhotonTransferCurve, curve: PhotonTransferCurve, kind: str
) -> None:
    """Errors: `UserError` for a recording of a moving scene, or of a single brightness."""
    fraction, clustered = unstable_pixels(statistics, scene)
    slow, correlation = slow_variance_ratio(statistics), statistics.neighbours.correlation
    moving = slow > TOO_SLOW or (slow > RATHER_SLOW and correlation > MOVING)
    if moving or (fraction > TOO_UNSTABLE and clustered > CLUSTERED):
        raise UserError(
            f"{name}: the scene moves or changes from frame to frame, so noise and motion cannot be separated; "
            "record a fixed scene, such as the edge of a slide out of focus"
        )
    if kind != "gaussian" and curve.line.slope < 3 * curve.standard_error([1.0]):
        low, high = np.percentile(statistics.mean, [0.1, 99.9])
        noise = float(np.median(curve.variance)) ** 0.5
        raise UserError(
            f"{name}: the noise does not rise with the signal ({low:.5g} to {high:.5g} ADU, noise {noise:.3g} ADU); if "
            "this is a dark recording, use it as: noisewise calibrate FRAMES --dark DARK -o NOISE; otherwise "
            "record a scene with dark and bright parts"
        )


def refuse_saturated(name: str, statistics: FrameStatistics) -> None:
    """Errors: `UserError` for a recording that is mostly saturated."""
    fraction = float(statistics.clipped[1].mean())
    if fraction > MOSTLY:
        raise UserError(f"{name}: {percent(fraction)} of the pixels saturate, and show no noise; expose less")


def diagnose(found: DiagnosticInput) -> list[str]:
    """Run all checks, the most important ones first."""
    checks = (
        check_multiplier, check_clipping, check_brightness, check_motion, check_hot_pixels, check_neighbours,
        check_linearity, check_gain, check_frame_count, check_dark_frames, check_fit,
    )  # fmt: skip
    return [warning for check in checks for warning in check(found)]


def check_multiplier(found: DiagnosticInput) -> Iterator[str]:
    """Excess noise of an EM register or dynodes."""
    factor, gain = found.detector.excess_factor, found.detector.gain_adu_per_e.value
    if isinstance(factor, Unknown) or found.statistics.neighbours.correlation > FILTERED:
        return
    yield (
        f"an amplifier adds noise, as in an EMCCD (excess noise factor F² = {format_quantity(factor)}): the gain is "
        f"the slope of the variance, F² times the {gain / factor.value:.4g} ADU of one electron"
    )


def check_clipping(found: DiagnosticInput) -> Iterator[str]:
    """Pixels at the limits."""
    low, high = found.statistics.clipped
    if high.mean() > MIN_SATURATED:
        yield f"{percent(high.mean())} of the pixels saturate and are excluded; expose less"
    if low.mean() > MIN_DARK_CLIPPED and found.curve.clipped_low:
        yield f"{percent(low.mean())} of the pixels reach the lowest value and are excluded; raise the camera's offset"
    elif low.mean() > MIN_DARK_CLIPPED:
        yield (
            f"{percent(low.mean())} of the pixels reach the lowest value; if the camera clips there, the noise of dark "
            "pixels is underestimated; raise the camera's offset"
        )


def check_brightness(found: DiagnosticInput) -> Iterator[str]:
    """Bleaching, drift and flicker of the brightness."""
    statistics, noise_std = found.statistics, found.noise_std
    centre = float(statistics.mean.mean())
    means = statistics.brightness @ np.array([1.0, centre])
    times = np.arange(len(means)) - (len(means) - 1) / 2
    slope = float(times @ means / (times @ times))
    residual = means - means.mean() - slope * times
    mean_error = noise_std / statistics.mean.size**0.5
    flicker = float((residual @ residual / max(len(means) - 2, 1)) ** 0.5)
    slope_error = max(flicker, mean_error) / float(times @ times) ** 0.5
    offset = found.detector.offset_adu
    light = centre - (float(statistics.mean.min()) if isinstance(offset, Unknown) else offset.value)
    change = slope * (len(means) - 1)
    if abs(slope) > SIGNIFICANT * slope_error and abs(change) > MIN_BRIGHTNESS_CHANGE * noise_std:
        yield (
            f"the frames {'fall' if change < 0 else 'rise'} in brightness by {abs(change):.3g} ADU "
            f"({100 * abs(change) / max(light, 1e-9):.2g} %), as with bleaching or drift; this is corrected"
        )
    if len(means) > 3 and flicker > max(SIGNIFICANT * mean_error, MIN_BRIGHTNESS_CHANGE * noise_std):
        yield f"the brightness flickers by {flicker:.3g} ADU from frame to frame; this is corrected"


def check_motion(found: DiagnosticInput) -> Iterator[str]:
    """Drift of the scene, vibration, moving objects."""
    shift, error = shift_px(found.statistics, found.curve)
    if shift > max(MIN_SHIFT_PX, SIGNIFICANT * error):
        yield (
            f"the scene shifts by {shift:.2g} pixels over the recording, which adds to the noise at edges; "
            "fix the stage, or use fewer frames"
        )
    vibration, error, weight = vibration_px2(found.statistics, found.curve, found.scene)
    if vibration > max(MIN_VIBRATION_PX**2, SIGNIFICANT * error) and vibration * weight > MIN_ADDED_VARIANCE:
        yield (
            f"the scene vibrates by about {vibration**0.5:.2g} pixels, which adds to the noise at edges; "
            "record a scene out of focus"
        )
    slow = slow_variance_ratio(found.statistics)
    if slow > SLOW:
        yield (
            f"the variance over all frames is {percent(slow - 1)} larger than between neighbouring frames: the scene "
            "changes slowly; the variance between neighbouring frames is used"
        )
    fraction, clustered = unstable_pixels(found.statistics, found.scene)
    if fraction > MIN_UNSTABLE and clustered > CLUSTERED:
        yield (
            f"{percent(fraction)} of the pixels, side by side, vary far more than others of the same brightness: "
            "something moves there; record a fixed scene"
        )


def check_hot_pixels(found: DiagnosticInput) -> Iterator[str]:
    """Pixels that are excluded from the curve."""
    pixels = set(found.scene.hot.tolist()) | set(found.dark.hot.tolist() if found.dark else [])
    if not pixels:
        return
    fraction = percent(len(pixels) / found.statistics.mean.size)
    yield (
        f"hot pixels: {len(pixels)} ({fraction}), with far more noise than others of the same brightness; "
        "the line is fitted without them"
    )


def check_neighbours(found: DiagnosticInput) -> Iterator[str]:
    """Correlated noise, row and column offsets."""
    statistics = found.statistics
    neighbours = statistics.neighbours
    chance = SIGNIFICANT / (statistics.mean.size * len(statistics.brightness) / 2) ** 0.5
    for value, line in ((neighbours.along_x, "row"), (neighbours.along_y, "column")):
        if abs(value) > max(CORRELATED, chance):
            yield f"the noise of neighbours along a {line} is correlated ({value:+.2f}); {ADVICE}"
    if neighbours.correlation > FILTERED:
        yield (
            f"a correlation of {neighbours.correlation:.2f} is a sign of filtered, resized or compressed images, which "
            "do not show the gain and read noise of the camera; give the recording as the camera made it"
        )
    for (variance, error), line in ((neighbours.rows, "row"), (neighbours.columns, "column")):
        if variance > max(SIGNIFICANT * error, (MIN_SHARED_NOISE * found.noise_std) ** 2):
            yield f"the pixels of a {line} share noise of {variance**0.5:.3g} ADU; {ADVICE}"


def check_linearity(found: DiagnosticInput) -> Iterator[str]:
    """Deviation of the variance from its line."""
    curve = found.curve
    line = curve.line(curve.signal)
    deviation = (curve.variance - line) / np.maximum(line, 1e-12)
    significant = np.abs(curve.variance - line) > SIGNIFICANT * np.maximum(curve.variance_error, 1e-12)
    size = np.where(significant, np.abs(deviation), 0.0)
    if size.max() < NONLINEAR:
        return
    worst = int(size.argmax())
    yield (
        f"the variance is not linear in the signal: at {curve.signal[worst]:.5g} ADU it deviates by "
        f"{100 * deviation[worst]:+.0f} %, so the gain is unreliable; look for saturation, motion, or "
        "images that were processed"
    )


def check_gain(found: DiagnosticInput) -> Iterator[str]:
    """A range of signals that is too narrow for the gain."""
    gain = found.detector.gain_adu_per_e
    if gain.high - gain.value < UNCERTAIN_GAIN * gain.value:
        return
    signal = found.curve.signal
    yield (
        f"the signals ({signal[0]:.5g} to {signal[-1]:.5g} ADU) leave the gain uncertain by "
        f"{percent(gain.high / gain.value - 1)}; record more frames, or darker and brighter parts"
    )


def check_frame_count(found: DiagnosticInput) -> Iterator[str]:
    """Too few frames for more than a variance."""
    count = len(found.statistics.brightness)
    if count < MIN_FRAMES:
        yield f"{count} frames determine the variance, but hardly the shape of the noise; record about 100"


def check_dark_frames(found: DiagnosticInput) -> Iterator[str]:
    """Dark frames with other camera settings than the scene."""
    if found.dark is None or is_consistent(found.scene, found.dark):
        return
    expected = found.scene.line(found.dark.offset)
    yield (
        f"the scene predicts a variance of {expected:.3g} ADU² at the level of the dark frames, but they have "
        f"{found.dark.variance:.3g} ADU²; the line is fitted without them: record both with the same settings"
    )


def check_fit(found: DiagnosticInput) -> Iterator[str]:
    """Deviation of held-out frames from the noise model, as the Kolmogorov-Smirnov distance."""
    if not found.distance < MISFIT:
        error = percent(found.distance)
        yield (
            f"the distribution function of the noise model is wrong by up to {error}; try mixture or histogram: "
            "noisewise calibrate FRAMES --kind KIND -o NOISE"
        )


def is_consistent(scene: PhotonTransferCurve, dark: DarkLevel) -> bool:
    """Whether the variance line of the scene agrees with the dark frames; True if the line is too uncertain."""
    if scene.line.slope < SIGNIFICANT * scene.standard_error([1.0]):
        return True
    deviation = abs(scene.line(dark.offset) - dark.variance)
    error = SIGNIFICANT * scene.standard_error([dark.offset, 1.0]) + dark.variance_half_width
    return deviation < max(error, DARK_DEVIATION * dark.variance)


def percent(fraction: float) -> str:
    """`0.12 %`, with two significant digits."""
    return f"{float(f'{100 * fraction:.2g}'):g} %"
