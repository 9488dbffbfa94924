"""Train a method on images, for images like them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisewise.errors import UserError, one_line
from noisewise.io.inputs import images_of
from noisewise.io.selection import Selection
from noisewise.methods.base import Method
from noisewise.model import Model
from noisewise.progress import showing
from noisewise.scenes.pool import is_synthetic
from noisewise.workflow.alike import mixed_notes
from noisewise.workflow.budget import parse_budget
from noisewise.workflow.choose import make_method
from noisewise.workflow.first_pass import from_first_pass
from noisewise.workflow.noise_model import MeasuredNoise, find_noise_models
from noisewise.workflow.settings import check_settings
from noisewise.workflow.training import Training


def train(
    method: str | Method,
    images: Any,
    target: Any = None,
    *,
    output: str | Path | None = None,
    axes: str | None = None,
    noise: Any = None,
    budget: str | float | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> Model:
    """Train a method on one image or several; `predict` of the result denoises others.

    method: the name of a method, or a `Method` with its settings. images: one or several, as for `denoise`.
    target, noise, axes, seed, device: as for `denoise`. output: a model file, written every minute and at the end.
    budget: how long to train, seconds or "10 min"; it becomes a number of steps, which is kept in `provenance`.
    steps: number of training steps instead (default: the method's `default_steps`).
    options: resume, an unfinished `Model` to continue; report, called with the progress after each step (`Stage`;
    default: a line in a terminal or notebook); series, as for `denoise`; the settings of the method.

    Returns the trained `Model`. After Ctrl-C, or a `KeyboardInterrupt` that `report` raises, it is unfinished: it can
    be used, or continued with `resume`.

    Errors: `UserError` for images or settings that cannot be used; `Interrupted` on a second Ctrl-C; what else `report`
    raises, after the model so far was written to `output`.
    """
    resume, report, series = options.pop("resume", None), options.pop("report", None), options.pop("series", None)
    selection = Selection.taken_from(options)
    method = make_method(method, options)
    check_settings(axes=axes, budget=budget, steps=steps, seed=seed, device=device)
    noisy, targets = images_of(images, axes, series, selection), images_of(target, axes, series)
    if resume is not None:
        refuse_named_scenes(method, resume.method)
    if resume is not None and not resume.train_state.steps:
        resume = None  # interrupted before its length was measured: a few steps, taken again
    measured = MeasuredNoise(noisy)
    checkup = measured.checkup if method.traits.needs == "noisy" else None
    if resume is not None:
        noise_models = resume.noise_models
    else:
        noise_models = find_noise_models(method, measured, noise, from_first_pass(noisy, seed, device))
    training = Training(
        method, noisy, targets, noise_models=noise_models, checkup=checkup, seed=seed, device=device, resume=resume
    )
    training.notes += [] if resume is not None else mixed_notes(noisy, method, noise)
    with showing(report) as shown:
        return training.run(steps=steps, seconds=parse_budget(budget), output=output, report=shown)


def refuse_named_scenes(asked: Method, begun: Method) -> None:
    """Errors: `UserError` if only the model file, which may be a stranger's, names a file of clean images to read."""
    scenes = getattr(begun, "scenes", "mixed")
    if not is_synthetic(scenes) and scenes != getattr(asked, "scenes", None):
        raise UserError(f"the training uses clean images from {one_line(scenes)}; give these scenes again to resume it")
