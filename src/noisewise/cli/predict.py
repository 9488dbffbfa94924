"""`noisewise predict`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from noisewise.cli import INTERRUPTED, OK, fail
from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._files import Plan, folders_for, plan_files
from noisewise.cli._options import (
    Axes,
    Inputs,
    ModelName,
    Out,
    Talking,
    TalkingOptions,
    Writing,
    WritingOptions,
    companions,
)  # fmt: skip


@dataclass(kw_only=True)
class Predict:
    """Denoises images with a model that is already trained."""

    model: Positional[ModelName]
    """a model file, as noisewise train writes it"""
    inputs: Inputs
    """images: files, folders or patterns"""
    output: Out = None
    """output file, or folder for several inputs (default: <name>_denoised beside each input)"""
    axes: Axes = None
    """what the dimensions mean, out of STCZYX, if the file is wrong or does not say"""
    seed: int = 0
    """start of the random numbers of samples"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, mps"""
    writing: WritingOptions = field(default_factory=Writing)
    talking: TalkingOptions = field(default_factory=Talking)

    def run(self) -> int:
        """Denoise all inputs."""
        self.writing.check()
        plan = plan_files(
            self.inputs, self.output, companions=lambda path: companions(path).values(),
            beside=lambda path: self.writing.beside(path).values(), skip_existing=self.writing.skip_existing,
        )  # fmt: skip
        say_notes(plan.notes, self.talking.quiet)
        started = time.monotonic()
        try:
            with folders_for(plan.outputs, self.output):
                notes = self._predict(plan) if plan.inputs else []
        except KeyboardInterrupt:
            return fail("interrupted; the same command with --skip-existing does the rest", INTERRUPTED)
        say_notes(notes, self.talking.quiet)
        if self.talking.json:
            seconds = round(time.monotonic() - started, 2)
            record = {"input": plan.inputs, "output": plan.outputs, "model": self.model, "seconds": seconds}
            record |= self.writing.record(plan.outputs)
            print_json(record | {"notes": plan.notes + notes})
            return OK
        for output in plan.outputs:
            print(output)
        return OK

    def _predict(self, plan: Plan) -> list[str]:
        from noisewise.files import predict_files
        from noisewise.model import load

        model = load(Path(self.model).expanduser(), self.device)
        with Display(self.talking.quiet) as display:
            return predict_files(
                model, plan.inputs, plan.outputs, axes=self.axes, average=self.writing.averaging,
                writing=self.writing.for_files(), seed=self.seed, report=display,
            )  # fmt: skip
