"""A trained model: a method and its network, ready to be trained on, run over images, saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

import noisewise
from noisewise import methods
from noisewise.axes import Array, Layout
from noisewise.data.patches import PatchSource
from noisewise.data.repeats import pairs_of
from noisewise.data.scene import Scene
from noisewise.errors import UserError
from noisewise.io import open_source
from noisewise.io.base import Sink, Source
from noisewise.io.memory import MemorySink
from noisewise.methods.base import ImageSpec, Method
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.checkup import CheckUp
from noisewise.noise.fitting import misfit
from noisewise.posterior import Normal, Point, Posterior, Sampled
from noisewise.predict.memory import free_bytes, keep_pages
from noisewise.predict.run import Predictor, Samples
from noisewise.progress import Progress
from noisewise.spread import reliabilities, respread
from noisewise.train.loop import Run, fit
from noisewise.train.modelfile import Saved, read_model, write_model

TRAINING_SHARE = 0.4  # of the free memory, for images that training holds
WORTH_TRAINING = 8.0  # seconds, below which a network that starts from a prior is left as it is
CHECKED = 8  # batches of patches, on which standard deviations are held against errors
UNKNOWN_Z_SPACING = 3.0  # times the pixel size, where the file does not say


@dataclass
class Model:
    """A method, its network (weights, normalisation, noise model), and how it came about.

    notes: what was noticed in the images it learned from; not part of the file.
    """

    method: Method
    spec: ImageSpec
    net: Standardized
    provenance: dict[str, Any]
    run: Run
    notes: list[str] = field(default_factory=list)

    def predict(self, image: Any, *, axes: str | None = None, average: bool = False) -> Posterior[Array]:
        """p(s|x) of an image (path, NumPy, dask, zarr, xarray): arrays of its shape, float32, in its units.

        average: mean over the eight flips and turns (eight times the time).

        Errors: `UserError` if the image does not fit the model.
        """
        return self.posterior(open_source(image, axes), average=average)

    def posterior(
        self, source: Source, *, average: bool = False, report: Callable[[float], None] = lambda _: None
    ) -> Posterior[Array]:
        """p(s|x) of a source, in memory."""
        mean = MemorySink(source.shape, np.float32)
        if not self.method.gives_std:
            self.run_over(source, mean, average=average, report=report)
            return Point(mean.array)
        std = MemorySink(source.shape, np.float32)
        self.run_over(source, mean, average=average, report=report, std=std)
        if not self.method.gives_samples:
            return Normal(mean.array, std.array)
        return Sampled(mean.array, std.array, lambda numbers, seed: self.draw(source, numbers, seed))

    def draw(self, source: Source, numbers: Sequence[int], seed: int = 0) -> Array:
        """Samples of p(s|x) of a source, in memory: (len(numbers), *image), float32."""
        sink = MemorySink((len(numbers), *source.shape), np.float32)
        samples = Samples(numbers, seed, sink, lambda region, number: (slice(number, number + 1), *region))
        self.run_over(source, None, samples=samples)
        return sink.array

    def run_over(
        self, source: Source, sink: Sink | None, *, average: bool = False, tile: Sequence[int] | None = None,
        report: Callable[[float], None] = lambda _: None, std: Sink | None = None, samples: Samples | None = None,
    ) -> None:  # fmt: skip
        """Denoise a source into a sink, tile by tile; also its standard deviation, or samples, if there are sinks.

        report: gets the fraction done.
        """
        layout = self.layout_for(source)
        predictor = Predictor(self.method, self.net, tile=tile, average=average, sampling=samples is not None)
        predictor.run(source, layout, sink, report, std, samples)

    @property
    def laws(self) -> tuple[Noise, ...]:
        """The laws of noise that the method was given: none, one, or one a channel."""
        return tuple(self.net.laws)  # type: ignore[arg-type]

    def layout_for(self, source: Source) -> Layout:
        """How this image lies before the network. Errors: `UserError` if it is not of the model's kind."""
        missing = [axis for axis in self.spec.spatial if axis not in source.axes]
        if missing:
            raise UserError(
                f"{source.name}: the model is for {self.spec.spatial} images, this one has axes "
                f"{source.axes}; give --axes if they are wrong, or train a model for it"
            )
        if source.size_of("C") != self.spec.channels:
            raise UserError(
                f"{source.name}: has {source.size_of('C')} channels, the model is for {self.spec.channels}; "
                f"give --axes if they are wrong, or train a model for it"
            )
        check_size(source, self.laws)
        return Layout(source.axes, self.spec.spatial)

    def save(self, path: str | Path) -> None:
        """Write one portable file (safetensors). Errors: `UserError` if the place cannot be written to."""
        write_model(Path(path), Saved(self.method, self.spec, self.net, self.provenance, self.run))

    def to(self, device: torch.device) -> Model:
        """Move the network; the result is this model."""
        self.net = arranged(self.net, device)
        return self


def load(path: str | Path, device: str = "auto") -> Model:
    """Read a model file. Errors: `UserError` if it is not one, or was damaged or edited."""
    saved = read_model(Path(path))
    model = Model(saved.method, saved.spec, saved.net, saved.provenance, saved.run)
    return model.to(pick_device(device, model.laws))


