"""Many files in, their twins out: one model learns from all of them, each is streamed tile by tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from noisewise.budget import training_seconds
from noisewise.denoise import (
    Report,
    Stage,
    check_up,
    choose_average,
    doubts,
    make_method,
    open_all,
    provenance,
    quiet,
    refuse_early,
    run_training,
)  # fmt: skip
from noisewise.io import create_sink
from noisewise.io.base import Source
from noisewise.methods.base import Method
from noisewise.model import Model, Training


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How twins are predicted and written; tile: its side in pixels, or None for what fits."""

    average: bool = False
    tile: int | None = None
    as_float: bool = False
    overwrite: bool = False


def denoise_files(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    *,
    method: str | Method = "auto",
    targets: Sequence[Path] = (),
    axes: str | None = None,
    budget: str | float | None = None,
    steps: int | None = None,
    average: bool | None = None,
    tile: int | None = None,
    as_float: bool = False,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    trained: Callable[[Model], None] = lambda _: None,
    report: Report = quiet,
) -> Model:
    """Denoise files into their twins: one model learns from all of them, each is then streamed tile by tile.

    trained: called with the model before the first output is written. If Ctrl-C ended the training (then the
    model's `run.finished` is False) nothing is written.

    Errors: `UserError` for an image or settings that cannot be used.
    """
    started = time.perf_counter()
    method = make_method(method, {})
    sources = open_all(list(inputs), axes)
    for source, path in zip(sources, outputs, strict=True):
        refuse_early(path, source, as_float=as_float, overwrite=overwrite)
    average = choose_average(average, sources)
    checkup = check_up(sources[0])
    training = Training(method, sources, open_all(list(targets), axes), seed=seed, device=device)
    seconds = training_seconds(training, sources, budget, steps, average, started)
    model = run_training(training, seconds=seconds, steps=steps, report=report)
    model.notes = model.notes + doubts(method, checkup)
    trained(model)
    if model.run.finished:
        writing = Writing(average=average, tile=tile, as_float=as_float, overwrite=overwrite)
        write_twins(model, sources, outputs, writing, report)
    return model


def predict_files(
    model: Model,
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    *,
    axes: str | None = None,
    average: bool | None = None,
    tile: int | None = None,
    as_float: bool = False,
    overwrite: bool = False,
    report: Report = quiet,
) -> list[str]:
    """Denoise files into their twins with a trained model; returns what was noticed.

    Errors: `UserError` for an image that does not fit the model or cannot be used.
    """
    sources = open_all(list(inputs), axes)
    for source, path in zip(sources, outputs, strict=True):
        model.layout_for(source)
        refuse_early(path, source, as_float=as_float, overwrite=overwrite)
    writing = Writing(average=choose_average(average, sources), tile=tile, as_float=as_float, overwrite=overwrite)
    write_twins(model, sources, outputs, writing, report)
    return [note for source in sources for note in source.notes]


def write_twins(
    model: Model, sources: Sequence[Source], outputs: Sequence[Path], writing: Writing, report: Report
) -> None:
    """Stream each source through the model into its file: no image is ever held whole."""
    pixels = [prod(source.shape) for source in sources]
    tile = None if writing.tile is None else (writing.tile,) * model.spec.dims
    for i, (source, path) in enumerate(zip(sources, outputs, strict=True)):

        def tell(fraction: float, done: int = sum(pixels[:i]), size: int = pixels[i]) -> None:
            report(Stage("predict", (done + fraction * size) / sum(pixels)))

        record = provenance(model, source, writing.average)
        kind = np.float32 if writing.as_float else None
        with create_sink(path, source, kind, record, overwrite=writing.overwrite) as sink:
            model.run_over(source, sink, average=writing.average, tile=tile, report=tell)
