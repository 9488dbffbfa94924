"""A trained model: a method and its network, to be run over images, saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from noisewise.axes import Array, Layout, Region
from noisewise.errors import UserError, check_seed, counted
from noisewise.io import checksum, companions, open_source
from noisewise.io.animation import write_animation
from noisewise.io.base import Sink, Source
from noisewise.io.files import user_path
from noisewise.io.inputs import Inputs, open_inputs, refuse_none
from noisewise.io.memory import MemorySink
from noisewise.io.selection import Selection
from noisewise.io.stacked import stacked
from noisewise.io.write import WriteOptions
from noisewise.methods.base import Denoiser, ImageSpec, Method
from noisewise.nets.planes import PlanesUNet
from noisewise.noise.base import Noise
from noisewise.posterior import MODE, Labelled, Normal, Point, Posterior, Sampled, choose_medoids
from noisewise.predict.device import arranged, pick_device
from noisewise.predict.file_posterior import FilePosterior
from noisewise.predict.outputs import Outputs, Samples
from noisewise.predict.run import Predictor
from noisewise.progress import Report, Stage, showing
from noisewise.train.modelfile import SavedModel, read_model, write_model
from noisewise.train.state import TrainState


@dataclass
class Model:
    """A method, its network (weights, normalisation, noise models), and how it was made.

    method: the settings. spec: the images that the network is for. net: the network and all of its state.
    provenance: how the model was made, as JSON values: version, method, seed, names of the training images, number of
    threads and steps, recalibration of the standard deviations. train_state: steps and losses of the training, and what
    is needed to continue an unfinished one. notes: messages about the training images and the training; not part of the
    file.
    """

    method: Method
    spec: ImageSpec
    net: Denoiser
    provenance: dict[str, Any]
    train_state: TrainState
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        state, channels = self.train_state, counted(self.spec.channels, "channel")
        noise_models = ", ".join(type(noise_model).__name__ for noise_model in self.noise_models)
        images = ", ".join(map(str, self.provenance.get("trained_on", [])[:3]))
        return (
            f"<Model: {self.provenance.get('method', type(self.method).__name__)}\n"
            f"  images: {self.spec.spatial}, {channels}; trained on {images or 'no image'}\n"
            f"  training: {state.step} of {counted(state.steps, 'step')}{'' if state.finished else ', not finished'}\n"
            f"  noise model: {noise_models or 'none'}>"
        )

    @overload
    def predict(self, image: list[Any] | tuple[Any, ...], **options: Any) -> list[Posterior[Array]]: ...

    @overload
    def predict(self, image: Any, **options: Any) -> Posterior[Array]: ...

    def predict(
        self, image: Any, *, output: Any = None, axes: str | None = None, seed: int = 0, report: Report | None = None,
        **options: Any,
    ) -> Posterior[Array] | list[Posterior[Array]]:  # fmt: skip
        """p(s|x) of an image: arrays of its shape, float32, in its units; of several images, a list.

        image: a path, an array (NumPy, dask, zarr, xarray), a list of these, a folder, or a pattern such as "*.tif". Of
        an xarray.DataArray the dimensions give the axes, and the results have its dimensions, coordinates and name.
        output: a file (or folder) to write to, tile by tile, with all metadata of the input; nothing is then held in
        memory, and the result is read from the file when it is needed. axes: letters from `STCZYX`, one per dimension,
        if the images do not give them or they are wrong. seed: of samples that are written. report: called with the
        progress after each tile (`Stage`; default: a line in a terminal or notebook); what it raises stops the work,
        and leaves no output half written. options: fields of `WriteOptions`, such as average=False, std=True,
        samples=8, overwrite=True; series, the number of the image in a file that contains several (default: all of
        them, and a list as result); failed, a dictionary that collects inputs that cannot be used, with the reason: the
        others are denoised; the fields of `Selection` (channels, frames, planes, ignore, mask).

        Errors: `UserError` if an image does not fit the model, or cannot be read or written.
        """
        series, failed = options.pop("series", None), options.pop("failed", None)
        selection = Selection.taken_from(options)
        write, unknown = WriteOptions.split_from(options)
        if unknown:
            raise UserError(f"predict has no option '{next(iter(unknown))}'; it has: {', '.join(asdict(write))}")
        write.check()
        check_seed(seed)
        opening = open_inputs(image, axes, output, write, series=series, failed=failed, selection=selection)
        with opening as opened, showing(report) as shown:
            inputs = opened.usable(self.layout_for)
            write.refuse_early(inputs.files())
            found = self.predict_all(inputs, write, write.averages(inputs.sources), seed, shown)
            if notes := inputs.all_notes():
                shown(Stage("notes", 1.0, notes=notes))
            results = [one for one in found if one is not None]
        return results if inputs.several or not results else results[0]

    def predict_all(
        self, inputs: Inputs, write: WriteOptions, average: bool, seed: int, report: Report
    ) -> list[Posterior[Array] | None]:
        """p(s|x) of all inputs, in memory or in their files; one after the other, each streamed tile by tile.

        inputs: opened images and their output files. average: test-time augmentation. seed: of samples that are
        written. report: called with the progress of all images together. None stands for images of a file that could
        not be used, where `inputs` collects these. Errors: `UserError`, as `predict`.
        """
        total, done = sum(prod(source.shape) for source in inputs.sources), 0
        found: list[Posterior[Array] | None] = []
        for path, images in inputs.files():
            results: list[Posterior[Array]] = []

            def work(path=path, images=images, results=results, done=done) -> None:  # type: ignore[no-untyped-def]
                def progress(pixels: float) -> None:
                    report(Stage("predict", (done + pixels) / total))

                if path is not None:
                    results.extend(self.write(images, path, write, average, seed, progress))
                    for source in images:
                        source.release()
                    return
                (source,) = images
                part = scaled(progress, 0, source)
                results.append(self.posterior(source, average=average, tile=write.tile_size, report=part))

            found += results if inputs.attempt(images, work) else [None] * len(images)
            done += sum(prod(source.shape) for source in images)
        pairs = list(zip(inputs.sources, found, strict=True))
        refuse_none([source for source, one in pairs if one], inputs.failed)
        return [Labelled(one, source.labelled) if one and source.has_labels else one for source, one in pairs]

    def posterior(
        self, source: Source, *, average: bool = False, tile: int | None = None,
        report: Callable[[float], None] = lambda _: None,
    ) -> Posterior[Array]:  # fmt: skip
        """p(s|x) of a source, in memory: `Sampled`, `Normal` or `Point`, by what the method gives.

        average: test-time augmentation, the mean over 8 flips and rotations. tile: pixels along each spatial axis of a
        tile; None: what fits into memory. report: gets the fraction done. Errors: `UserError` as `layout_for`.
        """
        traits = self.method.traits
        mean = MemorySink(source.shape, np.float32)
        std = MemorySink(source.shape, np.float32) if traits.std else None
        self.predict_to(source, Outputs(mean, std), average=average, tile=tile, report=report)
        source.check_unchanged()
        if std is None:
            return Point(mean.array)
        if not traits.samples:
            return Normal(mean.array, std.array)
        return Sampled(mean.array, std.array, lambda numbers, seed: self.draw(source, numbers, seed))

    def draw(self, source: Source, numbers: Sequence[int], seed: int = 0) -> Array:
        """Samples of p(s|x) of a source, in memory: (len(numbers), *image), float32, image units.

        numbers: of the samples; a sample is a function of its number and the seed. Errors: `UserError` as `layout_for`;
        `ValueError` if the method gives no samples.
        """
        sink = MemorySink((len(numbers), *source.shape), np.float32)
        samples = Samples(numbers, seed, sink, lambda region, number: (slice(number, number + 1), *region))
        self.predict_to(source, Outputs(samples=samples))
        return sink.array

    def write(
        self, sources: Sequence[Source], path: Path, write: WriteOptions, average: bool = False, seed: int = 0,
        report: Callable[[float], None] = lambda _: None,
    ) -> list[Posterior[Array]]:  # fmt: skip
        """Denoise the images of a file into its output files, tile by tile; the results read from them.

        path: the output file; further files are named after it. write: what is written. average: test-time
        augmentation. seed: of samples. report: gets the number of pixels done.

        Errors: `UserError` if an image does not fit the model, or a file cannot be written.
        """
        sums = {path: checksum(path) for path in {source.path for source in sources if source.path is not None}}
        records = [self.record_for(source, write, average, seed, sums) for source in sources]
        with ExitStack() as opened:
            sinks: dict[str, list[Sink]] = {}
            for name, ones in write.sinks(path, sources, records):
                sinks[name] = [opened.enter_context(sink) for sink in ones]
            for number, source in enumerate(sources):
                mine = {name: ones[number] for name, ones in sinks.items()}
                before = sum(prod(other.shape) for other in sources[:number])
                self._write_image(source, mine, write, average, seed, scaled(report, before, source))
        series = list(range(len(sources))) if len(sources) > 1 else [None]
        if write.gif:
            stack = stacked(sources[0], write.kept)
            with open_source(companions(path)["samples"], series=series[0]) as drawn:
                drawn.axes = stack.axes
                write_animation(companions(path)["gif"], drawn, stack, write.overwrite)
        std = write.beside(path).get("std")
        return [
            FilePosterior(path, std, partial(self.draw, source) if self.method.traits.samples else None, number)
            for source, number in zip(sources, series, strict=True)
        ]

    def _write_image(
        self, source: Source, sinks: dict[str, Sink], write: WriteOptions, average: bool, seed: int,
        report: Callable[[float], None],
    ) -> None:  # fmt: skip
        """Denoise a source into its sinks, by name."""
        samples = None
        if write.samples:
            numbers, place = self._numbers(source, write, seed), stacked(source, write.kept).place
            samples = Samples(numbers, seed, sinks["samples"], place)
        outputs = Outputs(sinks["mean"], sinks.get("std"), samples)
        self.predict_to(source, outputs, average=average, tile=write.tile_size, report=report)
        if write.mode:
            mode = Samples([MODE], seed, sinks["mode"], same_region)
            self.predict_to(source, Outputs(samples=mode), tile=write.tile_size)
        source.check_unchanged()

    def _numbers(self, source: Source, write: WriteOptions, seed: int) -> Sequence[int]:
        """Which samples are written: all, or some that represent the others."""
        if not write.diverse:
            return range(write.samples)
        return choose_medoids(write.diverse, write.samples, lambda numbers: self.draw(source, numbers, seed))

    def predict_to(
        self, source: Source, outputs: Outputs, *, average: bool = False, tile: int | None = None,
        report: Callable[[float], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """Denoise a source into sinks, tile by tile.

        outputs: sinks in the axes of the source. average, tile, report: as for `posterior`. Errors: `UserError` as
        `layout_for`, or if memory is too small for the smallest tile.
        """
        layout = self.layout_for(source)
        sides = None if tile is None else (tile,) * self.spec.dims
        sampling = outputs.samples is not None
        predictor = Predictor(self.method, self.net, tile=sides, average=average, sampling=sampling)
        predictor.predict_to(source, layout, outputs, report)

    @property
    def noise_models(self) -> tuple[Noise, ...]:
        """The noise models that the method was given: none, one, or one per channel."""
        return self.net.noise

    def layout_for(self, source: Source) -> Layout:
        """How this image is presented to the network: which of its axes are spatial, channel and batch axes.

        Errors: `UserError` if its axes or number of channels do not fit the model, or it is larger than the pixel maps
        of a noise model.
        """
        by_plane = self.method.traits.neighbours or isinstance(self.net.backbone, PlanesUNet)
        needed = "YX" if by_plane else self.spec.spatial
        missing = [axis for axis in needed if axis not in source.axes]
        if missing:
            raise UserError(
                f"{source.name}: the model is for {self.spec.spatial} images, this one has axes "
                f"{source.axes}; give axes if they are wrong, or train a model for it"
            )
        if source.size_of("C") != self.spec.channels:
            raise UserError(
                f"{source.name}: has {counted(source.size_of('C'), 'channel')}, the model is for {self.spec.channels}; "
                f"give axes if they are wrong, or train a model for it"
            )
        check_size(source, self.noise_models)
        return Layout(source.axes, self.spec.spatial)

    def record_for(
        self, source: Source, write: WriteOptions, average: bool, seed: int, checksums: Mapping[Path, str]
    ) -> dict[str, Any]:
        """How an output was made, as JSON values: version, method, settings, seed, steps, the input and its checksum.

        write: what is written; of samples also their number and seed. average: whether test-time augmentation is used.
        seed: of samples. checksums: of files.
        """
        record = dict(self.provenance) | {"settings": asdict(self.method), "input": source.name, "averaged": average}
        if source.series is not None:
            record["series"] = source.series
        if source.path is not None:
            record["input_sha256"] = checksums[source.path]
        if write.samples:
            record |= {"samples": write.samples, "samples_kept": write.kept, "samples_seed": seed}
        return record

    def save(self, path: str | Path) -> None:
        """Write one portable file (safetensors). Errors: `UserError` if it cannot be written."""
        write_model(user_path(path), SavedModel(self.method, self.spec, self.net, self.provenance, self.train_state))

    def to(self, device: torch.device) -> Model:
        """Move the network to a device; returns this model."""
        self.net = arranged(self.net, device)
        return self


def load(path: str | Path, device: str = "auto") -> Model:
    """Read a model file.

    path: the file. device: where to run the model: `cpu`, `cuda`, `mps`, or `auto`: an accelerator if there is one and
    the model has no noise model, otherwise the processor.

    Errors: `UserError` if the file is not a model, or was damaged or edited, or if the device is not available.
    """
    saved = read_model(user_path(path))
    model = Model(saved.method, saved.spec, saved.net, saved.provenance, saved.train_state)
    return model.to(pick_device(device, model.noise_models))


def scaled(report: Callable[[float], None], before: int, source: Source) -> Callable[[float], None]:
    """Report pixels done, from the fraction of an image that is done; before: pixels of earlier images."""
    return lambda fraction: report(before + fraction * prod(source.shape))


def same_region(region: Region, number: int) -> Region:  # noqa: ARG001
    """Where a single sample is written."""
    return region


def check_size(source: Source, noise_models: Sequence[Noise]) -> None:
    """Errors: `UserError` for an image larger than a noise model of single pixels."""
    height, width = source.size_of("Y"), source.size_of("X")
    for size in (model.size for model in noise_models):
        if size is not None and (size[0] < height or size[1] < width):
            raise UserError(
                f"{source.name}: has {height} x {width} pixels, the noise model only {size[0]} x {size[1]}; crop the "
                f"image, or calibrate the part of the sensor that it was taken with"
            )