class Training:
    """Everything that is decided before the first step: scenes, patches, network; then `run`."""

    def __init__(
        self, method: Method, noisy: Sequence[Source], targets: Sequence[Source] = (), *,
        laws: Sequence[Noise] = (), checkup: CheckUp | None = None, seed: int = 0, device: str = "auto",
        resume: Model | None = None,
    ) -> None:  # fmt: skip
        if resume is not None:
            check_resumed(resume, noisy)
            method, seed, laws = resume.method, resume.provenance.get("seed", seed), resume.laws
        check_targets(method, noisy, targets)
        self.seed, self.device = seed, pick_device(device, laws)
        spatial = choose_spatial(method, noisy)
        check_channels(noisy)
        for source in noisy:
            check_size(source, laws)
        scenes, pair_notes = make_scenes(method, noisy, targets, spatial)
        dims = len(spatial)
        self.patches = PatchSource(
            scenes, method.patch_shape(dims), method.patches_per_step(dims), seed=seed,
            memory_bytes=TRAINING_SHARE * free_bytes(self.device), device=self.device,
            turned=not method.directional(laws, dims), one_way=method.one_way(laws),
        )  # fmt: skip
        if resume is None:
            spec = make_spec(scenes, spatial, self.patches, same_units=method.needs == "pairs")
            torch.manual_seed(seed)
            self.model = Model(method, spec, method.build(spec, laws), {}, Run()).to(self.device)
        else:
            self.model = resume.to(self.device)
        self.model.provenance = self._provenance(noisy)
        self.notes = [note for source in [*noisy, *targets] for note in source.notes] + pair_notes
        caveats = self.model.method.caveats(self.model.spec, laws)
        self.notes += caveats + self._misfits() + doubts(self.model.method, checkup, dims)
        self.ready = self.model.method.ready_as_built and not caveats  # denoises without any training

    def run(
        self, *, steps: int | None = None, seconds: float | None = None,
        output: str | Path | None = None, report: Callable[[Progress], None] = lambda _: None,
    ) -> Model:  # fmt: skip
        """Train for some steps, or for as many as fit into some seconds; `output` is kept up to date.

        A network that starts from a prior is left as it is for zero steps, or seconds too few to teach it anything.
        """
        model, ready = self.model, self.ready
        if steps is not None and steps < (0 if ready else 1):
            raise UserError(f"{steps} is not a number of training steps; give 1 or more")
        model.run.as_built = ready and (steps == 0 or (seconds is not None and seconds < WORTH_TRAINING))

        def save() -> None:
            model.provenance |= {"steps": model.run.step, "planned_steps": model.run.steps}
            if output is not None:
                model.save(output)

        try:
            fit(
                model.method, model.net, self.patches, steps=steps, seconds=seconds, run=model.run,
                report=report, save=None if output is None else save,
            )  # fmt: skip
            remarks = self._calibrate() + model.method.remarks(model.net)
        finally:
            self.patches.close()
        model.notes = self.notes + self.patches.census.notes() + model.run.notes() + remarks
        save()
        return model

    def _misfits(self) -> list[str]:
        """What is odd about the laws of noise for these images."""
        spec, laws = self.model.spec, self.model.laws
        found = [misfit(*one) for one in zip(cycle(laws), spec.mean, spec.std, strict=False)] if laws else []
        return list(dict.fromkeys(one for one in found if one is not None))

    def _calibrate(self) -> list[str]:
        """Hold standard deviations against errors, once training is over; says where they had to change."""
        model, run = self.model, self.model.run
        if not model.method.gives_std or not run.finished or run.as_built:
            return []
        found = reliabilities(model.method, model.net, [self.patches.draw(run.steps + i) for i in range(CHECKED)])
        model.provenance["calibration"] = [None if one is None else one.record() for one in found]
        return respread(model.net, found)

    def _provenance(self, noisy: Sequence[Source]) -> dict[str, Any]:
        return {
            "software": f"noisewise {noisewise.__version__}",
            "method": methods.name_of(self.model.method),
            "seed": self.seed,
            "trained_on": [source.name for source in noisy],
            "threads": torch.get_num_threads(),
        }


def doubts(method: Method, checkup: CheckUp | None, dims: int) -> list[str]:
    """Notes where the method cannot take away this sort of noise."""
    if checkup is None or method.needs != "noisy" or checkup.kind == "none":
        return []
    name, sees_slices = methods.name_of(method), dims == 3 and "rows" not in method.removes
    said = [
        (checkup.kind not in method.removes, checkup.verdict),
        (
            sees_slices and checkup.between != 0,
            f"Successive slices share their noise (correlation {checkup.between:.2f}): give --spatial YX, so that it "
            f"sees one at a time, or n2v with --blind-shape auto, which hides them.",
        ),
    ]
    return [f"{name} may not suit this image. {sentence}" for holds, sentence in said if holds]


