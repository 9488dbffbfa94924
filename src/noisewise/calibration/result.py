"""Results of a calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from noisewise.calibration.detector import Detector, format_quantity
from noisewise.calibration.goodness_of_fit import GoodnessOfFit
from noisewise.calibration.photon_transfer import PhotonTransferCurve
from noisewise.noise.base import Noise
from noisewise.noise.fit.variance_line import VarianceLine


@dataclass(frozen=True)
class Calibration:
    """A noise model from a recording, the parameters of the detector, the goodness of fit, and warnings.

    noise: the noise model, with the rest in its provenance. line: variance (ADU²) against signal (ADU). detector: gain,
    offset, read noise with 95 % intervals, or `Unknown` with the reason. curve: the photon-transfer curve. pairs:
    some noisy values and signals, ADU, for figures.
    """

    noise: Noise
    line: VarianceLine
    detector: Detector
    goodness: GoodnessOfFit
    warnings: list[str]
    curve: PhotonTransferCurve = field(repr=False)
    pairs: tuple[Tensor, Tensor] = field(repr=False)

    def record(self) -> dict[str, Any]:
        """All results, ready for JSON."""
        return dict(self.noise.provenance)

    def facts(self) -> dict[str, str]:
        """What was measured, to be read: recording, gain, offset, read noise and fit, with units."""
        record, detector, fit = self.record(), self.detector, self.goodness
        low, high = record["signal_range"]
        frames = (
            f"{fit.held_out_frames} held-out frames" if fit.held_out_frames else "the same frames (too few to hold out)"
        )
        return {
            "recording": f"{record['frames']} frames, signals from {low:.5g} to {high:.5g} ADU",
            "gain": f"{format_quantity(detector.gain_adu_per_e)} ADU per electron",
            "offset": with_unit(format_quantity(detector.offset_adu), "ADU, from " + detector.offset_from),
            "read noise": with_unit(format_quantity(detector.read_noise_e), "electrons"),
            "fit": f"the distribution of {frames} differs by at most {100 * fit.distance:.2g} %",
        }


def with_unit(text: str, unit: str) -> str:
    """A value with its unit, unless it is unknown."""
    return text if text.startswith("unknown") else f"{text} {unit}"
