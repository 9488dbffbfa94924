"""What a recording should be told off for: each finding a plain sentence with its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisewise.axes import Array
from noisewise.calibration.detector import Dark, Detector, Unknown, worded
from noisewise.calibration.frame_statistics import FrameStatistics
from noisewise.calibration.photon_transfer import Curve
from noisewise.errors import UserError

SURE = 6.0  # standard errors: a smaller finding is chance
SHIFT_PX = 0.1  # over the recording
TREMBLE_PX = 0.05
BRIGHTNESS = 0.1  # change of brightness over the recording, as a part of the noise of a pixel
CORRELATED, FILTERED, ALIKE = 0.02, 0.2, 0.5  # correlation of neighbours; beyond the second, no camera makes it
SHARED = 0.1  # standard deviation of what rows share, as a part of the noise of a pixel
SLIGHT = 0.02  # of the variance, added by trembling
SLOW, RATHER_SLOW, TOO_SLOW = 1.05, 1.2, 2.0  # variance over all frames, over that between neighbouring frames
RESTLESS, TOO_RESTLESS = 0.01, 0.2  # share of pixels that vary far more than others as bright
TOGETHER = 0.3  # share of their neighbours that do so too, from which on they are objects, not pixels
SATURATED, DARK_CUT, MOSTLY = 1e-4, 1e-3, 0.5  # share of pixels at a limit
BENT = 0.1  # departure of the variance from its line
LOOSE = 0.05  # relative half-width of the gain's interval
FEW_FRAMES = 20
MISFIT = 0.02  # greatest distance of distributions
DARK_OFF = 0.25  # difference of the variance at the offset


@dataclass(frozen=True)
class Findings:
    """What is looked at together."""

    survey: FrameStatistics
    curve: Curve
    scene: Curve
    detector: Detector
    dark: Dark | None

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of a pixel of mean brightness, ADU."""
        return float(max(self.curve.line(float(self.survey.mean.mean())), 1e-12) ** 0.5)


def refuse(name: str, survey: FrameStatistics, scene: Curve, curve: Curve, kind: str) -> None:
    """Errors: `UserError` for a recording of a moving scene, or of one brightness."""
    share, together = restless(survey, scene)
    slow, alike = slowness(survey), correlation(survey)
    if (share > TOO_RESTLESS and together > TOGETHER) or slow > TOO_SLOW or (slow > RATHER_SLOW and alike > ALIKE):
        raise UserError(
            f"{name}: the scene moves or changes from frame to frame, so noise and motion cannot be told apart; "
            "record something fixed, such as the edge of a slide out of focus"
        )
    if kind != "gaussian" and curve.line.slope < 3 * curve.error([1.0]):
        low, high = np.percentile(survey.mean, [0.1, 99.9])
        noise = float(np.median(curve.variance)) ** 0.5
        raise UserError(
            f"{name}: the noise does not rise with the signal ({low:.5g} to {high:.5g} ADU, noise {noise:.3g} ADU); if "
            "this is a dark recording, give it as --dark; otherwise record a scene with dark and bright parts"
        )


def refuse_saturated(name: str, survey: FrameStatistics) -> None:
    """Errors: `UserError` for a recording that is mostly saturated."""
    share = float(survey.clipped[1].mean())
    if share > MOSTLY:
        raise UserError(f"{name}: {percent(share)} of the pixels saturate; expose less")


def look(found: Findings) -> list[str]:
    """Everything a user should know, in the order of a reader's interest."""
    checks = (amplifier, saturation, brightness, motion, hot, neighbours, straightness, looseness, few, dark_fit)
    return [sentence for check in checks for sentence in check(found)]


def amplifier(found: Findings) -> list[str]:
    """Whether an EM register or dynodes are seen."""
    factor, gain = found.detector.excess_factor, found.detector.gain_adu_per_e.value
    if isinstance(factor, Unknown) or correlation(found.survey) > FILTERED:
        return []
    return [
        f"an amplifier that adds noise is seen, such as an EM register (F² = {worded(factor)}): the gain given here "
        f"is that of the variance, F² times the {gain / factor.value:.4g} ADU of an electron"
    ]


def saturation(found: Findings) -> list[str]:
    """Pixels at the limits."""
    low, high = found.survey.clipped
    said = []
    if high.mean() > SATURATED:
        said.append(f"{percent(high.mean())} of the pixels saturate; they are left out: expose less")
    if low.mean() > DARK_CUT and found.curve.cut_low:
        said.append(f"{percent(low.mean())} of the pixels reach the lowest value; raise the camera's offset")
    elif low.mean() > DARK_CUT:
        said.append(
            f"{percent(low.mean())} of the pixels reach the lowest value; if the camera cuts off there, "
            "the noise of dark pixels is underrated"
        )
    return said


