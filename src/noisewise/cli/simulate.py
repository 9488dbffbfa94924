"""`noisewise simulate`."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import OmitArgPrefixes, arg

from noisewise.axes import Array, Layout
from noisewise.cli import OK
from noisewise.cli._display import print_json, say_notes
from noisewise.cli._options import Axes, Inputs, MessageOptions, Messages, Out, Switch
from noisewise.cli._scenes import drawn_source
from noisewise.errors import UserError
from noisewise.io import Sink, Source, checksum, create_sink, default_output, open_source
from noisewise.io.memory import MemorySource
from noisewise.io.plan import Plan, folder_for, plan_files
from noisewise.noise.camera import Camera, check_photons
from noisewise.version import __version__

PRESETS: dict[str, Callable[[], Camera]] = {
    "scmos": Camera.scmos,
    "emccd": Camera.emccd,
    "pmt": Camera.pmt,
    "ideal": Camera.photon_counter,
}
BACKGROUND_PERCENTILE = 0.1
SATURATED = 1e-3  # share of pixels from which on saturation is worth a note

Number = Annotated[float | None, arg(metavar="X", help_behavior_hint="")]
Scene = Annotated[str | None, arg(metavar="KIND", help_behavior_hint="")]
Size = Annotated[str, arg(metavar="PIXELS")]
SCENE_PHOTONS = 20.0  # a pixel, where a scene is drawn and nothing is said
Bits = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]


@dataclass(kw_only=True)
class Changes:
    """What differs from the camera of that name."""

    quantum_efficiency: Number = None
    """electrons a photon, 0 to 1"""
    dark: Number = None
    """mean dark electrons a pixel"""
    hot: Number = None
    """share of pixels that are hot, 0 to 1"""
    full_well: Number = None
    """electrons a pixel can hold"""
    em_gain: Number = None
    """mean gain of the electron-multiplying register, 1 or more"""
    read_noise: Number = None
    """standard deviation of the noise of each pixel, electrons"""
    row_noise: Number = None
    """standard deviation of an offset that each row shares, electrons"""
    column_noise: Number = None
    """standard deviation of an offset that each column shares, electrons"""
    gain: Number = None
    """amplification, grey levels an electron"""
    offset: Number = None
    """grey level of no signal"""
    bits: Bits = None
    """bits of the converter: 1 to 16, 32, or 0 for 32-bit floats, neither rounded nor clipped"""

    def applied_to(self, camera: Camera) -> Camera:
        """The camera with these changes. Errors: `UserError` for values out of range."""
        named: dict[str, Any] = {
            "quantum_efficiency": self.quantum_efficiency, "dark_e": self.dark, "hot_fraction": self.hot,
            "full_well_e": self.full_well, "em_gain": self.em_gain, "read_noise_e": self.read_noise,
            "row_noise_e": self.row_noise, "column_noise_e": self.column_noise, "gain_adu_per_e": self.gain,
            "offset_adu": self.offset, "bits": self.bits,
        }  # fmt: skip
        return replace(camera, **{name: value for name, value in named.items() if value is not None})


ChangesOptions = OmitArgPrefixes[Changes]


@dataclass(kw_only=True)
class Simulate:
    """Exposes clean images, or drawn scenes, with a simulated camera: noisy images whose truth is known.

    Beside each noisy image goes its truth, the mean of what the camera records: <name>_noisy_truth.
    """

    inputs: Inputs = field(default_factory=list)
    """clean images: files, folders or patterns"""
    scene: Scene = None
    """draw a scene in place of an input: leaves, regions, texture, filaments, membranes, nuclei, puncta, vesicles, or
    mixed"""
    size: Size = "512x512"
    """of a drawn scene, pixels: YxX, ZxYxX, or with --axes TYX a movie of TxYxX"""
    output: Out = None
    """output file, or folder for several inputs (default: <name>_noisy beside each input)"""
    camera: Literal["scmos", "emccd", "pmt", "ideal"] = "scmos"
    """scientific CMOS, electron-multiplying CCD, photomultiplier of a confocal microscope, or photon counter"""
    photons: Number = None
    """mean photons a pixel in each channel, once its background, the 0.1 percentile, is taken off
    (default: the pixels are photons already)"""
    frames: Annotated[int, arg(metavar="N")] = 1
    """expose so often, along a new axis T"""
    changes: ChangesOptions = field(default_factory=Changes)
    seed: int = 0
    """start of all random numbers; every further input has the next seed"""
    axes: Axes = None
    """what the dimensions mean, out of STCZYX, if the file is wrong or does not say"""
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
        with folder_for(plan.outputs, self.output):
            for path, output in pairs:
                self._refuse_early(path, output, camera)
            made = [self._expose(*pair, camera, self.seed + i) for i, pair in enumerate(pairs)]
        return self._finish(plan, camera, made, time.monotonic() - started)

    def _plan(self) -> Plan:
        """Which input becomes which output. Errors: `UserError`."""
        if self.scene is None:
            return plan_files(
                self.inputs, self.output, companions=lambda path: [truth_of(path)],
                beside=lambda path: [] if self.no_truth else [truth_of(path)], suffix="_noisy",
            )  # fmt: skip
        if self.inputs:
            raise UserError(f"--scene draws what is seen; leave out {self.inputs[0]}, or --scene")
        if self.output is None:
            raise UserError("a drawn scene has no file to lie beside; name the output: -o scene.tif")
        output = Path(self.output).expanduser()
        return Plan([Path(self.scene)], [output], [])

    def _open(self, path: Path) -> Source:
        """The clean image: a file, or what is drawn."""
        if self.scene is None:
            return open_source(path, self.axes)
        return drawn_source(self.scene, self.size, self.axes, self.seed)

    def _check(self) -> None:
        """Refuse options that make no sense. Errors: `UserError`."""
        if self.frames < 1:
            raise UserError(f"--frames {self.frames} is not a number of frames; give 1 or more")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed} is negative; give 0 or more")
        if self.photons is not None and not 0 < self.photons < math.inf:
            raise UserError(f"--photons {self.photons:g} is not an amount of light; give more than 0")

    def _refuse_early(self, path: Path, output: Path, camera: Camera) -> None:
        """Find out before the work, not after it, that an output cannot be written."""
        with self._open(path) as source:
            for sink in self._sinks(source, output, camera, None):
                if sink is not None:
                    sink.discard()

    def _sinks(
        self, source: Source, output: Path, camera: Camera, record: dict[str, Any] | None
    ) -> tuple[Sink, Sink | None]:
        """Where the noisy image and its truth go."""
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
        """Expose one image into its files; returns its mean number of photons, and what was noticed."""
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
        share = saturated / (self.frames * photons.size)
        bright = f"{output}: {100 * share:.1f} % of the pixels are saturated; give fewer --photons or a lower --gain"
        return mean, source.notes + [bright] * (share > SATURATED)

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
            print(output if self.no_truth else f"{output}\n{truth_of(output)}")
        if means and not self.messages.quiet:
            print(f"{self.camera}, {sum(means) / len(means):.4g} photons a pixel, {seconds:.0f} s", file=sys.stderr)
        return OK


def truth_of(output: Path) -> Path:
    """Name of the truth of a noisy image; PNG, which has no floats, becomes TIFF."""
    path = default_output(output, "_truth")
    return path.with_suffix(".tif") if path.suffix.lower() == ".png" else path


def repeated(source: Source, frames: int) -> Source:
    """The image as the first of several frames along a new axis T. Errors: `UserError` if it has frames already."""
    if frames == 1:
        return source
    if "T" in source.axes:
        raise UserError(f"{source.path}: has a time axis already ({source.axes}); leave out --frames")
    shape, axes = (frames, *source.shape), "T" + source.axes
    return MemorySource(source.name, axes, shape, source.dtype, source.scale, source.channel_names, source.path)


def to_photons(clean: Array, mean: float | None, label: str) -> Array:
    """Expected photons (N, C, Y, X), float64: the pixels themselves, or scaled so that each channel has this mean.

    photons = mean·(clean − b)/⟨clean − b⟩, where b is the channel's 0.1 percentile and what is below it is dark; a
    channel without any light stays dark.

    Errors: `UserError` for pixels that are no light, and images without any contrast.
    """
    if mean is None:
        return check_photons(clean, label)
    with np.errstate(all="ignore"):  # what is not finite is refused below
        clean = clean.astype(np.float64)
        over_all_but_c = (0, 2, 3)
        light = clean - np.percentile(clean, BACKGROUND_PERCENTILE, axis=over_all_but_c, keepdims=True)
        light = np.maximum(light, 0.0)
        total = light.mean(axis=over_all_but_c, keepdims=True)
        if not total.any():
            raise UserError(f"{label}: no pixel is brighter than the others; leave out --photons and give photons")
        return check_photons(mean * light / np.where(total == 0, 1.0, total), label)


@contextmanager
def together(noisy: Sink, truth: Sink | None, output: Path) -> Iterator[None]:
    """Two sinks that are complete or gone together; `output` is where the first one goes."""
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
