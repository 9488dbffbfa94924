"""`noisewise simulate`."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import OmitArgPrefixes, arg

from noisewise.axes import Array, Layout
from noisewise.cli._display import print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._options import Axes, Inputs, MessageOptions, Messages, Out, Switch
from noisewise.cli._print import say
from noisewise.cli._scenes import scene_source
from noisewise.errors import UserError, check_seed
from noisewise.io import Sink, Source, checksum, create_sink, default_output, open_source
from noisewise.io.files import user_path
from noisewise.io.memory import MemorySource
from noisewise.io.plan import Plan, folders_for, plan_files
from noisewise.noise.camera import Camera, check_photons
from noisewise.version import __version__

PRESETS: dict[str, Callable[[], Camera]] = {
    "scmos": Camera.scmos,
    "emccd": Camera.emccd,
    "pmt": Camera.pmt,
    "ideal": Camera.photon_counter,
}
FIELDS = {
    "dark": "dark_e", "hot": "hot_fraction", "full_well": "full_well_e", "read_noise": "read_noise_e",
    "row_noise": "row_noise_e", "column_noise": "column_noise_e", "gain": "gain_adu_per_e", "offset": "offset_adu",
}  # of `Camera`, where they have other names than the options  # fmt: skip
BACKGROUND_PERCENTILE = 0.1
SATURATED_FRACTION = 1e-3  # of the pixels, above which a note says so

Number = Annotated[float | None, arg(metavar="X", help_behavior_hint="")]
Scene = Annotated[str | None, arg(metavar="KIND", help_behavior_hint="")]
Size = Annotated[str, arg(metavar="PIXELS")]
SCENE_PHOTONS = 20.0  # per pixel, default for synthetic scenes
Bits = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]


@dataclass(kw_only=True)
class Changes:
    """Properties of the camera, in place of those of --camera."""

    quantum_efficiency: Number = None
    """electrons per photon, 0 to 1"""
    dark: Number = None
    """mean dark electrons per pixel"""
    hot: Number = None
    """fraction of hot pixels, 0 to 1"""
    full_well: Number = None
    """full-well capacity of a pixel, electrons"""
    em_gain: Number = None
    """mean gain of the electron-multiplying register, 1 or more"""
    read_noise: Number = None
    """standard deviation of the read noise, electrons"""
    row_noise: Number = None
    """standard deviation of the row offsets, electrons"""
    column_noise: Number = None
    """standard deviation of the column offsets, electrons"""
    gain: Number = None
    """gain, ADU per electron"""
    offset: Number = None
    """pixel value without light, ADU"""
    bits: Bits = None
    """bits of the converter: 1 to 16, or 32; 0: 32-bit floats, neither rounded nor clipped"""

    def applied_to(self, camera: Camera) -> Camera:
        """The camera with these changes. Errors: `UserError` for values out of range."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return replace(camera, **{FIELDS.get(name, name): value for name, value in given.items()})


ChangesOptions = OmitArgPrefixes[Changes]


