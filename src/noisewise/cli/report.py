"""`noisewise report`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from noisewise.cli._display import print_json, say_notes
from noisewise.cli._exit import OK, exit_code, failures
from noisewise.cli._models import plan_figure
from noisewise.cli._options import Axes, File, MessageOptions, Messages, Outputs, Switch
from noisewise.cli._print import say
from noisewise.errors import UserError
from noisewise.io.files import user_path
from noisewise.io.paths import companions
from noisewise.io.plan import find_images, names_several

if TYPE_CHECKING:
    from noisewise.report.collect import Collected


@dataclass(kw_only=True)
class Report:
    """Check denoised images against the noisy ones, and write a page for each that shows whether to believe it.

    Each page is one HTML file that works without a network; of several images, a further page lists all of them, worst
    first. JSON has `verdict`: believe, look here or do not believe.
    """

    outputs: Outputs
    """denoised images"""
    input: File = None
    """the noisy image, or the folder of the noisy images (default: those that the outputs name, beside them)"""
    page: Annotated[str | None, arg(aliases=["-o"], metavar="OUT.html", help_behavior_hint="")] = None
    """the page to write, of one denoised image (default: <output>_report.html)"""
    figure: File = None
    """plot the noisy and the denoised image, with the standard deviation where it is beside it, into this PNG, PDF or
    SVG (one denoised image)"""
    axes: Axes = None
    """dimensions of the images, letters out of STCZYX, if the files do not give them or they are wrong"""
    overwrite: Switch = False
    """replace pages that exist"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Collect, check, write."""
        from noisewise.report.files import results_of, write_report, write_reports
        from noisewise.report.page import record_of

        if not self.outputs:
            raise UserError("no denoised image; give one: noisewise report cells_denoised.tif")
        outputs, given = find_images(self.outputs), None if self.input is None else user_path(self.input)
        if any(map(names_several, self.outputs)):
            outputs = results_of(outputs) or outputs
        if self.figure is not None:
            return self._figure(outputs, given)
        if len(outputs) > 1:
            if self.page is not None or (given is not None and not given.is_dir()):
                raise UserError("of several images, -o cannot be given, and --input is the folder of the noisy ones")
            found, failed, notes = write_reports(
                dict.fromkeys(outputs, given), axes=self.axes, overwrite=self.overwrite
            )
            if not found:
                raise UserError(next(iter(failed.values())))
        else:
            page = companions(outputs[0])["report"] if self.page is None else user_path(self.page)
            found = {page: write_report(outputs[0], given, page, axes=self.axes, overwrite=self.overwrite)}
            failed, notes = {}, []
        say_notes(notes, self.messages.quiet)
        if self.messages.json:
            records = [record_of(one) | {"page": page} for page, one in found.items()]
            print_json(
                records[0] if len(outputs) == 1 else {"reports": records, "notes": notes, "failed": failures(failed)}
            )
        else:
            say_verdicts(found)
        return exit_code(failed, len(found))

    def _figure(self, outputs: list[Path], given: Path | None) -> int:
        """The figure alone."""
        from noisewise.report.figure import write_figure

        if len(outputs) > 1:
            raise UserError("--figure is for one denoised image, not for several")
        figure = plan_figure(self.figure, self.overwrite)
        assert figure is not None
        write_figure(outputs[0], given, figure, axes=self.axes)
        say(figure)
        return OK


def say_verdicts(found: dict[Path, Collected]) -> None:
    """The pages on stdout, and the verdicts on stderr."""
    for page, one in found.items():
        say(page)
        say(one.verdict.text, error=True)
