"""What a check-up found, what it means, and the law of noise that follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from noisewise.axes import Array
from noisewise.noise.curve import Line
from noisewise.noise.estimate import Estimate
from noisewise.noise.flat import Levels
from noisewise.noise.signs import Grey
from noisewise.noise.texture import Correlation

if TYPE_CHECKING:
    from noisewise.noise.base import Noise

Kind = Literal["none", "white", "rows", "columns", "correlated", "smoothed"]

NO_NOISE = 0.004  # of the range of signals: noise of this strength does not show
UNSEEN = 0.5  # of a grey step: noise of this strength is rounded away
WEAK, STRONG = 0.05, 0.2  # autocorrelation of neighbouring pixels: noticeable; too much for pixel-wise methods
SMOOTHED = 0.85  # autocorrelation of neighbouring pixels that no camera makes
LINES = 0.015  # variance of row or column offsets over that of the rest
CORRELATED_PLANES = 0.1
HOT = 1e-5  # of the pixels
SURE = 0.3  # relative error of the gain, above which it is not told
SHADED = 0.5  # of the noise variance: with so much texture left, correlation is doubtful


@dataclass(frozen=True)
class CheckUp:
    """What one channel of an image says of its noise. Signals and standard deviations in ADU.

    levels, line: variance at some signals, and the line through them. correlation: between neighbouring pixels.
    along: correlation with the next plane, by axis letter. from_frames: measured in differences between frames.
    hot: share of hot pixels. signal_range: signals that 1, 50 and 95 % of the image do not exceed.
    refined: factor that a denoiser's residual put to the variance, which is in `line` (see `refine`).
    """

    name: str
    channel: int | None
    grey: Grey
    levels: Levels
    line: Line
    correlation: Correlation
    along: dict[str, float]
    from_frames: bool
    hot: float
    jpeg: bool
    signal_range: tuple[float, float, float]
    refined: float | None = None

    # -- the law -----------------------------------------------------------------------------------

    def std(self, signal: float) -> float:
        """Standard deviation of the noise at a signal, row and column offsets included."""
        return float(np.sqrt(max(self.line(signal), 0.0) + self.row_std_adu**2 + self.column_std_adu**2))

    @property
    def gain_adu_per_e(self) -> Estimate | None:
        """Slope of variance against signal (times the excess noise factor of a multiplying detector); None: unsure."""
        if not 0 < self.line.slope_error < SURE * self.line.slope:
            return None
        return Estimate.of(self.line.slope, self.line.slope_error)

    @property
    def offset_adu(self) -> tuple[float, float]:
        """Between which values the offset lies: where the variance would vanish, and the darkest signal."""
        darkest = self.signal_range[0]
        if self.line.slope <= 0:
            return -np.inf, darkest
        return min(-self.line.intercept / self.line.slope, darkest), darkest

    @property
    def read_noise_adu(self) -> tuple[float, float]:
        """Between which values the read noise lies: none, if the offset is lowest; all noise of the darkest signal."""
        return 0.0, float(np.sqrt(max(self.line(self.signal_range[0]), 0.0)))

    @property
    def row_std_adu(self) -> float:
        """Standard deviation of an offset that the pixels of a row share; 0 where there is none."""
        return self._line_std(self.correlation.row_share)

    @property
    def column_std_adu(self) -> float:
        """Standard deviation of an offset that the pixels of a column share; 0 where there is none."""
        return self._line_std(self.correlation.column_share)

    def _line_std(self, share: float) -> float:
        return float(np.sqrt(share * self.usual_variance)) if share > LINES else 0.0

    @property
    def usual_variance(self) -> float:
        """Variance where the correlation was measured: at the darker signals, where the image is flattest."""
        return float(max(np.median(self.levels.variance[: max(len(self.levels.variance) // 2, 1)]), 1e-30))

    @cached_property
    def noise(self) -> Noise:
        """The law as something to draw from: variance, correlation, rows, columns, rounding and clipping."""
        from noisewise.noise.measured import law_of

        return law_of(self)

    @cached_property
    def pixel_noise(self) -> Noise:
        """The law for methods that take each pixel for itself: of the noise that it does not share with neighbours.

        What neighbours share, such a method predicts from them, and cannot take off. Where the noise is in truth white,
        what seems to be shared is texture that is left in the flattest places, and is no noise at all.
        """
        from noisewise.noise.measured import pixel_law_of

        return pixel_law_of(self)

    @property
    def between(self) -> float:
        """Correlation of a pixel's noise with that of the next slice's; 0 where there is little."""
        rho = self.along.get("Z", 0.0)
        return rho if abs(rho) > CORRELATED_PLANES else 0.0

    # -- the meaning -------------------------------------------------------------------------------

    @property
    def rho(self) -> dict[str, list[float]]:
        """Autocorrelation along Y and X at lags 1, 2, ... pixels (rows and columns apart), and with the next plane."""
        here = {axis: [self.correlation.along(axis, lag) for lag in range(1, 6)] for axis in "YX"}
        return here | {axis: [value] for axis, value in self.along.items()}

    @property
    def kind(self) -> Kind:
        """What sort of noise it is."""
        low, median, high = self.signal_range
        y, x = self.correlation.along("Y"), self.correlation.along("X")
        # What is correlated over many pixels may be image; the finest frequencies hold noise only.
        finest = self.std(median) * self.correlation.finest_share**0.5
        if finest < max(NO_NOISE * (high - low), UNSEEN * self.grey.step * self.correlation.finest_share**0.5):
            return "none"
        if min(x, y) > SMOOTHED:
            return "smoothed"
        if self.row_std_adu or self.column_std_adu:
            rows = self.row_std_adu >= self.column_std_adu
            if max(x, y) < STRONG or (y if rows else x) < STRONG:
                return "rows" if rows else "columns"
        if max(x, y) < STRONG:
            return "white"
        if min(x, y) < WEAK:
            return "rows" if x > y else "columns"
        return "correlated"

    @property
    def verdict(self) -> str:
        """One or two sentences for people."""
        y, x = self.correlation.along("Y"), self.correlation.along("X")
        if self.kind == "none":
            return "This image has no noise worth removing."
        if self.kind == "smoothed":
            return (
                f"Neighbouring pixels agree as no camera makes them (correlation {max(x, y):.2f}): the image was "
                f"smoothed, enlarged or denoised before. Go back to the recording."
            )
        if self.kind == "correlated":
            return (
                f"The noise is correlated along both axes ({x:.2f} along X, {y:.2f} along Y): methods that predict a "
                f"pixel from its neighbours would keep it. It needs simulated, pairs (n2n), a recording of the noise "
                f"(noisewise calibrate), or binning."
            )
        if self.kind in ("rows", "columns"):
            return self._line_verdict(x, y)
        weak = f" (weakly correlated along {'X' if x >= y else 'Y'}, {max(x, y):.2f})" if max(x, y) >= WEAK else ""
        return f"The noise is independent from pixel to pixel{weak}: all methods fit."

    def _line_verdict(self, x: float, y: float) -> str:
        axis, std = ("X", self.row_std_adu) if self.kind == "rows" else ("Y", self.column_std_adu)
        each = "row" if self.kind == "rows" else "column"
        if std:
            what = f"each {each} carries an offset of its own (standard deviation {std:.3g} ADU)"
        else:
            what = f"its autocorrelation there is {max(x, y):.2f}"
        best = "Pixel-wise methods leave stripes; simulated and cosdd do not."
        return f"The noise is correlated along {axis}: {what}. {best}"

    @property
    def suggests(self) -> str:
        """The sort of method that fits: `none`, `pixel-wise`, `correlated along X`, `correlated along Y`, `pairs`."""
        return {
            "none": "none", "white": "pixel-wise", "rows": "correlated along X", "columns": "correlated along Y",
            "correlated": "pairs or structured", "smoothed": "none",
        }[self.kind]  # fmt: skip

    @property
    def warnings(self) -> list[str]:
        """What to be careful about, a sentence each."""
        said = [
            (self.gain_adu_per_e is None, "the range of intensities is too narrow to tell gain from read noise"),
            (self.grey.stretched, "grey values were stretched after recording: gain and steps are not the camera's"),
            (self.jpeg, "8 x 8 blocks show: the image was compressed with loss (JPEG)"),
            (
                self.correlation.texture > SHADED and self.kind != "none",
                "the image is textured everywhere: the correlation of its noise is uncertain by about 0.05",
            ),
            (
                min(self.correlation.along(axis) for axis in "YX") < -WEAK,
                "neighbouring pixels are opposed to each other: a sharpened image, or a camera with after-pulsing",
            ),
            (
                self.row_std_adu > 0 and self.column_std_adu > 0,
                f"rows and columns both carry offsets ({self.row_std_adu:.3g} and {self.column_std_adu:.3g} ADU)",
            ),
            (self.hot > HOT, f"{100 * self.hot:.3g} % of the pixels are hot"),
        ]
        said += [
            (abs(value) > CORRELATED_PLANES, f"the noise of successive planes along {axis} is correlated ({value:.2f})")
            for axis, value in self.along.items()
        ]
        said += [
            (limit is not None, f"{100 * limit.fraction:.2g} % of the pixels are clipped at {limit.value:g}")
            for limit in (self.grey.low, self.grey.high)
            if limit is not None
        ]
        return [sentence for holds, sentence in said if holds]

    def record(self) -> dict[str, Any]:
        """Everything, for JSON."""
        gain, low, high = self.gain_adu_per_e, self.grey.low, self.grey.high
        return {
            "image": self.name,
            "channel": self.channel,
            "kind": self.kind,
            "verdict": self.verdict,
            "suggests": self.suggests,
            "warnings": self.warnings,
            "gain_adu_per_e": None if gain is None else asdict(gain),
            "variance_line_adu": {"slope": self.line.slope, "intercept": self.line.intercept},
            "offset_adu": dict(zip(("low", "high"), self.offset_adu, strict=True)),
            "read_noise_adu": dict(zip(("low", "high"), self.read_noise_adu, strict=True)),
            "signal_adu": dict(zip(("low", "median", "high"), self.signal_range, strict=True)),
            "noise_std_adu": dict(zip(("low", "median", "high"), map(self.std, self.signal_range), strict=True)),
            "autocorrelation": self.rho,
            "correlation_length_pixels": {axis: self.length(axis) for axis in "YX"},
            "row_std_adu": self.row_std_adu,
            "column_std_adu": self.column_std_adu,
            "texture": self.correlation.texture,
            "clipped_low": None if low is None else asdict(low),
            "clipped_high": None if high is None else asdict(high),
            "grey_step_adu": self.grey.step,
            "stretched": self.grey.stretched,
            "hot_pixels": self.hot,
            "jpeg": self.jpeg,
            "from_frames": self.from_frames,
            "refined_variance": self.refined,
        }

    def length(self, axis: str) -> int:
        """Pixels up to which neighbours are correlated along an axis; 0 for independent pixels."""
        rho: Array = self.correlation.rho
        along = rho[:, 0] if axis == "Y" else rho[0]
        return next((lag for lag in range(1, len(along)) if abs(along[lag]) < WEAK), len(along)) - 1

    def figure(self, path: str | Path) -> None:
        """Draw variance against signal and the autocorrelation."""
        from noisewise.noise.checkup_figure import draw_checkup

        draw_checkup(self, Path(path))
