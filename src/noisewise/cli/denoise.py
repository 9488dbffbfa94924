"""`noisewise denoise`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from noisewise.cli import _options as options
from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import INTERRUPTED, exit_code, fail, failures
from noisewise.cli._models import keep_interrupted, plan_model, summary, training_record
from noisewise.cli._print import say
from noisewise.errors import UserError
from noisewise.io.paths import companions
from noisewise.io.plan import Plan, find_images, folders_for

if TYPE_CHECKING:
    from noisewise.report.collect import Collected
    from noisewise.workflow.denoise import Result


@dataclass(kw_only=True)
class Denoise:
    """Denoise images: measure the noise, train on the noisy images, write a denoised file for each.

    One model is trained on all inputs together, or one for each kind of noise. No other option is needed: the method
    and its settings are chosen by the noise that was measured.
    """

    inputs: options.Inputs
    """images: files, folders or patterns"""
    output: options.Out = None
    """output file, or folder for several inputs (default: <name>_denoised beside each input)"""
    method: Annotated[str, arg(metavar="NAME")] = "auto"
    """method; noisewise methods lists them and says which one fits"""
    target: options.File = None
    """target images for methods that need them (n2n, care): a file, or a folder with one for each input"""
    noise: options.Files = field(default_factory=list)
    """a noise model, or one for each channel, for methods that use one (default: measured in the images)"""
    axes: options.Axes = None
    """dimensions of the images, letters out of STCZYX, if the file does not give them or they are wrong"""
    series: options.Series = None
    """number of the image in files that contain several, see noisewise info (default: all, without previews)"""
    budget: options.Budget = None
    """time for training and denoising together: 60s, 10min, 2h (default: 60s)"""
    steps: options.Steps = None
    """number of training steps, instead of a time; with the same seed, the result is the same"""
    model: options.File = None
    """also write the trained model, for noisewise predict"""
    report: options.Switch = False
    """write a page beside each output that shows whether to believe it (default: in a terminal)"""
    no_report: options.Switch = False
    """do not write such pages"""
    seed: int = 0
    """random seed"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, mps"""
    writing: options.WritingOptions = field(default_factory=options.Writing)
    selecting: options.SelectingOptions = field(default_factory=options.Selecting)
    messages: options.MessageOptions = field(default_factory=options.Messages)

    def run(self) -> int:
        """Denoise all inputs."""
        options.check(self)
        self.writing.check()
        noise = [options.existing(name) for name in self.noise]
        targets = find_images([self.target] if self.target is not None else [])
        failed: dict[str, str] = {}
        plan = self.writing.plan(self.inputs, self.output, failed if self.target is None else None)
        model = plan_model(self.model, self.writing.overwrite)
        if model in plan.outputs:
            raise UserError(f"{model}: is the name of both the model and the denoised image; choose another --model")
        if self.report and self.no_report:
            raise UserError("--report and --no-report exclude each other; give one")
        if self.reports:
            refuse_pages(plan.outputs, self.writing.overwrite)
        say_notes(plan.notes, self.messages.quiet)
        if not plan.inputs:
            return self._finish(plan, None, [], 0.0, failed)
        with folders_for(plan.outputs):
            return self._denoise(plan, model, noise, targets, failed)

    @property
    def reports(self) -> bool:
        """Whether to write reports: by default where somebody looks."""
        return self.report or (not self.no_report and not self.messages.quiet and sys.stderr.isatty())

    def _denoise(
        self, plan: Plan, path: Path | None, noise: list[Path], targets: list[Path], failed: dict[str, str]
    ) -> int:
        from noisewise.workflow.budget import for_reports, remaining
        from noisewise.workflow.denoise import denoise
        from noisewise.workflow.training import Interrupted

        started = time.monotonic()
        seconds, reserved = remaining(self.budget), 0.0
        if self.reports:
            reserved = for_reports(seconds, len(plan.outputs))
        try:
            with Display(self.messages.quiet) as display:
                results = denoise(
                    plan.inputs, output=plan.outputs, method=self.method, target=targets or None,
                    noise=noise or None, axes=self.axes,
                    budget=seconds - reserved if self.steps is None else None, steps=self.steps, seed=self.seed,
                    device=self.device,
                    **vars(self.writing), model=path, report=display, series=self.series,
                    **vars(self.selecting),
                    failed=failed if self.target is None and len(plan.inputs) + len(failed) > 1 else None,
                )  # fmt: skip
        except Interrupted as stop:
            if stop.groups > 1:
                return fail("interrupted; continue with the same command and --skip-existing", INTERRUPTED)
            return keep_interrupted(stop.model, self, plan, targets)
        display.say(all_notes(results))
        done = plan.done(failed)
        pages = self._write_reports(done, results, reserved) if self.reports else {}
        return self._finish(done, path, results, time.monotonic() - started, failed, pages)

    def _write_reports(self, plan: Plan, results: list[Result], seconds: float) -> dict[Path, Collected]:
        """A page for each output."""
        from noisewise.report.files import write_reports

        models = {result.path: result.model for result in results if result.path is not None}
        pairs = dict(zip(plan.outputs, plan.inputs, strict=True))
        limit = seconds if self.steps is None else math.inf
        found, failed, notes = write_reports(pairs, axes=self.axes, overwrite=True, models=models, seconds=limit)
        say_notes([*(f"no report: {reason}" for reason in failed.values()), *notes], self.messages.quiet)
        return found

    def _finish(
        self, plan: Plan, path: Path | None, results: list[Result], seconds: float, failed: dict[str, str],
        pages: Mapping[Path, Collected] | None = None,
    ) -> int:  # fmt: skip
        code = exit_code(failed, len(plan.outputs))
        if self.messages.json:
            record = {"input": plan.inputs, "output": plan.outputs, "seconds": round(seconds, 2)}
            record |= options.written_beside(self.writing, plan.outputs) | {"failed": failures(failed)}
            record |= {"notes": plan.notes + all_notes(results), "model": path}
            if pages:
                record["reports"] = [{"page": page, "verdict": one.verdict.word} for page, one in pages.items()]
            print_json(record | (training_record(results[0].model) if results else {}))
            return code
        options.say_files(self.writing, plan.outputs, self.messages.quiet, ["report"] if pages else [])
        if results and not self.messages.quiet:
            say(f"{summary(results[0].model)}, {seconds:.0f} s", error=True)
            for page, one in (pages or {}).items():
                say(f"{page}: {one.verdict.text}", error=True)
        return code


def refuse_pages(outputs: Sequence[Path], overwrite: bool) -> None:
    """Errors: `UserError` if the page of an output exists."""
    for output in outputs:
        page = companions(output)["report"]
        if page.exists() and not overwrite:
            raise UserError(f"{page}: exists already; move it, or replace it with --overwrite")


def all_notes(results: list[Result]) -> list[str]:
    """The notes of all results, each once: images that share a model have the same."""
    return list(dict.fromkeys(note for result in results for note in result.notes))
