"""Results of a calibration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from noisewise.calibration.detector import Detector
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
