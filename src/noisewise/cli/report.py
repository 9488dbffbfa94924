"""`noisewise report`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from noisewise.cli._display import print_json
from noisewise.cli._exit import OK
from noisewise.cli._options import Axes, File, MessageOptions, Messages, Switch
from noisewise.cli._print import say
from noisewise.io.files import user_path
from noisewise.io.plan import refuse_inputs

if TYPE_CHECKING:
    from noisewise.report.collect import Collected


@dataclass(kw_only=True)
class Report:
    """Check a denoised image against the noisy one, and write a page that shows whether to believe it.

    The page is one HTML file that works without a network; JSON has `verdict`: believe, look here or do not believe.
    """

    output: Positional[Annotated[str, arg(metavar="OUTPUT")]]
    """the denoised image"""
    input: File = None
    """the noisy image (default: the one that the output names, beside it)"""
    page: Annotated[str | None, arg(aliases=["-o"], metavar="OUT.html", help_behavior_hint="")] = None
    """the page to write (default: <output>_report.html)"""
    axes: Axes = None
    """dimensions of the images, letters out of STCZYX, if the files do not give them or they are wrong"""
    overwrite: Switch = False
    """replace a page that exists"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Collect, check, write."""
        from noisewise.report.files import find_input, page_beside, report
        from noisewise.report.page import record_of, render, write_page

        denoised = user_path(self.output)
        noisy = find_input(denoised) if self.input is None else user_path(self.input)
        path = page_beside(denoised) if self.page is None else user_path(self.page)
        refuse_inputs([denoised, noisy], [path])
        found = report(denoised, noisy, axes=self.axes)
        command = repeat(found, noisy, denoised)
        write_page(render(found, command), path, self.overwrite)
        if self.messages.json:
            print_json(record_of(found) | {"page": path})
        else:
            say(path)
            reasons = " ".join(found.verdict.reasons) or "no check found anything against it"
            say(f"{found.verdict.word}: {reasons}", error=True)
        return OK


def repeat(found: Collected, noisy: Path, denoised: Path) -> str:
    """The command that makes the output again."""
    record: dict[str, Any] = found.record
    words = ["noisewise", "denoise", str(noisy), "-o", str(denoised), "--method", str(record.get("method", "auto"))]
    for name in ("steps", "seed"):
        if name in record:
            words += [f"--{name}", str(record[name])]
    return shlex.join(words)