def brightness(found: Findings) -> list[str]:
    """Bleaching, drift and flicker of the brightness."""
    survey = found.survey
    centre = float(survey.mean.mean())
    means = survey.brightness @ np.array([1.0, centre])
    times = np.arange(len(means)) - (len(means) - 1) / 2
    slope = float(times @ means / (times @ times))
    rest = means - means.mean() - slope * times
    chance = found.noise / survey.mean.size**0.5
    scatter = float((rest @ rest / max(len(means) - 2, 1)) ** 0.5)
    error = max(scatter, chance) / float(times @ times) ** 0.5
    offset = found.detector.offset_adu
    light = centre - (float(survey.mean.min()) if isinstance(offset, Unknown) else offset.value)
    said = []
    change = slope * (len(means) - 1)
    if abs(slope) > SURE * error and abs(change) > BRIGHTNESS * found.noise:
        word = "fall" if change < 0 else "rise"
        said.append(
            f"the frames {word} in brightness by {abs(change):.3g} ADU ({100 * abs(change) / max(light, 1e-9):.2g} %): "
            "bleaching or drift; it is taken off"
        )
    if len(means) > 3 and scatter > max(SURE * chance, BRIGHTNESS * found.noise):
        said.append(f"the brightness flickers by {scatter:.3g} ADU from frame to frame; it is taken off")
    return said


def motion(found: Findings) -> list[str]:
    """Drift of the scene, trembling, objects that move."""
    said = []
    shift, error = shift_px(found)
    if shift > max(SHIFT_PX, SURE * error):
        said.append(f"the scene shifts by {shift:.2g} pixels over the recording; fix the stage, or use fewer frames")
    tremble, error, weight = tremble_px2(found)
    if tremble > max(TREMBLE_PX**2, SURE * error) and tremble * weight > SLIGHT:
        said.append(
            f"the scene trembles by about {tremble**0.5:.2g} pixels, which adds to the noise at edges; "
            "record something out of focus"
        )
    slow = slowness(found.survey)
    if slow > SLOW:
        said.append(
            f"over all frames the pixels vary {percent(slow - 1)} more than between neighbouring frames: the scene "
            "changes slowly; the variance is that of neighbouring frames"
        )
    share, together = restless(found.survey, found.scene)
    if share > RESTLESS and together > TOGETHER:
        said.append(f"{percent(share)} of the pixels, side by side, vary far more than others: something moves there")
    return said


def hot(found: Findings) -> list[str]:
    """Pixels that are left out of the curve."""
    pixels = set(found.scene.hot.tolist()) | set(found.dark.hot.tolist() if found.dark else [])
    if not pixels:
        return []
    share = percent(len(pixels) / found.survey.mean.size)
    return [f"hot pixels: {len(pixels)} ({share}) vary far more than others as bright; the line is drawn without them"]


def neighbours(found: Findings) -> list[str]:
    """Correlated noise, rows and columns."""
    survey, said = found.survey, []
    seen = survey.neighbours
    chance = SURE / (survey.mean.size * len(survey.brightness) / 2) ** 0.5
    for value, lines in ((seen.along_x, "along a row"), (seen.along_y, "along a column")):
        if abs(value) > max(CORRELATED, chance):
            said.append(
                f"the noise of neighbours {lines} is correlated ({value:+.2f}); a noise model of single "
                "pixels does not know this: use noisewise measure for one that does"
            )
    if correlation(survey) > FILTERED:
        said.append(
            "images that were filtered, resized or compressed do not show the gain and read noise of the camera"
        )
    for (variance, error), lines in ((seen.rows, "row"), (seen.columns, "column")):
        if variance > max(SURE * error, (SHARED * found.noise) ** 2):
            said.append(f"the pixels of a {lines} share noise of {variance**0.5:.3g} ADU")
    return said


def straightness(found: Findings) -> list[str]:
    """Whether the variance is a line."""
    curve = found.curve
    line = curve.line(curve.signal)
    off = (curve.variance - line) / np.maximum(line, 1e-12)
    sure = np.abs(curve.variance - line) > SURE * np.maximum(curve.variance_error, 1e-12)
    bent = np.where(sure, np.abs(off), 0.0)
    if bent.max() < BENT:
        return []
    worst = int(bent.argmax())
    return [
        f"the variance is not a line: at {curve.signal[worst]:.5g} ADU it is {100 * off[worst]:+.0f} % off; look for "
        "saturation, motion, or images that were processed"
    ]


def looseness(found: Findings) -> list[str]:
    """A range of intensities too narrow for the gain."""
    gain = found.detector.gain_adu_per_e
    if gain.high - gain.value < LOOSE * gain.value:
        return []
    signal = found.curve.signal
    return [
        f"the signals ({signal[0]:.5g} to {signal[-1]:.5g} ADU) leave the gain uncertain by "
        f"{percent(gain.high / gain.value - 1)}; record more frames, or darker and brighter parts"
    ]


def few(found: Findings) -> list[str]:
    """Too few frames for more than a variance."""
    number = len(found.survey.brightness)
    if number >= FEW_FRAMES:
        return []
    return [f"{number} frames tell the variance, but little of the shape of the noise; about 100 are good"]


