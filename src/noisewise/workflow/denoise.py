"""The recipe: open images, measure their noise, choose a method, train it on the noisy images, denoise them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, overload

from noisewise import methods
from noisewise.axes import Array, Layout
from noisewise.calibration.bootstrap import bootstrap
from noisewise.errors import UserError, counted, one_line
from noisewise.estimate.report import NoiseReport
from noisewise.io.base import Source
from noisewise.io.excluded import Excluded
from noisewise.io.inputs import Inputs, images_of, open_inputs, read_completely, refuse_none
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Method
from noisewise.model import Model
from noisewise.noise.base import Noise
from noisewise.posterior import Posterior
from noisewise.progress import Report, showing
from noisewise.scenes.pool import is_synthetic
from noisewise.workflow.alike import in_groups, mixed_notes
from noisewise.workflow.budget import DEFAULT_BUDGET, parse_budget, training_seconds
from noisewise.workflow.choose import choose_method, make_method, refuse_unsupported
from noisewise.workflow.consistency import consistency_warnings
from noisewise.workflow.noise_model import check_up, find_noise_models
from noisewise.workflow.settings import check_settings
from noisewise.workflow.training import Interrupted, Training

FIRST_PASS_TILE = {2: 512, 3: 128}  # pixels along each side
FIRST_PASS_STEPS = 300  # of a Noise2Void whose result stands for the signal where the noise cannot be measured


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
    options: fields of `WriteOptions` (average, std, samples, overwrite, ...); model: a file to keep the model in;
    report: called with the progress (`Stage`; default: a line in a terminal or notebook); series: number of the image
    in files that contain several (default: all of them, and a list as result); failed: a dictionary that collects
    inputs that cannot be used, with the reason: the others are denoised; and the settings of the method.

    Returns a `Result`, or a list of them.

    Errors: `UserError` for images or settings that cannot be used; `Interrupted` on Ctrl-C, or a `KeyboardInterrupt`
    that `report` raises, with the model so far. Other exceptions of `report` stop the work too, and are raised.
    """
    started = time.perf_counter()
    write, settings = WriteOptions.split_from(options)
    write.check()
    check_settings(method=method, axes=axes, budget=budget, steps=steps, seed=seed, device=device)
    given, model_path = settings.pop("report", None), settings.pop("model", None)
    series, failed, excluded = settings.pop("series", None), settings.pop("failed", None), Excluded.taken_from(settings)

    def with_inputs(inputs: Inputs, allotted: float) -> list[tuple[Source, Result]]:
        begun, sources = time.perf_counter(), inputs.sources
        checkup = check_up(sources)
        chosen = make_method(choose_method(method, checkup, noise, write), settings)
        refuse_unsupported(chosen, write)
        noise_models = find_noise_models(chosen, sources, noise, from_first_pass(sources, seed, device), checkup)
        targets = images_of(target, axes, series)
        training = Training(
            chosen, sources, targets, noise_models=noise_models, checkup=checkup, seed=seed, device=device
        )  # fmt: skip
        average = write.averages(sources, allotted if budget is not None else None)
        predicted = training.seconds_to_predict(sources, average) if steps is None else 0.0
        seconds = training_seconds(allotted, begun, predicted, training.ready) if steps is None else None
        model = training.run(steps=steps, seconds=seconds, report=report)
        if model_path is not None:
            model.save(model_path)
        return finish(model, inputs, write, average, checkup, seed, report)

    opening = open_inputs(image, axes, output, write, series=series, failed=failed, excluded=excluded)
    with opening as inputs, showing(given) as report:
        write.refuse_early(inputs.files())
        parts = grouped(inputs, method, noise, target, model_path, report)
        results = by_groups(parts, inputs.sources, allot(parts, budget, started), with_inputs)
    return results if inputs.several or not results else results[0]


def grouped(
    inputs: Inputs, method: str | Method, noise: Any, target: Any, path: Any, report: Report
) -> list[Inputs]:  # fmt: skip
    """The images that can be denoised together, in groups of like noise; in one with targets.

    path: for the model. Errors: `UserError` where one model file would have to hold several models.
    """
    usable = inputs.usable(like_most(inputs.sources)) if inputs.sources else inputs
    parts = [usable] if target is not None else in_groups(usable, method, noise, report)
    if path is not None and len(parts) > 1:
        first = ", ".join(str(part.sources[0].name) for part in parts)
        raise UserError(
            f"{path}: the images have {len(parts)} different kinds of noise (as in {first}) and need a model each; "
            f"denoise each kind separately, or leave out the model"
        )
    return parts


