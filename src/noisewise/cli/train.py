"""`noisewise train`; the settings of the method are options too."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from noisewise.cli import _options as options
from noisewise.cli._display import Display, print_json, say_notes
from noisewise.cli._exit import INTERRUPTED, OK, fail
from noisewise.cli._models import how_to_resume, plan_model, summary, training_record
from noisewise.cli._print import say
from noisewise.errors import UserError, counted
from noisewise.io.files import user_path
from noisewise.io.plan import find_images

if TYPE_CHECKING:
    from noisewise.methods.base import Method
    from noisewise.model import Model


@dataclass(kw_only=True)
class Train:
    """Train a model on images, for noisewise predict.

    Each method has its own settings: noisewise train METHOD --help lists them.
    """

    method: Positional[Annotated[str, arg(metavar="METHOD")]]
    """method; noisewise methods lists them and says which one fits"""
    inputs: options.Inputs
    """noisy images: files, folders or patterns"""
    target: options.Files = field(default_factory=list)
    """target images for methods that need them (n2n, care), one for each input, in the same order"""
    noise: options.Files = field(default_factory=list)
    """a noise model, or one for each channel, for methods that use one (default: measured in the images)"""
    output: Annotated[options.ModelName, arg(aliases=("-o",))]
    """model file to write, such as cells.safetensors"""
    axes: options.Axes = None
    """dimensions of the images, letters out of STCZYX, if the files do not give them or they are wrong"""
    series: options.Series = None
    """number of the image in files that contain several, see noisewise info (default: all, without previews)"""
    budget: options.Budget = None
    """time for training: 60s, 10min, 2h (default: the method's number of steps)"""
    steps: options.Steps = None
    """number of training steps; with the same seed, the result is the same"""
    resume: options.Switch = False
    """continue an interrupted training, whose model file is the output; the result is that of an uninterrupted one"""
    seed: int = 0
    """random seed"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, mps"""
    overwrite: options.Switch = False
    """replace a model file that exists"""
    selecting: options.SelectingOptions = field(default_factory=options.Selecting)
    messages: options.MessageOptions = field(default_factory=options.Messages)

    def run(self) -> int:
        """Train, or resume a training."""
        from noisewise.workflow.choose import make_method

        options.check(self)
        make_method(self.settings, {})
        noise = [options.existing(name) for name in self.noise]
        targets = find_images(self.target)
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite exclude each other; give one")
        inputs = find_images(self.inputs)
        if not inputs:
            example = f"noisewise train {self.method} cells.tif -o cells.safetensors"
            raise UserError(f"no input; give images, as in: {example}")
        path = user_path(self.output)
        begun = self._begun(path) if self.resume and path.exists() else None
        if begun is None:
            plan_model(self.output, self.overwrite)
        elif begun.train_state.finished and begun.train_state.calibrated:
            begun.notes = [f"{path}: is already complete after {counted(begun.train_state.step, 'step')}"]
            say_notes(begun.notes, self.messages.quiet)
            return self._finish(begun, path, inputs, 0.0)
        return self._train(inputs, targets, noise, path, begun)

    def _train(
        self, inputs: list[Path], targets: list[Path], noise: list[Path], path: Path, begun: Model | None
    ) -> int:
        from noisewise.workflow.train import train
        from noisewise.workflow.training import Interrupted

        started = time.monotonic()
        try:
            with Display(self.messages.quiet) as display:
                model = train(
                    self.settings, inputs, targets or None, output=path, axes=self.axes, noise=noise or None,
                    budget=self.budget, steps=self.steps, seed=self.seed, device=self.device, resume=begun,
                    report=display, series=self.series, **vars(self.selecting),
                )  # fmt: skip
        except Interrupted as stop:
            return fail(how_to_resume(stop.model, path, self.inputs, self.target, self), INTERRUPTED)
        if not model.train_state.finished:
            return fail(how_to_resume(model, path, self.inputs, self.target, self), INTERRUPTED)
        display.say(model.notes)
        return self._finish(model, path, inputs, time.monotonic() - started)

    def _begun(self, path: Path) -> Model:
        """The model to resume. Errors: `UserError` if it has another method, settings or length."""
        from noisewise.model import load

        model = load(path, self.device)
        method, steps = model.provenance.get("method"), model.train_state.steps
        if method != self.method:
            raise UserError(f"{path}: was started with method {method}, not {self.method}; choose another output")
        default = asdict(type(self.settings)())
        for name, value in asdict(self.settings).items():
            if value != default[name] and value != getattr(model.method, name):
                values = f"{name} {getattr(model.method, name)}, not {value}"
                raise UserError(f"{path}: was started with {values}; leave it out, or choose another output")
        if self.steps is not None and steps not in (0, self.steps):
            values = f"{counted(steps, 'step')}, not {self.steps}"
            raise UserError(f"{path}: was started for {values}; leave out --steps, or choose another output")
        return model

    def _finish(self, model: Model, path: Path, inputs: list[Path], seconds: float) -> int:
        if self.messages.json:
            files = {"input": inputs, "output": path, "model": path}
            print_json(files | {"seconds": round(seconds, 2), "notes": model.notes} | training_record(model))
            return OK
        say(path)
        if not self.messages.quiet:
            say(f"{summary(model)}, {seconds:.0f} s", error=True)
        return OK

    @property
    def settings(self) -> Method:
        """The settings of the method, a field that `options_for` adds."""
        from noisewise import methods

        return methods.get(self.method)(**vars(self.__dict__["method_settings"]))


def options_for(args: list[str]) -> type[Train]:
    """`Train` with a field for the settings of the method in the arguments.

    Errors: `UserError` for an unknown method.
    """
    from noisewise import methods

    words = [word for word in args if not word.startswith("-")]
    name = next((word for word in words if word in methods.modules()), words[0] if words else None)
    if name is None:
        return Train
    kind: Any = options.with_switches(methods.get(name))
    added: Any = ("method_settings", OmitArgPrefixes[kind], field(default_factory=kind))  # type: ignore[misc]
    return make_dataclass("Train", [added], bases=(Train,), namespace={"__doc__": Train.__doc__}, kw_only=True)