@dataclass(kw_only=True)
class Simulate:
    """Simulate noisy images with known truth, from clean images or synthetic scenes and a simulated camera.

    The truth of each noisy image, the expected pixel values, is written beside it: <name>_noisy_truth.
    """

    inputs: Inputs = field(default_factory=list)
    """clean images: files, folders or patterns"""
    scene: Scene = None
    """synthetic scene instead of an input: leaves, regions, texture, filaments, membranes, nuclei, puncta, vesicles, or
    mixed"""
    size: Size = "512x512"
    """size of a synthetic scene, pixels: YxX, ZxYxX, or with --axes TYX a movie of TxYxX"""
    output: Out = None
    """output file, or folder for several inputs (default: <name>_noisy beside each input)"""
    camera: Literal["scmos", "emccd", "pmt", "ideal"] = "scmos"
    """scientific CMOS, electron-multiplying CCD, photomultiplier of a confocal microscope, or photon counter"""
    photons: Number = None
    """mean photons per pixel in each channel, after subtraction of its background, the 0.1 percentile
    (default: the pixel values are photons)"""
    frames: Annotated[int, arg(metavar="N")] = 1
    """number of exposures, along a new axis T"""
    changes: ChangesOptions = field(default_factory=Changes)
    seed: int = 0
    """random seed of the first input; each further input has the next one"""
    axes: Axes = None
    """dimensions of the images, letters out of STCZYX, if the file does not give them or they are wrong"""
    no_truth: Switch = False
    """do not write the truth"""
    overwrite: Switch = False
    """replace outputs that exist"""
    messages: MessageOptions = field(default_factory=Messages)

    def run(self) -> int:
        """Expose all inputs."""
        started = time.monotonic()
        self._check()
        camera = self.changes.applied_to(PRESETS[self.camera]())
        plan = self._plan()
        say_notes(plan.notes, self.messages.quiet)
        pairs = list(zip(plan.inputs, plan.outputs, strict=True))
        with folders_for(plan.outputs):
            for path, output in pairs:
                self._refuse_early(path, output, camera)
            made = [self._expose(*pair, camera, self.seed + i) for i, pair in enumerate(pairs)]
        return self._finish(plan, camera, made, time.monotonic() - started)

    def _plan(self) -> Plan:
        """Inputs and their outputs. Errors: `UserError`."""
        if self.scene is None:
            return plan_files(
                self.inputs, self.output, companions=lambda path: [truth_of(path)],
                beside=lambda path: [] if self.no_truth else [truth_of(path)], suffix="_noisy",
            )  # fmt: skip
        if self.inputs:
            raise UserError(f"--scene and {self.inputs[0]} exclude each other; give one")
        if self.output is None:
            raise UserError("a synthetic scene needs a name for its output; add -o scene.tif")
        output = user_path(self.output)
        return Plan([Path(self.scene)], [output], [])

    def _open(self, path: Path) -> Source:
        """The clean image: a file or a synthetic scene."""
        if self.scene is None:
            return open_source(path, self.axes)
        return scene_source(self.scene, self.size, self.axes, self.seed)

    def _check(self) -> None:
        """Errors: `UserError` for options that are not possible."""
        if self.frames < 1:
            raise UserError(f"--frames {self.frames} is not a number of frames; give 1 or more")
        check_seed(self.seed)
        if self.photons is not None and not 0 < self.photons < math.inf:
            raise UserError(f"--photons {self.photons:g} is not an amount of light; give more than 0")

    def _refuse_early(self, path: Path, output: Path, camera: Camera) -> None:
        """Errors: `UserError` for an output that cannot be written, before the work."""
        with self._open(path) as source:
            for sink in self._sinks(source, output, camera, None):
                if sink is not None:
                    sink.discard()

    def _sinks(
        self, source: Source, output: Path, camera: Camera, record: dict[str, Any] | None
    ) -> tuple[Sink, Sink | None]:
        """Sinks of the noisy image and its truth."""
        truth = None
        if not self.no_truth:
            truth = create_sink(truth_of(output), source, np.float32, record, overwrite=self.overwrite)
        try:
            like = repeated(source, self.frames)
            return create_sink(output, like, camera.dtype, record, overwrite=self.overwrite), truth
        except BaseException:
            if truth is not None:
                truth.discard()
            raise

    def _expose(self, path: Path, output: Path, camera: Camera, seed: int) -> tuple[float, list[str]]:
        """Expose one image and write its files. Returns its mean number of photons and notes."""
        with self._open(path) as source:
            layout = Layout(source.axes, "YX")
            mean_photons = self.photons or (None if self.scene is None else SCENE_PHOTONS)
            photons = to_photons(layout.to_network(source.read()), mean_photons, source.name)
            mean = float(photons.mean())
            record = {
                "software": f"noisewise {__version__}", "camera": camera.record(), "photons_mean": mean,
                "seed": seed, "frames": self.frames, "truth": None if self.no_truth else truth_of(output).name,
                "input": source.name, **({} if self.scene else {"input_sha256": checksum(path)}),
            }  # fmt: skip
            noisy, truth = self._sinks(source, output, camera, record)
            saturated = 0
            with together(noisy, truth, output):
                if truth is not None:
                    truth.write(source.everything, layout.from_network(camera.signal(photons), source.shape))
                for number, frame in enumerate(camera.frames_of(photons, self.frames, seed)):
                    saturated += int(np.count_nonzero(frame == 2**camera.bits - 1)) if camera.bits else 0
                    image = layout.from_network(frame, source.shape)
                    time_axis = (slice(number, number + 1),) if self.frames > 1 else ()
                    noisy.write((*time_axis, *source.everything), image[None] if time_axis else image)
        fraction = saturated / (self.frames * photons.size)
        bright = f"{output}: {100 * fraction:.1f} % of the pixels are saturated; give fewer --photons or a lower --gain"
        return mean, source.notes + [bright] * (fraction > SATURATED_FRACTION)

    def _finish(self, plan: Plan, camera: Camera, made: list[tuple[float, list[str]]], seconds: float) -> int:
        notes = [note for _, found in made for note in found]
        say_notes(notes, self.messages.quiet)
        truths = [] if self.no_truth else [truth_of(output) for output in plan.outputs]
        means = [mean for mean, _ in made]
        if self.messages.json:
            record = {"input": plan.inputs, "output": plan.outputs, "truth": truths, "camera": camera.record()}
            print_json(record | {"photons_mean": means, "seconds": round(seconds, 2), "notes": plan.notes + notes})
            return OK
        for output in plan.outputs:
            say(output if self.no_truth else f"{output}\n{truth_of(output)}")
        if means and not self.messages.quiet:
            say(f"{self.camera}, {sum(means) / len(means):.4g} photons per pixel, {seconds:.0f} s", error=True)
        return OK


