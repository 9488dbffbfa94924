"""`noisewise train`: the options of the method stand beside those of the verb."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from noisewise.cli import INTERRUPTED, OK, fail
from noisewise.cli._display import Display, print_json
from noisewise.cli._models import how_to_resume, plan_model, summary, training_record
from noisewise.cli._options import (
    Axes,
    Budget,
    Inputs,
    MessageOptions,
    Messages,
    ModelName,
    NoiseFiles,
    Steps,
    Switch,
    check_length,
)
from noisewise.errors import UserError
from noisewise.io.plan import find_images

if TYPE_CHECKING:
    from noisewise.methods.base import Method
    from noisewise.model import Model


@dataclass(kw_only=True)
class Train:
    """Trains a model on images, for noisewise predict.

    Each method has settings of its own: noisewise train METHOD --help lists them.
    """

    method: Positional[Annotated[str, arg(metavar="METHOD")]]
    """how to denoise; see noisewise methods"""
    inputs: Inputs
    """noisy images: files, folders or patterns"""
    target: Annotated[list[str], arg(metavar="FILE...", help_behavior_hint="")] = field(default_factory=list)
    """second images for methods that learn from pairs, one for each input, in the same order"""
    noise: NoiseFiles = field(default_factory=list)
    """a noise model, or one for each channel, for methods that use one (default: measured in the images)"""
    output: Annotated[ModelName, arg(aliases=("-o",))]
    """model file to write, such as cells.safetensors"""
    axes: Axes = None
    """what the dimensions mean, out of STCZYX, if the files are wrong or do not say"""
    budget: Budget = None
    """how long to train: 60s, 10min, 2h (default: the method's number of steps)"""
    steps: Steps = None
    """how many steps to train; with the same seed, the result is the same"""
    resume: Switch = False
    """continue an interrupted training, whose model file is the output; the result is that of an uninterrupted one"""
    seed: int = 0
    """random seed"""
    device: str = "auto"
    """where to compute: auto, cpu, cuda, mps"""
    overwrite: Switch = False
    """replace a model file that exists"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Train, or go on with training."""
        check_length(self.budget, self.steps)
        if self.resume and self.overwrite:
            raise UserError("--resume and --overwrite exclude each other; give one")
        inputs = find_images(self.inputs)
        if not inputs:
            raise UserError(
                f"no input; give images, as in: noisewise train {self.method} cells.tif -o cells.safetensors"
            )
        path = Path(self.output).expanduser()
        begun = self._begun(path) if self.resume and path.exists() else None
        if begun is None:
            plan_model(self.output, self.overwrite)
        elif begun.train_state.finished:
            return self._finish(begun, path, inputs, 0.0)
        return self._train(inputs, path, begun)

    def _train(self, inputs: list[Path], path: Path, begun: Model | None) -> int:
        from noisewise.workflow.denoise import train

        started = time.monotonic()
        display = Display(self.messages.quiet)
        with display:
            model = train(
                self.settings, inputs, find_images(self.target) or None, output=path, axes=self.axes,
                noise=[Path(name).expanduser() for name in self.noise] or None,
                budget=self.budget, steps=self.steps, seed=self.seed, device=self.device, resume=begun,
                report=display,
            )  # fmt: skip
        if not model.train_state.finished:
            return fail(how_to_resume(model, path, self.inputs, self.target, self.axes), INTERRUPTED)
        display.say(model.notes)
        return self._finish(model, path, inputs, time.monotonic() - started)

    def _begun(self, path: Path) -> Model:
        """The model to go on with. Errors: `UserError` if it is of another method, settings or length."""
        from noisewise.model import load

        model = load(path, self.device)
        begun = str(model.provenance.get("method"))
        if begun != self.method:
            raise UserError(f"{path}: was begun with method {begun}, not {self.method}; choose another output")
        fresh, settings = asdict(type(self.settings)()), asdict(self.settings)
        for name, value in settings.items():
            if value != fresh[name] and value != getattr(model.method, name):
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{path}: was begun with another {flag}; leave it out, or choose another output")
        if self.steps is not None and model.train_state.steps not in (0, self.steps):
            raise UserError(
                f"{path}: was begun for {model.train_state.steps} steps; leave out --steps, or choose another output"
            )
        return model

    def _finish(self, model: Model, path: Path, inputs: list[Path], seconds: float) -> int:
        if self.messages.json:
            record = {
                "input": inputs,
                "output": path,
                "model": path,
                "seconds": round(seconds, 2),
                "notes": model.notes,
            }
            print_json(record | training_record(model))
            return OK
        print(path)
        if not self.messages.quiet:
            print(f"{summary(model)}, {seconds:.0f} s", file=sys.stderr)
        return OK

    @property
    def settings(self) -> Method:
        """The method's own settings; the field is added by `options_for`."""
        method: Method = self.__dict__["method_settings"]
        return method


def options_for(args: list[str]) -> type[Train]:
    """`Train` with a field for the settings of the method that the arguments name.

    Errors: `UserError` for an unknown method.
    """
    from noisewise import methods

    words = [word for word in args if not word.startswith("-")]
    name = next((word for word in words if word in methods.modules()), words[0] if words else None)
    if name is None:
        return Train
    settings: Any = OmitArgPrefixes[methods.get(name)]  # type: ignore[misc]
    added = ("method_settings", settings, field(default_factory=methods.get(name)))
    return make_dataclass("Train", [added], bases=(Train,), namespace={"__doc__": Train.__doc__}, kw_only=True)
