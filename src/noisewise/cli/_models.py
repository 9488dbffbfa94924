"""Model files on the command line: where to write them, their summary, and how to resume a training."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisewise.cli._exit import INTERRUPTED, fail
from noisewise.errors import UserError, counted
from noisewise.io.files import user_path
from noisewise.io.paths import split_extension
from noisewise.io.plan import refuse_taken

if TYPE_CHECKING:
    from noisewise.io.plan import Plan
    from noisewise.model import Model

SUFFIX = ".safetensors"


def plan_model(path: str | None, overwrite: bool) -> Path | None:
    """The path of a model to write, or None. Errors: `UserError` if it cannot be written there."""
    if path is None:
        return None
    place = user_path(path)
    if place.is_dir():
        raise UserError(f"{place}: is a folder; give a file name such as {place / 'model.safetensors'}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise UserError(f"{place}: cannot write there ({error.strerror}); choose another folder") from error
    if os.path.lexists(place):
        if not overwrite:
            raise UserError(f"{place}: exists already; choose another name, or replace it with --overwrite")
        if place.suffix != SUFFIX:
            raise UserError(f"{place}: is not replaced, since a model's name ends in {SUFFIX}; choose such a name")
    return place


def plan_noise(path: str | None, overwrite: bool) -> Path | None:
    """The path of a noise model to write, or None. Errors: `UserError` if it cannot be written there."""
    if path is not None and user_path(path).suffix != SUFFIX and not user_path(path).is_dir():
        name = user_path(path).with_suffix(SUFFIX).name
        raise UserError(f"{path}: a noise model's name ends in {SUFFIX}; give {name}")
    return plan_model(path, overwrite)


def plan_figure(path: str | None, overwrite: bool) -> Path | None:
    """The path of a figure to write, or None. Errors: `UserError` for other formats, or if it cannot be written."""
    if path is None:
        return None
    from noisewise.plots.canvas import format_of

    format_of(user_path(path))
    refuse_taken(path, overwrite)
    return user_path(path)


def training_record(model: Model) -> dict[str, Any]:
    """JSON output about a training."""
    state = model.train_state
    return {
        "method": model.provenance.get("method"),
        "steps": state.step,
        "planned_steps": state.steps,
        "finished": state.finished,
        "validation_loss": state.validation_losses[-1][1] if state.validation_losses else None,
        "seed": model.provenance.get("seed"),
    }


def summary(model: Model) -> str:
    """Method, steps and validation loss as one line."""
    record = training_record(model)
    loss = "" if record["validation_loss"] is None else f", validation loss {record['validation_loss']:.4f}"
    return f"{record['method']}, {counted(record['steps'], 'step')}{loss}"


def keep_interrupted(model: Model, asked: Any, plan: Plan, targets: Sequence[Path]) -> int:
    """Save the model of an interrupted `denoise`, print how to continue, and return the exit code.

    asked: the command's options.
    """
    path = free_name(plan.outputs[0]) if asked.model is None else user_path(asked.model)
    model.save(path)
    if model.train_state.finished:
        output = [] if asked.output is None else ["-o", asked.output]
        skip = [] if asked.writing.overwrite or asked.writing.skip_existing else ["--skip-existing"]
        files = [str(path), *map(str, plan.inputs), *output, *selected(asked)]
        use = ["noisewise", "predict", *files, *flags(asked.writing), *flags_of(asked, "seed", "device"), *skip]
        return fail(
            f"interrupted while writing; the trained model is kept; continue with: {shlex.join(use)}", INTERRUPTED
        )
    return fail(how_to_resume(model, path, plan.inputs, targets, asked), INTERRUPTED)


def selected(asked: Any) -> list[str]:
    """What of the images is denoised, as arguments. asked: the command's options."""
    return [*flags_of(asked, "axes", "series"), *flags(asked.selecting)]


def flags(options: Any) -> list[str]:
    """A dataclass of options as arguments, without those that have their default value."""
    return flags_of(options, *(field.name for field in fields(options)))


def flags_of(options: Any, *names: str) -> list[str]:
    """Some options as arguments, without those that have their default value."""
    given = []
    for name in names:
        value = getattr(options, name)
        if value != getattr(type(options), name):
            given += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return given


def how_to_resume(
    model: Model, path: Path, inputs: Sequence[Path | str], targets: Sequence[Path | str], asked: Any
) -> str:
    """A line with the step, the model file and the command to continue with. asked: the command's options."""
    method, state = str(model.provenance.get("method")), model.train_state
    pairs = ["--target", *map(str, targets)] if targets else []
    output = ["-o", str(path), *selected(asked), "--resume"]
    command = ["noisewise", "train", method, *map(str, inputs), *pairs, *output]
    done = f"step {state.step} of {state.steps}" if state.steps else f"step {state.step}"
    return f"interrupted at {done}; {path} is a usable model; continue with: {shlex.join(command)}"


def free_name(output: Path) -> Path:
    """An unused name for a model beside an output."""
    stem = split_extension(output)[0]
    names = (output.with_name(f"{stem}{f'-{n}' if n else ''}{SUFFIX}") for n in count())
    return next(name for name in names if not os.path.lexists(name))
