"""`noisewise evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._models import plan_figure
from noisewise.cli._options import Axes, File, MessageOptions, Messages, Switch, check
from noisewise.cli._print import say
from noisewise.errors import UserError, counted
from noisewise.io.files import user_path
from noisewise.io.plan import find_images, refuse_inputs

if TYPE_CHECKING:
    from noisewise.evaluate.calibration import Reliability
    from noisewise.evaluate.compare import Scores
    from noisewise.evaluate.evaluation import Evaluation

COLUMNS = {
    "psnr": ("PSNR", ".2f"),
    "psnr_affine": ("affine PSNR", ".2f"),
    "nrmse": ("NRMSE", ".4f"),
    "ssim": ("SSIM", ".4f"),
    "ms_ssim": ("MS-SSIM", ".4f"),
    "micro_ssim": ("MicroSSIM", ".4f"),
    "resolution": ("resolution", ".3g"),
}


@dataclass(kw_only=True)
class Evaluate:
    """Compare predictions with references: PSNR, NRMSE, SSIM, MS-SSIM, MicroSSIM.

    Two images, or two folders or patterns with equally many images, which are paired in the order of their names.
    """

    prediction: Positional[Annotated[str, arg(metavar="PREDICTION")]]
    """an image, or a folder of images"""
    reference: Positional[Annotated[str, arg(metavar="REFERENCE")]]
    """the true image, or a folder with one for each"""
    data_range: Annotated[float | None, arg(metavar="X", help_behavior_hint="")] = None
    """data range of PSNR, SSIM, MS-SSIM and MicroSSIM, pixel values (default: max - min of each reference image)"""
    frc: Switch = False
    """also estimate the resolution by Fourier ring correlation at 1/7; valid only for two independent images"""
    std: File = None
    """standard deviations of the predictions, a file or a folder with one for each; compare them with the errors"""
    figure: File = None
    """plot predicted against observed errors into this PNG, PDF or SVG (with --std, one pair)"""
    axes: Axes = None
    """dimensions of the images, letters out of STCZYX, if the files do not give them or they are wrong"""
    overwrite: Switch = False
    """replace a figure that exists"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Compare all pairs."""
        if self.data_range is not None and not 0 < self.data_range < float("inf"):
            raise UserError(f"--data-range {self.data_range:g} is not a range of pixel values; give more than 0")
        check(self)
        predictions, references = find_images([self.prediction]), find_images([self.reference])
        if len(predictions) != len(references):
            counts = (
                f"{counted(len(predictions), 'image')} in {self.prediction}, but {len(references)} in {self.reference}"
            )
            raise UserError(f"{counts}; give one reference for each prediction")
        stds = self._stds(len(predictions))
        refuse_inputs([*predictions, *references, *stds], [] if self.figure is None else [user_path(self.figure)])
        figure = plan_figure(self.figure, self.overwrite)
        from noisewise.evaluate.evaluation import evaluate

        with Display(self.messages.quiet, "evaluate") as display:
            found = evaluate(
                predictions, references, data_range=self.data_range, frc=self.frc, std=stds or None, axes=self.axes,
                report=display,
            )  # fmt: skip
        if figure is not None:
            from noisewise.plots.reliability import plot_reliability

            if len(found.calibrations) > 1:
                raise UserError(f"--figure plots one pair, not {len(found.calibrations)}; give single images")
            plot_reliability(found.calibrations[0], figure)
        say_notes(found.notes, self.messages.quiet)
        if self.messages.json:
            print_json(found.record())
        else:
            say("\n".join(table(found, self.frc)))
            for pair, calibration in zip(found.pairs, found.calibrations, strict=bool(stds)):
                say(sentence(Path(pair.prediction), calibration))
            if figure is not None:
                say(figure)
        return OK

    def _stds(self, count: int) -> list[Path]:
        """Files of standard deviations, one a pair. Errors: `UserError`."""
        if self.std is None:
            if self.figure is not None:
                raise UserError("--figure plots standard deviations; add --std FILE")
            return []
        stds = find_images([self.std])
        if len(stds) != count:
            raise UserError(
                f"{counted(len(stds), 'image')} in {self.std}, but {counted(count, 'prediction')}; give one for each"
            )
        if self.figure is not None and count > 1:
            raise UserError(f"--figure plots one pair, not {count}; give single images")
        return stds


def sentence(path: Path, found: Reliability) -> str:
    """A calibration as one line."""
    coverage = ", ".join(
        f"{100 * nominal:g} % intervals contain {100 * fraction:.1f} % of the true values"
        for nominal, fraction in found.coverage.items()
    )
    return (
        f"{path.name}: {coverage}; errors are {found.ratio**0.5:.3f} times as large as predicted, ENCE {found.ence:.3f}"
    )


def table(found: Evaluation, frc: bool) -> list[str]:
    """Lines of a table: one a pair, their mean, and the data range."""
    titles = [title for name, (title, _) in COLUMNS.items() if frc or name != "resolution"]
    rows = [["prediction", "reference", "range", *titles]]
    for one in found.pairs:
        names = [Path(one.prediction).name, Path(one.reference).name]
        rows.append([*names, span(one.data_range), *cells(one.mean, frc, one.resolution_unit)])
    if len(found.pairs) > 1:
        rows.append(["mean", "", "", *cells(found.mean, frc, found.pairs[0].resolution_unit)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    equal = "; inf: the two images are equal" if any(one.mean.psnr == math.inf for one in found.pairs) else ""
    data_range = "max - min of each reference image" if found.data_range is None else f"{found.data_range:g}, as given"
    return [*lines, f"PSNR in dB{equal}; range: {data_range}"]


def cells(scores: Scores, frc: bool, unit: str) -> list[str]:
    """The cells of a row: one number per column, a dash where there is none."""
    values = [(getattr(scores, name), form) for name, (_, form) in COLUMNS.items() if frc or name != "resolution"]
    texts = ["-" if value is None else format(value, form) for value, form in values]
    if frc and texts[-1] != "-":
        texts[-1] += f" {unit}"
    return texts


def span(values: Sequence[float]) -> str:
    """The range of numbers as text, or one number if all are equal."""
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"
