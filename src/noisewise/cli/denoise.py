"""`noisewise denoise`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from noisewise.cli import OK
from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._files import Plan, find_images, folders_for, plan_files
from noisewise.cli._models import keep_interrupted, plan_model, run_record, summary
from noisewise.cli._options import (
    Axes,
    Budget,
    File,
    Inputs,
    NoiseFiles,
    Out,
    Steps,
    Talking,
    TalkingOptions,
    Writing,
    WritingOptions,
    check_length,
    companions,
)  # fmt: skip
from noisewise.errors import UserError

if TYPE_CHECKING:
    from noisewise.model import Model


@dataclass(kw_only=True)
class Denoise:
    """Removes noise: learns from the noisy images themselves, then writes the twin of each.

    One model learns from all inputs together. Without further options, everything is chosen for you.
    """

    inputs: Inputs
    """images: files, folders or patterns"""
    output: Out = None
    """output file, or folder for several inputs (default: <name>_denoised beside each input)"""
    method: Annotated[str, arg(metavar="NAME")] = "auto"
    """how to denoise; see noisewise methods"""
    target: File = None
    """second images for methods that learn from pairs: a file, or a folder with one for each input"""
    noise: NoiseFiles = field(default_factory=list)
    """a noise model, or one for each channel, for methods that use one (default: measured in the images)"""
    axes: Axes = None
    """what the dimensions mean, out of STCZYX, if the file is wrong or does not say"""
    budget: Budget = None
    """how long to take, training and denoising together: 60s, 10min, 2h (default: 60s)"""
    steps: Steps = None
    """train for so many steps instead; with the same seed, the result is the same"""
    model: File = None
    """also keep the trained model, for noisewise predict"""
    seed: int = 0
    """start of all random numbers"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, mps"""
    writing: WritingOptions = field(default_factory=Writing)
    talking: TalkingOptions = field(default_factory=Talking)

    def run(self) -> int:
        """Denoise all inputs."""
        self.writing.check()
        check_length(self.budget, self.steps)
        plan = plan_files(
            self.inputs, self.output, companions=lambda path: companions(path).values(),
            beside=lambda path: self.writing.beside(path).values(), skip_existing=self.writing.skip_existing,
        )  # fmt: skip
        model = plan_model(self.model, self.writing.overwrite)
        if model in plan.outputs:
            raise UserError(f"{model}: the model and the denoised image cannot both go there")
        say_notes(plan.notes, self.talking.quiet)
        if not plan.inputs:
            return self._finish(plan, None, None, 0.0)
        with folders_for(plan.outputs, self.output):
            return self._denoise(plan, model)

    def _denoise(self, plan: Plan, path: Path | None) -> int:
        from noisewise.files import denoise_files

        started = time.monotonic()
        targets = find_images([self.target] if self.target is not None else [])
        kept: list[Model] = []

        def keep(model: Model) -> None:
            kept.append(model)
            if path is not None:
                model.save(path)

        display = Display(self.talking.quiet)
        try:
            with display:
                denoise_files(
                    plan.inputs, plan.outputs, method=self.method, targets=targets,
                    noise=[Path(name).expanduser() for name in self.noise], axes=self.axes,
                    budget=self.budget, steps=self.steps, average=self.writing.averaging,
                    writing=self.writing.for_files(), seed=self.seed, device=self.device, trained=keep,
                    report=display,
                )  # fmt: skip
        except KeyboardInterrupt:
            if not kept:
                raise
            return keep_interrupted(kept[0], path, plan, targets, self.axes)
        if not kept[0].run.finished:
            return keep_interrupted(kept[0], path, plan, targets, self.axes)
        display.say(kept[0].notes)
        return self._finish(plan, kept[0], path, time.monotonic() - started)

    def _finish(self, plan: Plan, model: Model | None, path: Path | None, seconds: float) -> int:
        found = model.notes if model is not None else []
        if self.talking.json:
            record = {"input": plan.inputs, "output": plan.outputs, "seconds": round(seconds, 2)}
            record |= self.writing.record(plan.outputs)
            print_json(record | {"notes": plan.notes + found, "model": path} | (run_record(model) if model else {}))
            return OK
        for output in plan.outputs:
            print(output)
        if model is not None and not self.talking.quiet:
            print(f"{summary(model)}, {seconds:.0f} s", file=sys.stderr)
        return OK
