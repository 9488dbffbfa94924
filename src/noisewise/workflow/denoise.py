"""The recipe: open images, measure their noise, choose a method, train it on the noisy images, denoise them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.estimate.report import NoiseReport
from noisewise.io.base import Source
from noisewise.io.inputs import Inputs, images_of, open_inputs
from noisewise.io.selection import Selection
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Method
from noisewise.model import Model
from noisewise.posterior import Posterior
from noisewise.progress import Report, showing
from noisewise.workflow.budget import training_seconds
from noisewise.workflow.candidates import (
    Candidate,
    choose_and_train,
    explanations,
    other_candidates,
    reserve,
    without_choice,
)
from noisewise.workflow.choose import choose_method, make_method, refuse_unsupported
from noisewise.workflow.consistency import check_result
from noisewise.workflow.first_pass import from_first_pass
from noisewise.workflow.groups import allot, by_groups, grouped
from noisewise.workflow.judge import Explanation
from noisewise.workflow.noise_model import MeasuredNoise, find_noise_models
from noisewise.workflow.settings import check_settings
from noisewise.workflow.training import Interrupted, Training


@dataclass
class Result:
    """What `denoise` returns for one image.

    posterior: p(s|x) of the image. model: the trained model. checkup: the noise that was measured in the first
    channel; None where it could not be measured. notes: messages about the images, the training and the result.
    path: the output file, if there is one.
    """

    posterior: Posterior[Array]
    model: Model
    checkup: NoiseReport | None = None
    notes: list[str] = field(default_factory=list)
    path: Path | None = None

    def __repr__(self) -> str:
        noise = "not measured" if self.checkup is None else self.checkup.kind
        return (
            f"<Result of {self.model.provenance.get('method')}: image of shape {self.mean.shape}\n"
            f"  noise: {noise}; std: {'no' if self.std is None else 'yes'}; file: {self.path or 'none'}\n"
            f"  notes: {'; '.join(self.notes) or 'none'}>"
        )

    @property
    def mean(self) -> Array:
        """The denoised image, E[s|x]: float32, shape and axes of the input, its units."""
        return self.posterior.mean

    @property
    def std(self) -> Array | None:
        """Standard deviation of each pixel, image units; None where the method gives only the mean, or where the result
        is in a file and the standard deviation was not written (`std=True` writes it).
        """
        return self.posterior.std


@overload
def denoise(image: list[Any] | tuple[Any, ...], **options: Any) -> list[Result]: ...


@overload
def denoise(image: Any, **options: Any) -> Result: ...


def denoise(
    image: Any,
    *,
    output: Any = None,
    method: str | Method = "auto",
    target: Any = None,
    noise: Any = None,
    axes: str | None = None,
    budget: str | float | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> Result | list[Result]:
    """Denoise an image, training on it alone. Several images share one model; the result is then a list.

    image: a path, an array (NumPy, dask, zarr, xarray), a list of these, a folder, or a pattern such as "*.tif". Of an
    xarray.DataArray the dimensions give the axes, and the results have its dimensions, coordinates and name.
    output: a file (or folder) to write to, tile by tile, with all metadata of the input.
    method: the name of a method, a `Method` with its settings, or `auto`: chosen by the measured noise.
    target: second images for methods that need them, in the same order.
    noise: a noise model (file or `Noise`), or one per channel, for methods that use one; measured if there is none.
    axes: letters from `STCZYX`, one per dimension, if the images do not give them or they are wrong.
    budget: how long to take for training and prediction together, seconds or "10 min" (default 60 s); it becomes a
    number of steps, which is kept in `model.provenance`. steps: number of training steps instead (0: use a pretrained
    network as it is). seed: of all random numbers; with the same seed and steps, the result on the same machine is the
    same. device: `auto`, `cpu`, `cuda` or `mps`, see `load`.
    options: fields of `WriteOptions` (average, std, samples, overwrite, ...) and of `Selection` (channels, frames,
    planes, ignore, mask); model: a file to keep the model in; report: called with the progress (`Stage`; default: a
    line in a terminal or notebook); series: number of the image in files that contain several (default: all of them,
    and a list as result); failed: a dictionary that collects inputs that cannot be used, with the reason: the others
    are denoised; and the settings of the method.

    Returns a `Result`, or a list of them.

    Errors: `UserError` for images or settings that cannot be used; `Interrupted` on Ctrl-C, or a `KeyboardInterrupt`
    that `report` raises, with the model so far. Other exceptions of `report` stop the work too, and are raised.
    """
    started = time.perf_counter()
    write, settings = WriteOptions.split_from(options)
    write.check()
    check_settings(method=method, axes=axes, budget=budget, steps=steps, seed=seed, device=device)
    given, model_path = settings.pop("report", None), settings.pop("model", None)
    series, failed = settings.pop("series", None), settings.pop("failed", None)
    selection = Selection.taken_from(settings)
    opening = open_inputs(image, axes, output, write, series=series, failed=failed, selection=selection)
    with opening as inputs, showing(given) as report:
        write.refuse_early(inputs.files())
        targets = images_of(target, axes, series)
        recipe = Recipe(method, settings, targets, noise, budget, steps, seed, device, write, model_path, report)
        parts = grouped(inputs, method, noise, target, model_path, report)
        results = by_groups(parts, inputs.sources, allot(parts, budget, started), recipe.denoise)
    return results if inputs.several or not results else results[0]


@dataclass(frozen=True)
class Recipe:
    """Check-up, candidates, choice, training, checks, results: for images that one model denoises.

    The fields are the arguments of `denoise`.
    """

    method: str | Method
    settings: dict[str, Any]
    targets: list[Source]
    noise: Any
    budget: str | float | None
    steps: int | None
    seed: int
    device: str
    write: WriteOptions
    model_path: Any
    report: Report

    def denoise(self, inputs: Inputs, allotted: float) -> list[tuple[Source, Result]]:
        """Denoise images in a time (seconds). Returns each image with its result."""
        begun, sources = time.perf_counter(), inputs.sources
        noise = MeasuredNoise(sources)
        first = self.first_candidate(noise)
        explained = self.explanations(noise, first)
        candidates = [first, *(other_candidates(first, explained, self.write, noise) if explained else ())]
        spare = self.usable(reserve(first, noise, explained, self.write))
        average = self.write.averages(sources, allotted if self.budget is not None else None)

        def begin(candidate: Candidate) -> Training:
            return Training(
                candidate.method, sources, self.targets, noise_models=candidate.noise_models, checkup=noise.checkup,
                seed=self.seed, device=self.device,
            )  # fmt: skip

        def run(training: Training, share: float) -> Model:
            def predicting() -> float:
                return training.seconds_to_predict(sources, average)

            seconds = None
            if self.steps is None:
                seconds = share * training_seconds(allotted, begun, predicting, training.ready)
            return training.run(steps=self.steps, seconds=seconds, report=self.report)

        model = choose_and_train(candidates, spare, explained, noise, begin, run, self.steps == 0)
        if self.method == "auto" and "choice" not in model.provenance:
            model.notes.append(without_choice(noise, model))
        if self.model_path is not None:
            model.save(self.model_path)
        return finish(model, inputs, self.write, average, noise.checkup, self.seed, self.report)

    def first_candidate(self, noise: MeasuredNoise) -> Candidate:
        """The method asked for; for `auto`, the most promising one for this noise."""
        chosen = make_method(choose_method(self.method, noise.checkup, self.noise, self.write), self.settings)
        refuse_unsupported(chosen, self.write)
        first_pass = from_first_pass(noise.sources, self.seed, self.device)
        return Candidate(chosen, find_noise_models(chosen, noise, self.noise, first_pass))

    def explanations(self, noise: MeasuredNoise, first: Candidate) -> list[Explanation]:
        """What the noise may be; nothing where there is no choice, or it cannot be measured in all channels."""
        free = self.method == "auto" and self.noise is None and not self.settings
        if not free or noise.checkup is None or noise.checkup.kind == "none":
            return []
        try:
            return explanations(noise, first)
        except UserError:  # the first candidate does without
            return []

    def usable(self, candidates: Iterator[Candidate]) -> Iterator[Candidate]:
        """Those that can do with the steps."""
        return (one for one in candidates if self.steps != 0 or one.method.traits.usable_untrained)


def finish(
    model: Model, inputs: Inputs, write: WriteOptions, average: bool, checkup: NoiseReport | None, seed: int,
    report: Report,
) -> list[tuple[Source, Result]]:  # fmt: skip
    """Predict all inputs. Errors: `Interrupted` if the training was interrupted, or this is."""
    if not model.train_state.finished:
        raise Interrupted(model)
    try:
        notes, checks = check_result(model, inputs.sources[0], checkup)
        model.notes = model.notes + notes
        if checks:
            model.provenance["checks"] = checks
        posteriors = model.predict_all(inputs, write, average, seed, report)
    except KeyboardInterrupt:
        raise Interrupted(model) from None
    paths: Sequence[Path | None] = inputs.outputs or [None] * len(inputs.sources)
    return [
        (source, Result(one, model, checkup, inputs.notes + model.notes, path))
        for source, one, path in zip(inputs.sources, posteriors, paths, strict=True)
        if one is not None
    ]