def by_groups(
    parts: Sequence[Inputs], sources: Sequence[Source], seconds: Iterator[float],
    work: Callable[..., list[tuple[Source, Result]]],
) -> list[Result]:  # fmt: skip
    """Work on each group of images, with its seconds of the budget; the results in the order of the images.

    Where errors are collected, one of a group does not stop the others. Errors: `UserError`, if it stops all.
    """
    found: list[tuple[Source, Result]] = []
    for part, allotted in zip(parts, seconds, strict=True):
        if not part.sources:
            continue  # all were refused
        try:
            found += without_unreadable(part, partial(work, allotted=allotted))
        except Interrupted as stop:
            stop.groups = len(parts)
            raise
        except UserError as error:
            if len(parts) == 1:
                raise
            part.collect(error)
    refuse_none([source for source, _ in found], parts[0].failed)
    left, results = list(found), []
    for source in sources:  # which may be given twice
        number = next((number for number, (one, _) in enumerate(left) if one is source), None)
        if number is not None:
            results.append(left.pop(number)[1])
    return results


def without_unreadable(
    inputs: Inputs, work: Callable[[Inputs], list[tuple[Source, Result]]]
) -> list[tuple[Source, Result]]:
    """Work on the inputs; if it fails, again without those whose pixels cannot all be read, if these are collected."""
    try:
        return work(inputs)
    except UserError:
        readable = inputs if inputs.failed is None else inputs.usable(read_completely)
        if len(readable.sources) == len(inputs.sources):
            raise
        return work(readable)


def allot(parts: Sequence[Inputs], budget: str | float | None, started: float) -> Iterator[float]:
    """For each group of images, its share by pixels of the seconds that are left of the budget; a tenth at least."""
    seconds = parse_budget(budget) or DEFAULT_BUDGET
    pixels = [sum(prod(source.shape) for source in part.sources) for part in parts]
    for number in range(len(parts)):
        left = max(seconds - (time.perf_counter() - started), 0.1 * seconds)
        yield left * pixels[number] / max(sum(pixels[number:]), 1)


def like_most(sources: Sequence[Source]) -> Callable[[Source], None]:
    """A check that an image has as many channels as most others, so that one model denoises them."""
    most = max(Counter(source.size_of("C") for source in sources).items(), key=lambda pair: pair[1], default=(1, 0))[0]

    def check(source: Source) -> None:
        if source.size_of("C") != most:
            raise UserError(
                f"{source.path or source.name}: has {counted(source.size_of('C'), 'channel')}, the others have {most}; "
                f"denoise them separately"
            )

    return check


def finish(
    model: Model, inputs: Inputs, write: WriteOptions, average: bool, checkup: NoiseReport | None, seed: int,
    report: Report,
) -> list[tuple[Source, Result]]:  # fmt: skip
    """Predict all inputs. Errors: `Interrupted` if the training was interrupted, or this is."""
    if not model.train_state.finished:
        raise Interrupted(model)
    try:
        model.notes = model.notes + consistency_warnings(model, inputs.sources[0], checkup)
        posteriors = model.predict_all(inputs, write, average, seed, report)
    except KeyboardInterrupt:
        raise Interrupted(model) from None
    paths: Sequence[Path | None] = inputs.outputs or [None] * len(inputs.sources)
    notes = inputs.notes + model.notes
    return [
        (source, Result(one, model, checkup, notes, path))
        for source, one, path in zip(inputs.sources, posteriors, paths, strict=True)
        if one is not None
    ]


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
    excluded = Excluded.taken_from(options)
    method = make_method(method, options)
    check_settings(axes=axes, budget=budget, steps=steps, seed=seed, device=device)
    noisy, targets = images_of(images, axes, series, excluded), images_of(target, axes, series)
    if resume is not None:
        refuse_named_scenes(method, resume.method)
    if resume is not None and not resume.train_state.steps:
        resume = None  # interrupted before its length was measured: a few steps, taken again
    checkup = check_up(noisy) if method.traits.needs == "noisy" else None
    if resume is not None:
        noise_models = resume.noise_models
    else:
        noise_models = find_noise_models(method, noisy, noise, from_first_pass(noisy, seed, device), checkup)
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


def from_first_pass(sources: Sequence[Source], seed: int, device: str) -> Callable[[], list[Noise]]:
    """Makes a noise model for each channel from the first image and its result with a short Noise2Void."""

    def noise_models() -> list[Noise]:
        training = Training(methods.get("n2v")(), sources, seed=seed, device=device)
        model = training.run(steps=FIRST_PASS_STEPS)
        # Tiles of a fixed size, so that not even rounding depends on the free memory.
        signal = model.posterior(sources[0], tile=FIRST_PASS_TILE[model.spec.dims]).mean
        layout = Layout(sources[0].axes, "YX")
        noisy, denoised = (layout.to_network(image) for image in (sources[0].read(), signal))
        found = [bootstrap(noisy[:, c], denoised[:, c], axes="TYX") for c in range(noisy.shape[1])]
        for noise_model in found:
            noise_model.provenance["first_pass_steps"] = FIRST_PASS_STEPS
        return found

    return noise_models
