"""Many files in, their twins out: one model learns from all of them, each is streamed tile by tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from noisewise import methods
from noisewise.axes import Region
from noisewise.budget import training_seconds
from noisewise.denoise import (
    bootstrapping,
    check_up,
    choose_average,
    choose_method,
    make_method,
    open_all,
    provenance,
    run_training,
    watched,
)  # fmt: skip
from noisewise.errors import UserError
from noisewise.io import animation_output, create_sink, mode_output, open_source, samples_output, std_output
from noisewise.io.animation import write_animation
from noisewise.io.base import Sink, Source
from noisewise.io.paths import Draft
from noisewise.io.stacked import stacked
from noisewise.laws import find_laws
from noisewise.methods.base import Method
from noisewise.model import Model, Training
from noisewise.posterior import LIKELIEST, standing_for_all
from noisewise.predict.run import NO_SAMPLES, NO_STD, Samples
from noisewise.progress import Report, Stage, quiet


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How twins are predicted and written; tile: its side in pixels, or None for what fits.

    std: also write the standard deviation of each pixel. samples: also write so many draws from the posterior; diverse:
    only so many of them, which stand for the rest; gif: as a film too. mode: also write the likeliest image.
    """

    average: bool = False
    tile: int | None = None
    as_float: bool = False
    overwrite: bool = False
    std: bool = False
    samples: int = 0
    diverse: int = 0
    gif: bool = False
    mode: bool = False

    @property
    def kept(self) -> int:
        """Samples that are written."""
        return self.diverse or self.samples

    def sinks(self, path: Path, source: Source, record: dict[str, Any] | None = None) -> Iterator[tuple[str, Sink]]:
        """Where the twin of a source goes, and what else is wanted of it, by name. Errors: `UserError`."""
        kind = np.float32 if self.as_float else None
        yield "mean", create_sink(path, source, kind, record, overwrite=self.overwrite)
        if self.std:
            yield "std", create_sink(std_output(path), source, np.float32, record, overwrite=self.overwrite)
        if self.mode:
            yield "mode", create_sink(mode_output(path), source, kind, record, overwrite=self.overwrite)
        if self.samples:
            like = stacked(source, self.kept)
            yield "samples", create_sink(samples_output(path), like, kind, record, overwrite=self.overwrite)

    def refuse_early(self, method: Method, sources: Sequence[Source], outputs: Sequence[Path]) -> None:
        """Find out before the work, not after it, what cannot be written. Errors: `UserError`."""
        if self.std and not method.gives_std:
            raise UserError(NO_STD.format(methods.name_of(method)))
        if (self.samples or self.mode) and not method.gives_samples:
            others = " or ".join(name for name in methods.modules() if methods.get(name)().gives_samples)
            raise UserError(NO_SAMPLES.format(methods.name_of(method), others))
        for source, path in zip(sources, outputs, strict=True):
            for _, sink in self.sinks(path, source):
                sink.discard()
            if self.gif:
                Draft(animation_output(path), self.overwrite).discard()


PLAIN = Writing()


def denoise_files(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    *,
    method: str | Method = "auto",
    targets: Sequence[Path] = (),
    noise: Sequence[Path] = (),
    axes: str | None = None,
    budget: str | float | None = None,
    steps: int | None = None,
    average: bool | None = None,
    writing: Writing = PLAIN,
    seed: int = 0,
    device: str = "auto",
    trained: Callable[[Model], None] = lambda _: None,
    report: Report = quiet,
) -> Model:
    """Denoise files into their twins: one model learns from all of them, each is then streamed tile by tile.

    trained: called with the model before the first output is written. If Ctrl-C ended the training (then the
    model's `run.finished` is False) nothing is written.

    Errors: `UserError` for an image or settings that cannot be used.
    """
    started = time.perf_counter()
    sources = open_all(list(inputs), axes)
    checkup = check_up(sources[0]) if method == "auto" else None
    method = make_method(choose_method(method, checkup, noise, writing.std, writing.samples > 0 or writing.mode), {})
    average = choose_average(average, sources, budget)
    writing = replace(writing, average=average)
    writing.refuse_early(method, sources, outputs)
    checkup = checkup or check_up(sources[0])
    laws = find_laws(method, sources, list(noise) or None, bootstrapping(sources, seed, device), checkup)
    given = open_all(list(targets), axes)
    training = Training(method, sources, given, laws=laws, checkup=checkup, seed=seed, device=device)
    seconds = training_seconds(training, sources, budget, steps, average, started)
    model = run_training(training, seconds=seconds, steps=steps, report=report)
    trained(model)  # first of all: whatever ends the rest, the model is kept
    if model.run.finished:
        model.notes = model.notes + watched(model, sources[0], checkup)
        write_twins(model, sources, outputs, writing, report, seed)
    return model


def predict_files(
    model: Model,
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    *,
    axes: str | None = None,
    average: bool | None = None,
    writing: Writing = PLAIN,
    seed: int = 0,
    report: Report = quiet,
) -> list[str]:
    """Denoise files into their twins with a trained model; returns what was noticed.

    Errors: `UserError` for an image that does not fit the model or cannot be used.
    """
    sources = open_all(list(inputs), axes)
    for source in sources:
        model.layout_for(source)
    writing = replace(writing, average=choose_average(average, sources))
    writing.refuse_early(model.method, sources, outputs)
    write_twins(model, sources, outputs, writing, report, seed)
    return [note for source in sources for note in source.notes]


def write_twins(
    model: Model, sources: Sequence[Source], outputs: Sequence[Path], writing: Writing, report: Report, seed: int = 0
) -> None:
    """Stream each source through the model into its file: no image is ever held whole. seed: of samples."""
    pixels = [prod(source.shape) for source in sources]
    tile = None if writing.tile is None else (writing.tile,) * model.spec.dims
    for i, (source, path) in enumerate(zip(sources, outputs, strict=True)):

        def tell(fraction: float, done: int = sum(pixels[:i]), size: int = pixels[i]) -> None:
            report(Stage("predict", (done + fraction * size) / sum(pixels)))

        record = provenance(model, source, writing.average)
        if writing.samples:
            record |= {"samples": writing.samples, "samples_kept": writing.kept, "samples_seed": seed}
        with ExitStack() as opened:
            sinks = {name: opened.enter_context(sink) for name, sink in writing.sinks(path, source, record)}
            samples = None
            if writing.samples:
                place = stacked(source, writing.kept).place
                samples = Samples(numbers_of(model, source, writing, seed), seed, sinks["samples"], place)
            model.run_over(
                source, sinks["mean"], average=writing.average, tile=tile, report=tell, std=sinks.get("std"),
                samples=samples,
            )  # fmt: skip
            if writing.mode:
                model.run_over(source, None, tile=tile, samples=Samples([LIKELIEST], seed, sinks["mode"], alone))
        if writing.gif:
            stack = stacked(source, writing.kept)
            with open_source(samples_output(path), stack.axes) as drawn:
                write_animation(animation_output(path), drawn, stack, writing.overwrite)


def numbers_of(model: Model, source: Source, writing: Writing, seed: int) -> Sequence[int]:
    """Which samples are written: all, or some that stand for all."""
    if not writing.diverse:
        return range(writing.samples)
    return standing_for_all(writing.diverse, writing.samples, lambda numbers: model.draw(source, numbers, seed))


def alone(region: Region, number: int) -> Region:  # noqa: ARG001
    """A single sample lies where the image does."""
    return region
