"""`noisewise measure`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from noisewise.cli import _options as options
from noisewise.cli._display import print_json, say_notes
from noisewise.cli._exit import exit_code, failures
from noisewise.cli._models import plan_figure, plan_noise
from noisewise.cli._print import say
from noisewise.errors import UserError
from noisewise.io.files import user_path
from noisewise.io.plan import find_images, refuse_inputs, without_results

if TYPE_CHECKING:
    from noisewise.estimate.report import NoiseReport


@dataclass(kw_only=True)
class Measure:
    """Measure the noise of images: its strength, its correlation, and which methods fit.

    One image is enough, or the frames of a time series; no calibration is needed. Each channel is measured on its own.
    """

    inputs: options.Inputs
    """images: files, folders or patterns"""
    noise: options.File = None
    """write the measured noise model to this file, for other commands (one image with one channel)"""
    figure: options.File = None
    """plot noise against signal and the autocorrelation into this PNG, PDF or SVG (one image with one channel)"""
    axes: options.Axes = None
    """dimensions of the images, letters out of STCZYX, if the file does not give them or they are wrong"""
    series: options.Series = None
    """number of the image in files that contain several, see noisewise info (default: all, without previews)"""
    overwrite: options.Switch = False
    """replace outputs that exist"""
    selecting: options.SelectingOptions = field(default_factory=options.Selecting)
    messages: options.MessageOptions = field(default_factory=options.Messages)

    def run(self) -> int:
        """Measure all inputs."""
        paths, notes = without_results(find_images(self.inputs))
        say_notes(notes, self.messages.quiet)
        if not paths:
            raise UserError("no input; give files, folders or patterns, as in: noisewise measure cells.tif")
        options.check(self)
        refuse_inputs(paths, [user_path(name) for name in (self.noise, self.figure) if name is not None])
        if len(paths) > 1 and (self.noise or self.figure):
            raise UserError(f"--noise and --figure are for one image with one channel, not for {len(paths)} images")
        figure = plan_figure(self.figure, self.overwrite)
        noise = plan_noise(self.noise, self.overwrite)
        from noisewise.workflow.choose import suited_methods

        found: list[NoiseReport] = []
        failed: dict[str, str] = {}
        for checkup in self._checkups(paths, failed):
            found.append(checkup)
            if not self.messages.json:
                say("\n".join(describe(checkup, suited_methods(checkup), self.messages.quiet)))
        if len(found) > 1 and (self.noise or self.figure):
            raise UserError(f"--noise and --figure are for one image with one channel, not for {len(found)} channels")
        if noise is not None:
            found[0].noise.save(noise)
        if figure is not None:
            from noisewise.plots.noise_report import plot_noise_report

            plot_noise_report(found[0], figure)
        if self.messages.json:
            every = [one.record() | {"methods": suited_methods(one)} for one in found]
            print_json({"checkups": every, "noise": noise, "figure": figure, "failed": failures(failed)})
        else:
            for path in (noise, figure):
                if path is not None:
                    say(path)
        return exit_code(failed, len(paths) - len(failed))

    def _checkups(self, paths: list[Path], failed: dict[str, str]) -> Iterator[NoiseReport]:
        """Check-ups of every channel of every image; prints notes on how an image was read.

        failed: collects the files that cannot be measured, with the reason. Errors: `UserError`, if none can.
        """
        for path in paths:
            try:
                yield from self._checkups_of(path)
            except UserError as error:
                failed[str(path)] = str(error)
        if len(failed) == len(paths):
            raise UserError("; ".join(failed.values()))

    def _checkups_of(self, path: Path) -> Iterator[NoiseReport]:
        """Check-ups of every channel of the images in a file; prints notes on how they were read."""
        from noisewise.estimate.measure import measure
        from noisewise.io import open_images
        from noisewise.io.light import inspect_pixels
        from noisewise.io.selection import Selection

        selection = Selection(**vars(self.selecting))
        for source in map(selection.part_of, open_images(path, self.axes, series=self.series)):
            with source:
                given = selection.not_light(source)
                inspect_pixels(source, given)
                chosen = [channel for channel in range(source.size_of("C")) if channel not in given.left_out]
                for channel in chosen:
                    found = measure(source, channel=channel)
                    if channel == chosen[0]:
                        say_notes([f"{path}: {note}" for note in source.notes], self.messages.quiet)
                    yield found


def describe(checkup: NoiseReport, methods: list[str], short: bool) -> list[str]:
    """A check-up as lines of text; short: the verdict alone."""
    title = checkup.name + (f", channel {checkup.channel}" if checkup.channel is not None else "")
    if short:
        return [f"{title}: {checkup.verdict}"]
    gain = checkup.gain_adu_per_e
    facts = {
        "methods that fit": ", ".join(methods) or "none",
        "noise": ", ".join(f"{checkup.std(s):.3g} at {s:.4g}" for s in checkup.signal_range) + " ADU",
        "gain": "cannot be determined" if gain is None else f"{gain} ADU per electron",
        "photons": "" if gain is None else f"at most {photons(checkup):.3g} in the median pixel",
        "offset": span(*checkup.offset_adu),
        "read noise": span(*checkup.read_noise_adu),
        "correlation": ", ".join(f"{axis} {rho[0]:+.2f}" for axis, rho in checkup.rho.items()),
        "rows, columns": f"{checkup.row_std_adu:.3g}, {checkup.column_std_adu:.3g} ADU",
        "measured in": "differences between frames" if checkup.from_frames else "homogeneous parts of each brightness",
    }
    lines = [title, f"  {checkup.verdict}", *(f"  {name + ':':<18}{text}" for name, text in facts.items() if text)]
    return lines + [f"  note: {warning}" for warning in checkup.warnings]


def photons(checkup: NoiseReport) -> float:
    """Electrons in the median pixel, for the lowest possible offset."""
    return max(checkup.signal_range[1] - checkup.offset_adu[0], 0.0) / checkup.line.slope


def span(low: float, high: float) -> str:
    """Two bounds as text."""
    return f"between {low:.4g} and {high:.4g} ADU" if math.isfinite(low) else f"at most {high:.4g} ADU"