def truth_of(output: Path) -> Path:
    """Name for the truth of a noisy image; TIFF for PNG, which has no floats."""
    path = default_output(output, "_truth")
    return path.with_suffix(".tif") if path.suffix.lower() == ".png" else path


def repeated(source: Source, frames: int) -> Source:
    """An image repeated along a new axis T. Errors: `UserError` if it has this axis already."""
    if frames == 1:
        return source
    if "T" in source.axes:
        raise UserError(f"{source.path}: already has a time axis ({source.axes}); leave out --frames")
    shape, axes = (frames, *source.shape), "T" + source.axes
    return MemorySource(source.name, axes, shape, source.dtype, source.scale, source.channel_names, source.path)


def to_photons(clean: Array, mean: float | None, label: str) -> Array:
    """Expected photons (N, C, Y, X), float64: the pixel values, or scaled so that each channel has this mean.

    photons = mean·max(clean − b, 0)/⟨max(clean − b, 0)⟩, where b is the channel's 0.1 percentile; a channel without
    contrast is dark.

    Errors: `UserError` for pixel values that cannot be photons, and for images without any contrast.
    """
    if mean is None:
        return check_photons(clean, label)
    with np.errstate(all="ignore"):  # values that are not finite are refused below
        clean = clean.astype(np.float64)
        over_all_but_c = (0, 2, 3)
        light = clean - np.percentile(clean, BACKGROUND_PERCENTILE, axis=over_all_but_c, keepdims=True)
        light = np.maximum(light, 0.0)
        total = light.mean(axis=over_all_but_c, keepdims=True)
        if not total.any():
            raise UserError(f"{label}: the image has no contrast, so that --photons cannot scale it; leave it out")
        return check_photons(mean * light / np.where(total == 0, 1.0, total), label)


@contextmanager
def together(noisy: Sink, truth: Sink | None, output: Path) -> Iterator[None]:
    """Complete or discard two sinks together; `output` is the file of the first one."""
    complete = False
    try:
        with truth or nullcontext():
            with noisy:
                yield
            complete = True
    except BaseException:
        if complete:
            shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
        raise
