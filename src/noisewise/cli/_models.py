"""Model files on the command line: where to write them, their summary, and how to resume a training."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisewise.cli._exit import INTERRUPTED, fail
from noisewise.errors import UserError, counted
from noisewise.io.files import user_path

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
    if not place.parent.is_dir():
        raise UserError(f"{place}: the folder {place.parent} does not exist; create it first")
    try:
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise UserError(f"{place}: cannot write there ({error.strerror}); choose another folder") from error
    if os.path.lexists(place):
        if not overwrite:
            raise UserError(f"{place}: exists already; choose another name or allow it with --overwrite")
        if place.suffix != SUFFIX:
            raise UserError(f"{place}: is not replaced, since a model's name ends in {SUFFIX}; choose such a name")
    return place


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


def keep_interrupted(model: Model, path: Path | None, plan: Plan, targets: Sequence[Path], axes: str | None) -> int:
    """Save the model of an interrupted `denoise`, print how to continue, and return the exit code."""
    if path is None:
        path = free_name(plan.outputs[0])
        model.save(path)
    if model.train_state.finished:
        use = shlex.join(["noisewise", "predict", str(path), *map(str, plan.inputs), *axes_option(axes)])
        return fail(f"interrupted while writing; the trained model is kept; continue with: {use}", INTERRUPTED)
    return fail(how_to_resume(model, path, plan.inputs, targets, axes), INTERRUPTED)


def how_to_resume(
    model: Model, path: Path, inputs: Sequence[Path | str], targets: Sequence[Path | str], axes: str | None
) -> str:
    """A line with the step, the model file and the command to continue with."""
    method, state = str(model.provenance.get("method")), model.train_state
    pairs = ["--target", *map(str, targets)] if targets else []
    output = ["-o", str(path), *axes_option(axes), "--resume"]
    command = ["noisewise", "train", method, *map(str, inputs), *pairs, *output]
    done = f"step {state.step} of {state.steps}" if state.steps else f"step {state.step}"
    return f"interrupted at {done}; {path} is a usable model; continue with: {shlex.join(command)}"


def axes_option(axes: str | None) -> list[str]:
    """The option --axes, if it was given."""
    return [] if axes is None else ["--axes", axes]


def free_name(output: Path) -> Path:
    """An unused name for a model beside an output."""
    stem = output.name.split(".")[0]
    names = (output.with_name(f"{stem}{f'-{n}' if n else ''}{SUFFIX}") for n in count())
    return next(name for name in names if not os.path.lexists(name))