def dark_fit(found: Findings) -> list[str]:
    """Whether dark frames and scene are of one camera setting."""
    if found.dark is None or agrees(found.scene, found.dark):
        return []
    return [
        f"at the level of the dark frames the scene lets expect a variance of {found.scene.line(found.dark.level):.3g} "
        f"ADU², they have {found.dark.variance:.3g} ADU²; record both with the same settings"
    ]


def agrees(scene: Curve, dark: Dark) -> bool:
    """Whether the line of the scene leads to the dark frames, if it leads anywhere."""
    if scene.line.slope < SURE * scene.error([1.0]):
        return True
    off = abs(scene.line(dark.level) - dark.variance)
    return off < max(SURE * scene.error([dark.level, 1.0]) + dark.variance_reach, DARK_OFF * dark.variance)


def misfit(distance: float) -> list[str]:
    """Whether held-out frames follow the law."""
    if distance < MISFIT:
        return []
    return [f"the noise model is off by up to {percent(distance)} in its distribution function; try another kind"]


# -- what is measured ------------------------------------------------------------------------------


def slowness(survey: FrameStatistics) -> float:
    """Variance over all frames, over that between neighbouring frames."""
    used = [fold for fold in range(2) if survey.fold_pairs[fold]]
    neighbouring = survey.variance[used].mean(0)
    return float(np.median(blocks(survey.whole)) / max(np.median(blocks(neighbouring)), 1e-30))


def blocks(image: Array, side: int = 4) -> Array:
    """Means of blocks, so that a median of them is near that of a variance; the image itself if it is small."""
    rows, columns = (size // side for size in image.shape)
    if rows * columns < 16:
        return image
    return np.asarray(image[: rows * side, : columns * side].reshape(rows, side, columns, side).mean((1, 3)))


def correlation(survey: FrameStatistics) -> float:
    """The larger correlation of neighbours."""
    return max(abs(survey.neighbours.along_y), abs(survey.neighbours.along_x))


def restless(survey: FrameStatistics, curve: Curve) -> tuple[float, float]:
    """Share of pixels that vary far more than others as bright, and the share of their neighbours that do too."""
    map_yx = np.zeros(survey.mean.size, bool)
    map_yx[curve.hot] = True
    map_yx = map_yx.reshape(survey.mean.shape)
    if not map_yx.any():
        return 0.0, 0.0
    padded = np.pad(map_yx, 1).astype(float)
    near = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
    return float(map_yx.mean()), float(near[map_yx].mean())


def least_squares(design: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """Solution of weighted least squares, and its standard errors from what is left."""
    inverse = np.linalg.pinv(design.T @ (design * weight[:, None]))
    solution = inverse @ (design.T @ (weight * target))
    rest = target - design @ solution
    variance = float(weight @ rest**2) / max(len(target) - design.shape[1], 1)
    return solution, np.sqrt(np.maximum(inverse.diagonal() * variance, 0.0))


def slopes(found: Findings) -> tuple[Array, Array, Array]:
    """Gradient of the mean along Y and X, flat, and the variance of the line there."""
    mean = found.survey.mean
    if min(mean.shape) < 2:
        zero = np.zeros(mean.size)
        return zero, zero, zero + 1.0
    along_y, along_x = np.gradient(mean)
    floor = 0.1 * float(np.median(found.curve.variance)) + 1e-12
    line = np.maximum(found.curve.line(mean), floor)
    return along_y.ravel(), along_x.ravel(), line.ravel()


def shift_px(found: Findings) -> tuple[float, float]:
    """How far the scene moved over the recording, and its standard error, pixels."""
    along_y, along_x, line = slopes(found)
    mean = found.survey.mean.ravel()
    design = np.stack([along_y, along_x, mean - mean.mean(), np.ones_like(mean)], 1)
    speed, error = least_squares(design, found.survey.drift.ravel(), 1 / line)
    frames = len(found.survey.brightness) - 1
    return float(np.hypot(*speed[:2])) * frames, float(np.hypot(*error[:2])) * frames


def tremble_px2(found: Findings) -> tuple[float, float, float]:
    """Variance of the scene's position from frame to frame, its standard error (pixels²), and what it weighs.

    Pixels at edges are compared with others as bright. Weight: mean of the squared gradient over the variance.
    """
    along_y, along_x, line = slopes(found)
    used = [fold for fold in range(2) if found.survey.fold_pairs[fold]]
    steep = (along_y**2 + along_x**2) / line
    cool = np.setdiff1d(np.arange(line.size), found.scene.hot)
    order = cool[np.argsort(found.survey.mean.ravel()[cool])]
    excess = found.survey.variance[used].mean(0).ravel() / line
    parts = np.array_split(order, len(found.scene.signal))
    design, target = (np.concatenate([what[part] - what[part].mean() for part in parts]) for what in (steep, excess))
    solution, error = least_squares(design[:, None], target, np.ones_like(target))
    return float(solution[0]), float(error[0]), float(steep[cool].mean())


def percent(share: float) -> str:
    """`0.12 %`."""
    return f"{100 * share:.2g} %"
