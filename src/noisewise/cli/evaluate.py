"""`noisewise evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._options import Axes, File, MessageOptions, Messages, Switch
from noisewise.cli._print import say
from noisewise.errors import UserError, counted
from noisewise.io.files import user_path
from noisewise.io.plan import find_images, refuse_inputs, refuse_taken
from noisewise.progress import Stage

if TYPE_CHECKING:
    from noisewise.evaluate.calibration import Reliability
    from noisewise.evaluate.compare import Comparison, Scores

COLUMNS = {
    "psnr": ("PSNR", ".2f"),
    "psnr_affine": ("affine PSNR", ".2f"),
    "nrmse": ("NRMSE", ".4f"),
    "ssim": ("SSIM", ".4f"),
    "ms_ssim": ("MS-SSIM", ".4f"),
    "micro_ssim": ("MicroSSIM", ".4f"),
    "resolution": ("resolution", ".3g"),
}
OF_REFERENCE = "max - min of each reference image"


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
    """plot predicted against observed errors into this PNG (with --std, one pair)"""
    axes: Axes = None
    """dimensions of the images, letters out of STCZYX, if the files do not give them or they are wrong"""
    overwrite: Switch = False
    """replace a figure that exists"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Compare all pairs."""
        if self.data_range is not None and not 0 < self.data_range < float("inf"):
            raise UserError(f"--data-range {self.data_range:g} is not a range of pixel values; give more than 0")
        predictions, references = find_images([self.prediction]), find_images([self.reference])
        if len(predictions) != len(references):
            counts = (
                f"{counted(len(predictions), 'image')} in {self.prediction}, but {len(references)} in {self.reference}"
            )
            raise UserError(f"{counts}; give one reference for each prediction")
        stds = self._stds(len(predictions))
        refuse_inputs([*predictions, *references, *stds], [] if self.figure is None else [user_path(self.figure)])
        from noisewise.evaluate.compare import compare, mean_scores

        with ExitStack() as files, Display(self.messages.quiet, "evaluate") as display:
            pairs = [
                (opened(prediction, self.axes, files), opened(reference, self.axes, files))
                for prediction, reference in zip(predictions, references, strict=True)
            ]
            found, notes = compare(pairs, self.data_range, self.frc, lambda done: display(Stage("evaluate", done)))
            calibrations = [
                compare_std(*pair, opened(std, self.axes, files)) for pair, std in zip(pairs, stds, strict=False)
            ]
        if self.figure is not None:
            from noisewise.plots.reliability import plot_reliability

            plot_reliability(calibrations[0], user_path(self.figure))
        mean = mean_scores([comparison.mean for comparison in found])
        if len({comparison.resolution_unit for comparison in found}) > 1:
            mean = replace(mean, resolution=None)
        say_notes(notes, self.messages.quiet)
        if self.messages.json:
            print_json({
                "data_range": OF_REFERENCE if self.data_range is None else self.data_range,
                "pairs": [record(comparison) for comparison in found],
                "mean": asdict(mean),
                **({"calibration": [asdict(one) | {"ence": one.ence} for one in calibrations]} if stds else {}),
                "notes": notes,
            })  # fmt: skip
        else:
            say("\n".join(table(found, mean, self.data_range, self.frc)))
            for path, calibration in zip(stds, calibrations, strict=True):
                say(sentence(path, calibration))
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
        refuse_taken(self.figure, self.overwrite)
        return stds


def compare_std(prediction: Any, reference: Any, std: Any) -> Reliability:
    """Compare predicted standard deviations with errors. Errors: `UserError` if the images do not fit."""
    import torch

    from noisewise.evaluate.calibration import reliability
    from noisewise.evaluate.compare import check_same_size, read, single_images

    check_same_size(std, prediction)
    indices = list(single_images(reference))
    images = [
        torch.cat([torch.from_numpy(read(source, index).astype("float64")) for index in indices])
        for source in (prediction, std, reference)
    ]
    known = torch.isfinite(torch.stack(images)).all(0) & (images[1] > 0)
    if not known.any():
        raise UserError(f"{std.name}: holds no standard deviation above zero; give a file from denoise --std")
    mean, deviation, truth = (image[known] for image in images)
    return reliability(mean, deviation, truth)


def sentence(path: Path, found: Reliability) -> str:
    """A calibration as one line."""
    coverage = ", ".join(
        f"{100 * nominal:g} % intervals contain {100 * fraction:.1f} % of the true values"
        for nominal, fraction in found.coverage.items()
    )
    return (
        f"{path.name}: {coverage}; errors are {found.ratio**0.5:.3f} times as large as predicted, ENCE {found.ence:.3f}"
    )


def opened(path: Path, axes: str | None, files: ExitStack) -> Any:
    """A source that is closed with the other files."""
    from noisewise.io import open_source

    return files.enter_context(open_source(path, axes))


def record(comparison: Comparison) -> dict[str, Any]:
    """JSON output about a pair: means, and each single image."""
    return {
        "prediction": comparison.prediction,
        "reference": comparison.reference,
        **asdict(comparison.mean),
        "resolution_unit": comparison.resolution_unit,
        "images": [
            {**index, "data_range": data_range, **asdict(scores)}
            for index, data_range, scores in zip(
                comparison.index, comparison.data_range, comparison.scores, strict=True
            )
        ],
    }  # fmt: skip


def table(found: Sequence[Comparison], mean: Scores, data_range: float | None, frc: bool) -> list[str]:
    """Lines of a table: one a pair, their mean, and the data range."""
    titles = [title for name, (title, _) in COLUMNS.items() if frc or name != "resolution"]
    rows = [["prediction", "reference", "range", *titles]]
    for one in found:
        names = [Path(one.prediction).name, Path(one.reference).name]
        rows.append([*names, span(one.data_range), *cells(one.mean, frc, one.resolution_unit)])
    if len(found) > 1:
        rows.append(["mean", "", "", *cells(mean, frc, found[0].resolution_unit)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [*lines, f"PSNR in dB; range: {OF_REFERENCE if data_range is None else f'{data_range:g}, as given'}"]


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
