"""`noisewise predict`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tyro.conf import Positional

from noisewise.cli import _options as options
from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import INTERRUPTED, exit_code, fail, failures
from noisewise.errors import UserError
from noisewise.io.files import user_path
from noisewise.io.plan import Plan, folders_for
from noisewise.progress import Stage


@dataclass(kw_only=True)
class Predict:
    """Denoise images with a trained model."""

    model: Positional[options.ModelName]
    """a model file, from noisewise train or from noisewise denoise --model"""
    inputs: options.Inputs
    """images: files, folders or patterns"""
    output: options.Out = None
    """output file, or folder for several inputs (default: <name>_denoised beside each input)"""
    axes: options.Axes = None
    """dimensions of the images, letters out of STCZYX, if the file does not give them or they are wrong"""
    series: options.Series = None
    """number of the image in files that contain several, see noisewise info (default: all, without previews)"""
    seed: int = 0
    """random seed of samples"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, mps"""
    writing: options.WritingOptions = field(default_factory=options.Writing)
    selecting: options.SelectingOptions = field(default_factory=options.Selecting)
    messages: options.MessageOptions = field(default_factory=options.Messages)

    def run(self) -> int:
        """Denoise all inputs."""
        if not self.inputs:
            raise UserError("no image; the model comes first, as in: noisewise predict cells.safetensors new.tif")
        options.check(self)
        failed: dict[str, str] = {}
        plan = self.writing.plan(self.inputs, self.output, failed)
        say_notes(plan.notes, self.messages.quiet)
        started = time.monotonic()
        try:
            with folders_for(plan.outputs):
                notes = self._predict(plan, failed) if plan.inputs else []
        except KeyboardInterrupt:
            return fail("interrupted; continue with the same command and --skip-existing", INTERRUPTED)
        plan = plan.done(failed)
        code = exit_code(failed, len(plan.outputs))
        if self.messages.json:
            seconds = round(time.monotonic() - started, 2)
            record = {"input": plan.inputs, "output": plan.outputs, "model": self.model, "seconds": seconds}
            record |= options.written_beside(self.writing, plan.outputs) | {"failed": failures(failed)}
            print_json(record | {"notes": plan.notes + notes})
            return code
        options.say_files(self.writing, plan.outputs, self.messages.quiet)
        return code

    def _predict(self, plan: Plan, failed: dict[str, str]) -> list[str]:
        from noisewise.foreign import load
        from noisewise.workflow.predict import predict

        model = load(user_path(self.model), self.device)
        notes: list[str] = []
        with Display(self.messages.quiet) as display:

            def report(stage: Stage) -> None:
                notes.extend(stage.notes)
                display(stage)

            predict(
                plan.inputs, model, output=plan.outputs, axes=self.axes, seed=self.seed, report=report,
                series=self.series,
                **vars(self.selecting),
                failed=failed if len(plan.inputs) + len(failed) > 1 else None, **vars(self.writing),
            )  # fmt: skip
        return notes
