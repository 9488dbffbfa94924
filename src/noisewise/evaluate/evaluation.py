"""`evaluate`: compare predictions with references, and predicted standard deviations with errors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from noisewise.errors import UserError, counted
from noisewise.evaluate.calibration import Reliability, reliability
from noisewise.evaluate.compare import Comparison, Scores, check_same_size, compare, mean_scores, read, single_images
from noisewise.io.base import Source
from noisewise.io.inputs import opened
from noisewise.progress import Report, Stage, showing

OF_REFERENCE = "max - min of each reference image"


@dataclass(kw_only=True)
class Evaluation:
    """What `evaluate` returns.

    pairs: one for each prediction; its `mean` is the mean over its single images. calibrations: standard deviations
    compared with errors, one for each pair, if these were given. data_range: as given. notes: what was left out, or is
    suspicious.
    """

    pairs: list[Comparison]
    calibrations: list[Reliability] = field(default_factory=list)
    data_range: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def mean(self) -> Scores:
        """Means over all pairs: psnr, psnr_affine (dB), nrmse, ssim, ms_ssim, micro_ssim, resolution."""
        found = mean_scores([comparison.mean for comparison in self.pairs])
        units = {comparison.resolution_unit for comparison in self.pairs}
        return replace(found, resolution=None) if len(units) > 1 else found

    def record(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        calibrations = [asdict(one) | {"ence": one.ence} for one in self.calibrations]
        return {
            "data_range": OF_REFERENCE if self.data_range is None else self.data_range,
            "pairs": [record(comparison) for comparison in self.pairs],
            "mean": asdict(self.mean),
            **({"calibration": calibrations} if calibrations else {}),
            "notes": self.notes,
        }


def evaluate(
    prediction: Any, reference: Any, *, data_range: float | None = None, frc: bool = False, std: Any = None,
    axes: str | None = None, report: Report | None = None,
) -> Evaluation:  # fmt: skip
    """Compare predictions with references: PSNR, NRMSE, SSIM, MS-SSIM, MicroSSIM.

    prediction, reference: images of one size: paths or arrays, or lists, folders or patterns with equally many images.
    data_range: of PSNR and the SSIM metrics, in pixel values (default: max − min of each reference image). frc: also
    estimate the resolution by Fourier ring correlation at 1/7; valid only for two independent images. std: standard
    deviations of the predictions, to be compared with the errors. axes: letters from `STCZYX`, one per dimension, if
    the images do not give them or they are wrong. report: called with the progress (`Stage`;
    default: a line in a terminal or notebook).

    Returns an `Evaluation`; `evaluate(image, truth).mean.psnr` is the PSNR in dB.

    Errors: `UserError` for images of different number or size, NaN or infinite pixels, and constant references.
    """
    with ExitStack() as files:
        predictions, references = opened(prediction, axes, files), opened(reference, axes, files)
        stds = [] if std is None else opened(std, axes, files)
        for images, what in ((references, "reference"), (stds if stds else predictions, "standard deviation")):
            if len(images) != len(predictions):
                numbers = f"{counted(len(predictions), 'prediction')}, but {counted(len(images), what)}"
                raise UserError(f"{numbers}; give one {what} for each prediction")
        pairs = list(zip(predictions, references, strict=True))
        with showing(report) as shown:
            found, notes = compare(pairs, data_range, frc, lambda done: shown(Stage("evaluate", done)))
        calibrations = [compare_std(*pair, one) for pair, one in zip(pairs, stds, strict=False)]
    return Evaluation(pairs=found, calibrations=calibrations, data_range=data_range, notes=notes)


def compare_std(prediction: Source, reference: Source, std: Source) -> Reliability:
    """Compare predicted standard deviations with errors. Errors: `UserError` if the images do not fit."""
    check_same_size(std, prediction)
    indices = list(single_images(reference))
    images = [
        torch.cat([torch.from_numpy(read(source, index).astype("float64")) for index in indices])
        for source in (prediction, std, reference)
    ]
    known = torch.isfinite(torch.stack(images)).all(0) & (images[1] > 0)
    if not known.any():
        raise UserError(
            f"{std.name}: holds no standard deviation above zero; write it with: noisewise denoise IMAGE --std"
        )
    mean, deviation, truth = (image[known] for image in images)
    return reliability(mean, deviation, truth)


def record(comparison: Comparison) -> dict[str, Any]:
    """JSON output about a pair: means, and each single image."""
    singles: Sequence[Any] = list(zip(comparison.index, comparison.data_range, comparison.scores, strict=True))
    return {
        "prediction": comparison.prediction,
        "reference": comparison.reference,
        **asdict(comparison.mean),
        "resolution_unit": comparison.resolution_unit,
        "images": [{**index, "data_range": span, **asdict(scores)} for index, span, scores in singles],
    }
