"""`noisewise quantify`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from noisewise.cli import _options as options
from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._models import plan_figure
from noisewise.cli._print import say
from noisewise.errors import UserError
from noisewise.io.files import user_path
from noisewise.io.paths import split_extension
from noisewise.io.plan import find_images, refuse_inputs, refuse_taken

if TYPE_CHECKING:
    from noisewise.quantify.run import Quantified

OF_TRAINING = (
    "a trained model has its method and its noise model; beside --model, leave out --method, --noise, --budget, --steps"
)
Numbers = Annotated[list[float], arg(metavar="X...", help_behavior_hint="")]
Names = Annotated[list[str], arg(metavar="NAME...")]
Ends = Annotated[tuple[float, float, float, float] | None, arg(metavar="Y X Y X", help_behavior_hint="")]
Frames = Annotated[tuple[int, int] | None, arg(metavar="FIRST END", help_behavior_hint="")]


@dataclass(kw_only=True)
class Quantify:
    """Measure an image, with error bars: each measurement is made on samples of what the image may be.

    The table has the median over the samples and an interval for each region, channel and frame.
    """

    image: Positional[Annotated[str, arg(metavar="IMAGE")]]
    """the noisy image"""
    labels: options.File = None
    """regions: an image of whole numbers, 0 for none, as programs for segmentation write it (default: one region)"""
    measure: Names = field(default_factory=lambda: ["mean", "sum"])
    """what to measure: mean, sum, integrated, maximum, area, centroid, ratio, colocalisation, trace, profile, spots"""
    samples: int = 39
    """number of samples; of 39, the second from below and from above are a 90 % interval"""
    coverage: float = 0.9
    """probability that the true value lies in the interval"""
    output: Annotated[str | None, arg(aliases=["-o"], metavar="OUT.csv", help_behavior_hint="")] = None
    """the table to write (default: <name>_quantified.csv)"""
    figure: options.File = None
    """plot the intervals into this PNG, PDF or SVG"""
    threshold: Numbers = field(default_factory=list)
    """of area and colocalisation, pixel values, one per channel (default: Otsu's, of the denoised image)"""
    background: Numbers = field(default_factory=list)
    """pixel values without signal, one per channel (default: the 5th percentile of the denoised image)"""
    line: Ends = None
    """ends of the line of a profile, pixels"""
    spot_sigma: float = 1.5
    """width of spots, standard deviation in pixels"""
    spot_amplitude: Numbers = field(default_factory=list)
    """least amplitude of spots, pixel values, one per channel (default: a fifth of the brightest)"""
    baseline: Frames = None
    """frames whose mean is F0 in dF/F, from 0 (default: the first tenth)"""
    model: options.File = None
    """a trained model to denoise with (default: as noisewise denoise does)"""
    method: Annotated[str, arg(metavar="NAME")] = "auto"
    """method that draws the samples"""
    noise: options.Files = field(default_factory=list)
    """a noise model, or one for each channel (default: measured in the image)"""
    axes: options.Axes = None
    """dimensions of the image, letters out of STCZYX, if the file does not give them or they are wrong"""
    series: options.Series = None
    """number of the image, where the file contains several (default: the first)"""
    budget: options.Budget = None
    """time for training (default: none, the packaged network is used as it is); samples take their own"""
    steps: options.Steps = None
    """number of training steps, instead of a time"""
    seed: int = 0
    """random seed"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, mps"""
    overwrite: options.Switch = False
    """replace outputs that exist"""
    selecting: options.SelectingOptions = field(default_factory=options.Selecting)
    messages: options.MessageOptions = field(default_factory=options.Messages)

    def run(self) -> int:
        """Denoise, sample, measure, write."""
        options.check(self)
        paths = find_images([self.image])
        if len(paths) != 1:
            raise UserError(f"{self.image}: names {len(paths)} images; give one, whose labels are given too")
        table = self._table(paths[0])
        figure = plan_figure(self.figure, self.overwrite)
        given = [user_path(name) for name in (self.labels, self.model, *self.noise) if name is not None]
        refuse_inputs([*paths, *given], [path for path in (table, figure) if path is not None])
        refuse_taken(table, self.overwrite)
        from noisewise.quantify.run import quantify, write_csv

        with Display(self.messages.quiet) as display:
            found = quantify(
                paths[0], None if self.labels is None else options.existing(self.labels), self.measure,
                samples=self.samples, coverage=self.coverage, axes=self.axes, series=self.series, seed=self.seed,
                **vars(self.selecting), options=self._given(), **self._method(display),
            )  # fmt: skip
        write_csv(found, table)
        if figure is not None:
            from noisewise.plots.quantities import plot_quantities

            plot_quantities(found.rows(), found.coverage, figure)
        say_notes(found.notes, self.messages.quiet)
        if self.messages.json:
            print_json(found.record() | {"table": table, "figure": figure})
            return OK
        for path in (table, figure):
            if path is not None:
                say(path)
        if not self.messages.quiet:
            say("\n".join(lines(found)), error=True)
        return OK

    def _table(self, image: Path) -> Path:
        """The table to write. Errors: `UserError` for a name that is no table."""
        if self.output is None:
            return image.with_name(f"{split_extension(image)[0]}_quantified.csv")
        path = user_path(self.output)
        if path.suffix.lower() != ".csv":
            raise UserError(f"{path}: a table is written as CSV; give a name with .csv, such as {path.stem}.csv")
        return path

    def _given(self) -> dict[str, Any]:
        """Options of the measurements."""
        lists = {name: getattr(self, name) or None for name in ("threshold", "background", "spot_amplitude")}
        return lists | {"line": self.line, "spot_sigma": self.spot_sigma, "baseline": self.baseline}

    def _method(self, display: Display) -> dict[str, Any]:
        """How the image is denoised."""
        if self.model is not None:
            if self.method != "auto" or self.noise or self.budget is not None or self.steps is not None:
                raise UserError(OF_TRAINING)
            return {"model": options.existing(self.model), "device": self.device, "report": display}
        return {
            "method": self.method, "noise": [options.existing(name) for name in self.noise] or None,
            "budget": self.budget, "steps": self.steps, "device": self.device, "report": display,
        }  # fmt: skip


def lines(found: Quantified, most: int = 12) -> list[str]:
    """The first rows as text."""
    from noisewise.quantify.measurements import Key

    rows = found.rows()
    shown = [
        f"{Key(*(row[name] for name in Key._fields))}: {row['median']:.4g} ({row['low']:.4g} to {row['high']:.4g})"
        for row in rows[:most]
    ]
    return shown + [f"and {len(rows) - most} more"] * (len(rows) > most)
