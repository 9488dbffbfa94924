"""The check-up of an image: what was measured of its noise, what that means, and a noise model to sample from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from noisewise.estimate.measurement import BELOW_STEP, WEAK, NoiseMeasurement
from noisewise.estimate.noise_model import full_noise_model, pixel_noise_model
from noisewise.io.text import finite
from noisewise.noise.base import Noise

HOT = 1e-5  # of the pixels
DISPLACED = 0.3  # pixels
UNEVEN = 1.8  # variance over the field at equal signals
TEXTURED = 0.5  # of the noise variance: with so much image texture left, the correlation is uncertain
CALIBRATE = "noisewise calibrate FRAMES -o NOISE"
ORIGINAL = "use the file as the camera wrote it"


@dataclass(frozen=True)
class NoiseReport(NoiseMeasurement):
    """A check-up: the measurement, a verdict and warnings in words, and noise models fitted to it.

    probability: that this explanation of the image is right. other: the next most probable one, or None.
    """

    probability: float = 1.0
    other: NoiseReport | None = None

    def __repr__(self) -> str:
        gain, stds = self.gain_adu_per_e, ", ".join(f"{self.std(s):.3g} at {s:.4g}" for s in self.signal_range)
        return (
            f"<NoiseReport of {self.name}: {self.kind}\n  {self.verdict}\n  noise: {stds} ADU\n"
            f"  gain: {'cannot be determined' if gain is None else f'{gain} ADU per electron'}\n"
            f"  warnings: {'; '.join(self.warnings) or 'none'}>"
        )

    def with_variance(self, factor: float) -> NoiseReport:
        """The same check-up of noise whose variance is larger by a factor."""
        return replace(self, line=self.line.scaled(factor))

    @cached_property
    def noise(self) -> Noise:
        """The noise model: variance, correlation, row and column offsets, quantization and clipping."""
        model = full_noise_model(self)
        model.provenance = self._provenance()
        return model

    @cached_property
    def pixel_noise(self) -> Noise:
        """The noise model for methods that treat each pixel on its own: only the noise not shared with neighbours.

        Such a method predicts the shared part from the neighbours and cannot remove it. Where the noise is in truth
        white, an apparent correlation is image texture left in the most homogeneous places, and not noise at all.
        """
        model = pixel_noise_model(self)
        model.provenance = self._provenance()
        return model

    def _provenance(self) -> dict[str, Any]:
        return {"measured": finite(self.record()), "signal_range": [self.signal_range[0], self.signal_range[2]]}

    @property
    def verdict(self) -> str:
        """The kind of noise in one or two sentences."""
        y, x = self.correlation.along("Y"), self.correlation.along("X")
        if self.few_photons:
            mean = float(np.average(self.levels.signal, weights=self.levels.freedom)) / self.pixel_values.step
            return f"The pixels are photon counts, {mean:.2g} a pixel on average: all of their noise is shot noise."
        if self.kind == "none":
            return self._none_verdict()
        if self.kind == "smoothed":
            return (
                f"Neighbouring pixels are more similar than any camera produces (correlation {max(x, y):.2f}): the "
                f"image was smoothed, enlarged or denoised before. Use the original recording."
            )
        if self.kind == "correlated":
            return (
                f"The noise is correlated along both axes ({x:.2f} along X, {y:.2f} along Y). Methods that predict a "
                f"pixel from its neighbours keep it."
            )
        if self.kind in ("rows", "columns"):
            return self._line_verdict(x, y)
        weak = f" (weakly correlated along {'X' if x >= y else 'Y'}, {max(x, y):.2f})" if max(x, y) >= WEAK else ""
        return f"The noise is independent from pixel to pixel{weak}: methods for independent noise remove it."

    def _none_verdict(self) -> str:
        low, median, high = self.signal_range
        std, step = self.std(median), self.pixel_values.step
        limit = f"visible in a range of {high - low:.4g} ADU"
        if std < BELOW_STEP * step:
            limit = f"recorded in quantization steps of {step:g} ADU"
        return f"The noise ({std:.2g} ADU) is too weak to be {limit}: there is none worth removing."

    def _line_verdict(self, x: float, y: float) -> str:
        axis, std = ("X", self.row_std_adu) if self.kind == "rows" else ("Y", self.column_std_adu)
        each = "row" if self.kind == "rows" else "column"
        if std:
            what = f"each {each} has an offset of its own (standard deviation {std:.3g} ADU)"
        else:
            what = f"its autocorrelation there is {max(x, y):.2f}"
        return f"The noise is correlated along {axis}: {what}. Methods for independent noise leave stripes."

    @property
    def uneven(self) -> str:
        """That the noise depends on the place, in a sentence; empty where it does not."""
        if self.field_ratio <= UNEVEN or self.kind == "none":
            return ""
        what = f"at equal pixel values the variance of the noise differs {self.field_ratio:.2g}-fold over the image"
        return f"{what}, as after a flat-field correction: denoise the image before it is corrected"

    @property
    def warnings(self) -> list[str]:
        """What to be careful about, one sentence each."""
        others = [self._other_explanation()] if self.other else []
        return [*others, *self._intensity_warnings(), *self._correlation_warnings(), *self._clipping_warnings()]

    def _other_explanation(self) -> str:
        """That the noise may be of another kind."""
        assert self.other is not None
        middle = self.signal_range[1]
        stds = f"{self.other.std(middle):.3g} instead of {self.std(middle):.3g} ADU at {middle:.4g}"
        what = (
            f"image texture and noise are hard to tell apart: with {1 - self.probability:.0%} probability the noise is"
        )
        return f"{what} {self.other.kind} ({stds}); record it with the camera: {CALIBRATE}"

    def _intensity_warnings(self) -> Iterator[str]:
        if self.line.slope < 0 or (self.line.slope == 0 and self.levels.fall):
            cause = "was inverted, or that were scaled by a logarithm"
            yield f"the noise is weaker where pixel values are higher, as in images whose contrast {cause}"
        elif self.gain_adu_per_e is None:
            low, _, high = self.signal_range
            signals = f"signals from {low:.4g} to {high:.4g} ADU"
            yield f"{signals} do not separate gain and read noise; record dark and bright parts: {CALIBRATE}"
        if self.uneven:
            yield self.uneven
        if self.pixel_values.stretched:
            what = "pixel values were stretched after recording: gain and quantization step are not the camera's"
            yield f"{what}; {ORIGINAL}"
        if self.jpeg:
            yield f"8 x 8 blocks are visible: the image was compressed with loss (JPEG); {ORIGINAL}"

    def _correlation_warnings(self) -> Iterator[str]:
        if (texture := self.correlation.texture) > TEXTURED and self.kind != "none":
            what = f"the image is textured everywhere ({texture:.2g} times the noise variance)"
            yield f"{what}: the correlation of its noise is uncertain by about 0.05; calibrate the camera: {CALIBRATE}"
        if (rho := min(self.correlation.along(axis) for axis in "YX")) < -WEAK:
            what = f"neighbouring pixels are negatively correlated ({rho:.2f})"
            yield f"{what}: the image was sharpened, or the camera has after-pulsing; {ORIGINAL}"
        if self.row_std_adu > 0 and self.column_std_adu > 0:
            offsets = f"{self.row_std_adu:.3g} and {self.column_std_adu:.3g} ADU"
            yield f"both rows and columns have offsets ({offsets}): methods for stripes along one axis leave the others"
        if abs(self.line_displacement) > DISPLACED:
            what = f"odd lines are displaced by {self.line_displacement:.1f} pixels along X, as in bidirectional scans"
            yield f"{what}: correct the phase of the scan in the microscope"
        if self.hot_fraction > HOT:
            what = f"{100 * self.hot_fraction:.2g} % of the pixels are hot or dead"
            yield f"{what}: they are replaced by the median of their neighbours before the image is denoised"
        for axis, value in self.shared_noise.items():
            what = f"the noise of successive planes along {axis} is correlated ({value:.2f})"
            yield f"{what}: methods that see several planes at once keep what these share"

    def _clipping_warnings(self) -> Iterator[str]:
        limits = (self.pixel_values.low, "raise the camera's offset"), (self.pixel_values.high, "expose less")
        for limit, advice in limits:
            if limit is not None:
                what = f"{100 * limit.fraction:.2g} % of the pixels are clipped at {limit.value:g} ADU"
                yield f"{what}: their signal is lost; {advice}"

    def record(self) -> dict[str, Any]:
        """Everything that was found, ready for JSON."""
        gain, low, high = self.gain_adu_per_e, self.pixel_values.low, self.pixel_values.high
        return {
            "image": self.name,
            "channel": self.channel,
            "kind": self.kind,
            "probability": self.probability,
            "other": None if self.other is None else self.other.record(),
            "verdict": self.verdict,
            "few_photons": self.few_photons,
            "warnings": self.warnings,
            "gain_adu_per_e": None if gain is None else asdict(gain),
            "variance_line_adu": {"slope": self.line.slope, "intercept": self.line.intercept},
            "offset_adu": dict(zip(("low", "high"), self.offset_adu, strict=True)),
            "read_noise_adu": dict(zip(("low", "high"), self.read_noise_adu, strict=True)),
            "signal_adu": dict(zip(("low", "median", "high"), self.signal_range, strict=True)),
            "noise_std_adu": dict(zip(("low", "median", "high"), map(self.std, self.signal_range), strict=True)),
            "autocorrelation": self.rho,
            "correlation_length_pixels": {axis: self.correlation_length(axis) for axis in "YX"},
            "row_std_adu": self.row_std_adu,
            "column_std_adu": self.column_std_adu,
            "texture": self.correlation.texture,
            "clipped_low": None if low is None else asdict(low),
            "clipped_high": None if high is None else asdict(high),
            "quantization_step_adu": self.pixel_values.step,
            "stretched": self.pixel_values.stretched,
            "hot_pixel_fraction": self.hot_fraction,
            "field_ratio": self.field_ratio,
            "line_displacement_pixels": self.line_displacement,
            "jpeg": self.jpeg,
            "from_frames": self.from_frames,
        }
