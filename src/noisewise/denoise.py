"""The story in one file: open, train on the noisy image itself, predict, write its twin."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any

from noisewise import methods
from noisewise.axes import Array, Layout
from noisewise.budget import parse_budget, training_seconds
from noisewise.errors import UserError
from noisewise.evaluate.trust import trust
from noisewise.io import checksum, create_sink, open_source
from noisewise.io.base import Source
from noisewise.laws import find_laws
from noisewise.methods.base import Method
from noisewise.model import Model, Training
from noisewise.noise.base import Noise
from noisewise.noise.bootstrap import bootstrap
from noisewise.noise.checkup import CheckUp
from noisewise.noise.measure import measure
from noisewise.posterior import Posterior
from noisewise.progress import Progress, Report, Stage, quiet
from noisewise.refine import denoiser, planes_of

BOOTSTRAP_STEPS = 300
AVERAGED_PIXELS = 4_000_000  # up to here the eight-fold average costs seconds, and is taken
HURRY = 20.0  # seconds of budget, below which it is not


@dataclass
class Result:
    """What `denoise` returns: the posterior of each pixel, the trained model, the check-up, what was noticed.

    checkup: what was measured of the noise before (of the first channel); None where there was nothing to measure.
    """

    posterior: Posterior[Array]
    model: Model
    checkup: CheckUp | None = None
    notes: list[str] = field(default_factory=list)
    path: Path | None = None

    @property
    def mean(self) -> Array:
        """The denoised image: float32, shape and axes of the input, its units."""
        return self.posterior.mean

    @property
    def std(self) -> Array | None:
        """Standard deviation of each pixel, or None where the method gives only the mean."""
        return self.posterior.std


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
    resume: Model | None = None,
    report: Report = quiet,
    **settings: Any,
) -> Model:
    """Train a method on one image or several (paths or arrays); settings are the method's fields.

    target: as many images, for methods that need them. noise: a noise model (file or `Noise`), or one a channel, for
    methods that use it; measured in the images if there is none. budget: how long to train, seconds or "10 min"; the
    number of steps is then measured and kept in `model.provenance`, and `steps` with `seed` repeats the run.
    output: a model file, written every minute and at the end; an unfinished one, loaded as `resume`, goes on.

    Errors: `UserError` for images or settings that cannot be used.
    """
    method = make_method(method, settings)
    noisy, targets = open_all(images, axes), open_all(target, axes)
    if resume is not None and not resume.run.steps:
        resume = None  # interrupted before its length was measured: a few steps, taken again
    checkup = check_up(noisy[0]) if method.needs == "noisy" else None
    if resume is not None:
        laws = resume.laws
    else:
        laws = find_laws(method, noisy, noise, bootstrapping(noisy, seed, device), checkup)
    training = Training(method, noisy, targets, laws=laws, checkup=checkup, seed=seed, device=device, resume=resume)
    return run_training(training, seconds=parse_budget(budget), steps=steps, report=report, output=output)


def denoise(
    image: Any,
    *,
    output: str | Path | None = None,
    method: str | Method = "auto",
    target: Any = None,
    noise: Any = None,
    axes: str | None = None,
    budget: str | float | None = None,
    steps: int | None = None,
    average: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    report: Report = quiet,
    **settings: Any,
) -> Result:
    """Denoise one image (path, NumPy, dask, zarr, xarray), learning from it alone.

    noise: a noise model for methods that use one; measured in the image if there is none.
    budget: how long to take, training and prediction together (default 60 s). average: mean over the eight
    flips and turns; by default up to 4 million pixels, unless time is short. output: also write the twin of the input
    file there.

    Errors: `UserError` for an image or settings that cannot be used.
    """
    started = time.perf_counter()
    source, targets = open_source(image, axes), open_all(target, axes)
    if output is not None:
        # What cannot be written is found out before the work.
        create_sink(output, source, overwrite=overwrite).discard()
    checkup = check_up(source)
    method = make_method(choose_method(method, checkup, noise), settings)
    average = choose_average(average, [source], budget)
    laws = find_laws(method, [source], noise, bootstrapping([source], seed, device), checkup)
    training = Training(method, [source], targets, laws=laws, checkup=checkup, seed=seed, device=device)
    seconds = training_seconds(training, [source], budget, steps, average, started)
    model = run_training(training, seconds=seconds, steps=steps, report=report)
    posterior = model.posterior(source, average=average, report=lambda f: report(Stage("predict", f)))
    if output is not None:
        record = provenance(model, source, average)
        with create_sink(output, source, provenance=record, overwrite=overwrite) as file:
            file.write(source.everything, posterior.mean)
    notes = model.notes + watched(model, source, checkup)
    return Result(posterior, model, checkup, notes, None if output is None else Path(output))


def check_up(source: Source) -> CheckUp | None:
    """What is to be known of the noise before it is removed; None where it cannot be measured."""
    try:
        return measure(source)
    except UserError:  # too small, constant, saturated: for the check-up no reason to refuse the image
        return None


def choose_method(
    asked: str | Method, checkup: CheckUp | None, noise: Any = None, std: bool = False, samples: bool = False
) -> str | Method:
    """What is asked for; for `auto` simulated, where the law of the noise is known, else n2v, which needs none.

    std, samples: whether these are wanted.
    """
    if asked != "auto":
        return asked
    if samples:
        return "hdn"
    if noise or (checkup is not None and checkup.kind in methods.get("simulated")().removes):
        return "simulated"
    return "pn2v" if std else "n2v"


def watched(model: Model, source: Source, checkup: CheckUp | None) -> list[str]:
    """Notes on what a model with a prior may have invented, or lost, in an image: see `Trust`."""
    learned = model.method.starts_from_prior and not model.method.made_of_samples
    if checkup is None or not learned or model.spec.dims != 2 or model.spec.channels != 1:
        return []
    planes, counts = planes_of(source, checkup, 0)
    return trust(planes, model.laws[0], denoiser(model.method, model.net), usable=counts).doubts


def bootstrapping(sources: Sequence[Source], seed: int, device: str) -> Callable[[], list[Noise]]:
    """Makes the law of each channel from the first image and its twin, which a short Noise2Void denoises."""

    def laws() -> list[Noise]:
        training = Training(make_method("n2v", {}), sources, seed=seed, device=device)
        twin = training.run(steps=BOOTSTRAP_STEPS).posterior(sources[0]).mean
        layout = Layout(sources[0].axes, "YX")
        noisy, denoised = (layout.to_network(image) for image in (sources[0].read(), twin))
        return [bootstrap(noisy[:, c], denoised[:, c], axes="TYX") for c in range(noisy.shape[1])]

    return laws


def run_training(
    training: Training, *, seconds: float | None, steps: int | None, report: Report,
    output: str | Path | None = None,
) -> Model:  # fmt: skip
    """Run a prepared training, report what is to be known before and its progress, and keep its model file."""

    def tell(progress: Progress) -> None:
        fraction = progress.step / progress.steps if progress.steps else 0.0
        report(Stage("train", fraction, progress))

    if training.notes:
        report(Stage("notes", 0.0, notes=training.notes))
    return training.run(steps=steps, seconds=seconds, report=tell, output=output)


def choose_average(asked: bool | None, sources: Sequence[Source], budget: str | float | None = None) -> bool:
    """Eight-fold averaging as asked, or by default where it costs little."""
    small = sum(prod(source.shape) for source in sources) <= AVERAGED_PIXELS
    return small and (parse_budget(budget) or HURRY) >= HURRY if asked is None else asked


def provenance(model: Model, source: Source, average: bool) -> dict[str, Any]:
    """How an output was made: version, method, settings, seed, steps, the input and its checksum."""
    record = dict(model.provenance) | {
        "settings": asdict(model.method),
        "input": source.name,
        "averaged": average,
    }
    if source.path is not None:
        record["input_sha256"] = checksum(source.path)
    return record


def make_method(method: str | Method, settings: dict[str, Any]) -> Method:
    """A method object from its name and settings. Errors: `UserError` for unknown names or wrong values."""
    from pydantic import TypeAdapter, ValidationError

    if isinstance(method, Method):
        kind, settings = type(method), asdict(method) | settings
    else:
        kind = methods.get(method)
    known = [field.name for field in fields(kind)]
    unknown = set(settings) - set(known)
    if unknown:
        raise UserError(f"{kind.__name__} has no setting '{sorted(unknown)[0]}'; it has: {', '.join(known)}")
    try:
        return TypeAdapter(kind).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"setting '{'.'.join(map(str, first['loc']))}': {first['msg']}") from error


def open_all(images: Any, axes: str | None) -> list[Source]:
    """Sources of one image, several, or none."""
    several = images if isinstance(images, list | tuple) else [] if images is None else [images]
    return [open_source(image, axes) for image in several]