def make_scenes(
    method: Method, noisy: Sequence[Source], targets: Sequence[Source], spatial: str
) -> tuple[list[Scene], list[str]]:
    """What there is to learn from, and what was noticed about copies of one scene. Errors: `UserError`."""
    notes: list[str] = []
    paired: list[tuple[Source, Source | None]]
    if method.needs == "pairs":
        pairs, notes = pairs_of(noisy, targets)
        paired = [*pairs]
    else:
        seconds: Sequence[Source | None] = targets or [None] * len(noisy)
        paired = list(zip(noisy, seconds, strict=True))
    return [Scene(source, Layout(source.axes, spatial), target) for source, target in paired], notes


def check_targets(method: Method, noisy: Sequence[Source], targets: Sequence[Source]) -> None:
    """One target an image where the method needs it, none where not. Errors: `UserError`."""
    name = methods.name_of(method)
    alone = ", ".join(other for other in methods.modules() if methods.get(other).needs == "noisy")
    if method.needs == "noisy" and targets:
        raise UserError(f"method '{name}' learns from noisy images alone; leave out the target, or use n2n or care")
    if method.needs == "pairs" and not targets:
        return  # repeats along the time axis may do
    if method.needs != "noisy" and len(targets) != len(noisy):
        what = "a second noisy image" if method.needs == "pairs" else "a clean image"
        raise UserError(
            f"method '{name}' needs {what} as target for each input, and got {len(targets)} for {len(noisy)}; "
            f"without targets, use one of: {alone}"
        )


def check_resumed(begun: Model, noisy: Sequence[Source]) -> None:
    """A run goes on with the images it began with. Errors: `UserError`."""
    names, given = begun.provenance.get("trained_on"), [source.name for source in noisy]
    if names != given:
        raise UserError(f"the run began with {names}, not {given}; give the same images in the same order")
    for source in noisy:
        begun.layout_for(source)


def check_channels(noisy: Sequence[Source]) -> None:
    """All images have as many channels. Errors: `UserError`."""
    first = noisy[0]
    for source in noisy[1:]:
        if source.size_of("C") != first.size_of("C"):
            raise UserError(
                f"{source.name}: has {source.size_of('C')} channels, {first.name} has {first.size_of('C')}; "
                f"denoise them in separate runs"
            )


def check_size(source: Source, laws: Sequence[Noise]) -> None:
    """Laws of single pixels must reach over the image. Errors: `UserError`."""
    height, width = source.size_of("Y"), source.size_of("X")
    for size in (law.size for law in laws):
        if size is not None and (size[0] < height or size[1] < width):
            raise UserError(
                f"{source.name}: has {height} x {width} pixels, the noise model only {size[0]} x {size[1]}; crop the "
                f"image, or calibrate the part of the sensor that it was taken with"
            )


def choose_spatial(method: Method, noisy: Sequence[Source]) -> str:
    """`ZYX` if every image has at least three slices, else `YX`; or what the method's settings say."""
    if method.spatial != "auto":
        for source in noisy:
            if not set(method.spatial) <= set(source.axes):
                raise UserError(
                    f"{source.name}: has axes {source.axes}, not {method.spatial}; give --axes if they are wrong"
                )
        return method.spatial
    return "ZYX" if all(source.size_of("Z") >= 3 for source in noisy) else "YX"


def make_spec(scenes: Sequence[Scene], spatial: str, patches: PatchSource, *, same_units: bool) -> ImageSpec:
    """What the network must know of the images; same_units: whether the targets are in the units of the inputs."""
    target = patches.noisy_statistics if same_units else patches.target_statistics
    scale = scenes[0].noisy.scale
    pixel = scale.get("X") or 1.0
    spacing = {
        "Z": (scale.get("Z") or pixel * UNKNOWN_Z_SPACING) / pixel,
        "Y": (scale.get("Y") or pixel) / pixel,
        "X": 1.0,
    }
    return ImageSpec(
        spatial=spatial,
        channels=scenes[0].noisy.size_of("C"),
        spacing=tuple(spacing[axis] for axis in spatial),
        size=tuple(min(scene.size[a] for scene in scenes) for a in range(len(spatial))),
        mean=patches.noisy_statistics.mean,
        std=patches.noisy_statistics.std,
        target_mean=target.mean,
        target_std=target.std,
    )


def pick_device(name: str, laws: Sized = ()) -> torch.device:
    """`auto`: an accelerator if there is one, and no law of noise.

    Errors: `UserError` for a device that is not there.
    """
    if name == "auto":
        # Laws are drawn from with the processor's randomness, and are kept in double precision, which Apple's lack.
        accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((kind for kind, there in accelerators.items() if there and not len(laws)), "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device '{name}' is not available here; leave out --device, or use cpu") from error
    if device.type == "cpu":
        keep_pages()
    return device


def arranged(net: Standardized, device: torch.device) -> Standardized:
    """On the device, weights in channels-last order: the layout that convolutions run fastest in."""
    layout = torch.channels_last if net.dims == 2 else torch.channels_last_3d
    net.to(device).backbone.to(memory_format=layout)  # type: ignore[call-overload]
    return net
