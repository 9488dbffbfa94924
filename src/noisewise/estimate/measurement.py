"""The measured noise of one image channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from noisewise.axes import Array
from noisewise.estimate.autocorrelation import SMALLEST, Autocorrelation
from noisewise.estimate.variance import MAX_GAIN_ERROR, NoiseLevels
from noisewise.noise.fit.interval import Estimate
from noisewise.noise.fit.pixel_values import PixelValues
from noisewise.noise.fit.variance_line import VarianceLine

Kind = Literal["none", "white", "rows", "columns", "correlated", "smoothed"]

NO_NOISE = 0.004  # of the range of signals: noise of this strength is not visible
BRIGHT = 5.0  # noise must be so much stronger in bright parts to be visible there alone
BELOW_STEP = 0.5  # of a quantization step: noise of this strength is lost in rounding
WEAK, STRONG = 0.05, 0.2  # autocorrelation of neighbouring pixels: noticeable; too much for pixel-wise methods
SMOOTHED = 0.85  # autocorrelation of neighbouring pixels that no camera produces
LINES = 0.015  # variance of row or column offsets over that of the remaining noise
CORRELATED_PLANES = 0.1


@dataclass(frozen=True)
class NoiseMeasurement:
    """The noise in one channel of an image, as measured. Signals and standard deviations in ADU.

    levels, line: noise variance at several signals, and the straight line through them. correlation: between
    neighbouring pixels. plane_correlation: with the next plane, by axis letter. from_frames: measured in differences
    between frames. hot_fraction: share of hot pixels. jpeg: whether 8 x 8 blocks of lossy compression show.
    signal_range: the 1st, 50th and 95th percentile of the signal. few_photons: photon counts, and few: the noise is
    that of the photons alone. line_displacement: pixels along X by which odd lines are displaced.
    field_ratio: of the highest to the lowest noise variance at equal signals in parts of the image.
    """

    name: str
    channel: int | None
    pixel_values: PixelValues
    levels: NoiseLevels
    line: VarianceLine
    correlation: Autocorrelation
    plane_correlation: dict[str, float]
    from_frames: bool
    hot_fraction: float
    jpeg: bool
    signal_range: tuple[float, float, float]
    few_photons: bool = False
    line_displacement: float = 0.0
    field_ratio: float = 1.0

    def std(self, signal: float) -> float:
        """Standard deviation of the noise (ADU) at a signal (ADU), including row and column offsets."""
        return float(np.sqrt(max(self.line(signal), 0.0) + self.row_std_adu**2 + self.column_std_adu**2))

    @property
    def log_variance_error(self) -> float:
        """Standard error of the logarithm of the variance, typical of the levels: what all may be wrong by together.

        That of row and column offsets is known better, and counts as known.
        """
        levels, typical = self.levels, self.typical_variance
        error = levels.relative_error
        if levels.shared is not None:
            error = float(np.median(np.sqrt(2 / levels.freedom + (levels.shared**2).sum(1))))
        return error * typical / (typical + self.row_std_adu**2 + self.column_std_adu**2)

    @property
    def gain_adu_per_e(self) -> Estimate | None:
        """Slope of variance against signal (including a detector's excess noise factor); None if it is uncertain."""
        if not 0 < self.line.slope_error < MAX_GAIN_ERROR * self.line.slope:
            return None
        return Estimate.of(self.line.slope, self.line.slope_error)

    @property
    def offset_adu(self) -> tuple[float, float]:
        """Lower and upper bound of the offset: where the variance would vanish, and the darkest signal."""
        darkest = self.signal_range[0]
        if self.line.slope <= 0:
            return -np.inf, darkest
        return min(-self.line.intercept / self.line.slope, darkest), darkest

    @property
    def read_noise_adu(self) -> tuple[float, float]:
        """Lower and upper bound of the read noise: zero, and all of the noise at the darkest signal."""
        return 0.0, float(np.sqrt(max(self.line(self.signal_range[0]), 0.0)))

    @property
    def row_std_adu(self) -> float:
        """Standard deviation of an offset shared by the pixels of a row; 0 where there is none."""
        return self._line_std(self.correlation.row_variance_ratio)

    @property
    def column_std_adu(self) -> float:
        """Standard deviation of an offset shared by the pixels of a column; 0 where there is none."""
        return self._line_std(self.correlation.column_variance_ratio)

    def _line_std(self, variance_ratio: float) -> float:
        return float(np.sqrt(variance_ratio * self.typical_variance)) if variance_ratio > LINES else 0.0

    @property
    def typical_variance(self) -> float:
        """Noise variance (ADU²) where the correlation was measured: at the darker signals, the homogeneous ones."""
        return float(max(np.median(self.levels.variance[: max(len(self.levels.variance) // 2, 1)]), SMALLEST))

    @property
    def slice_correlation(self) -> float:
        """Correlation of a pixel's noise with that in the next slice; 0 where it is small."""
        return self.shared_noise.get("Z", 0.0)

    @property
    def shared_noise(self) -> dict[str, float]:
        """Correlation of a pixel's noise with that in the next plane along T or Z, where it is not small."""
        return {axis: rho for axis, rho in self.plane_correlation.items() if abs(rho) > CORRELATED_PLANES}

    @property
    def rho(self) -> dict[str, list[float]]:
        """Autocorrelation along Y and X at lags of 1, 2, ... pixels, without line offsets, and between planes."""
        within = {axis: [self.correlation.along(axis, lag) for lag in range(1, 6)] for axis in "YX"}
        return within | {axis: [value] for axis, value in self.plane_correlation.items()}

    def correlation_length(self, axis: str) -> int:
        """Pixels up to which neighbours are correlated along an axis; 0 for independent pixels."""
        rho: Array = self.correlation.rho
        along = rho[:, 0] if axis == "Y" else rho[0]
        return next((lag for lag in range(1, len(along)) if abs(along[lag]) < WEAK), len(along)) - 1

    @property
    def kind(self) -> Kind:
        """The kind of noise: `none`, `white`, `rows`, `columns`, `correlated` or `smoothed`."""
        if self.few_photons:
            return "white"
        low, median, high = self.signal_range
        y, x = self.correlation.along("Y"), self.correlation.along("X")
        # What is correlated over many pixels may belong to the image; the finest frequencies hold noise only.
        at_median, at_high = (
            self.std(signal) * self.correlation.high_frequency_ratio**0.5 for signal in (median, high)
        )
        visible = max(at_median, at_high / BRIGHT) >= NO_NOISE * (high - low)
        if not visible or max(at_median, at_high) < BELOW_STEP * self.pixel_values.step:
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
