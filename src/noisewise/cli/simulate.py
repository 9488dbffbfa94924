"""`noisewise simulate`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, arg

from noisewise.cli._display import print_json, say_notes
from noisewise.cli._exit import OK
from noisewise.cli._options import Axes, Inputs, MessageOptions, Messages, Out, Switch, check
from noisewise.cli._print import say
from noisewise.cli._scenes import scene_source
from noisewise.errors import UserError
from noisewise.io import Source, open_source
from noisewise.io.files import user_path
from noisewise.io.paths import truth_of
from noisewise.io.plan import Plan, folders_for, plan_files
from noisewise.io.space import refuse_without_space

if TYPE_CHECKING:
    from noisewise.workflow.simulate import Simulated

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


ChangesOptions = OmitArgPrefixes[Changes]


@dataclass(kw_only=True)
class Simulate:
    """Simulate noisy images with known truth, from clean images or synthetic scenes and a simulated camera.

    The truth of each noisy image, the expected pixel values, is written beside it: <output>_truth.
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
        from noisewise.workflow.simulate import Exposure, camera_of

        started = time.monotonic()
        check(self)
        photons = SCENE_PHOTONS if self.photons is None and self.scene is not None else self.photons
        camera = camera_of(self.camera, vars(self.changes))
        exposure = Exposure(camera, photons, self.frames, not self.no_truth, self.overwrite)
        exposure.check(self.seed)
        plan = self._plan()
        say_notes(plan.notes, self.messages.quiet)
        pairs = list(zip(plan.inputs, plan.outputs, strict=True))
        with folders_for(plan.outputs):
            sizes = []
            for path, output in pairs:
                with self._open(path) as source:
                    sizes.append(exposure.refuse_early(source, output))
            refuse_without_space(sizes)
            made = []
            for number, (path, output) in enumerate(pairs):
                with self._open(path) as source:
                    made.append(exposure.expose(source, output, self.seed + number))
        return self._finish(plan, made, time.monotonic() - started)

    def _plan(self) -> Plan:
        """Inputs and their outputs. Errors: `UserError`."""
        if self.scene is None:
            if not self.inputs:
                raise UserError(
                    "no clean image; give some, or draw one: noisewise simulate --scene nuclei -o cells.tif"
                )
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

    def _finish(self, plan: Plan, made: list[Simulated], seconds: float) -> int:
        notes = [note for one in made for note in one.notes]
        say_notes(notes, self.messages.quiet)
        files = [path for one in made for path in (one.path, one.truth_path) if path is not None]
        means = [one.photons_mean for one in made]
        if self.messages.json:
            truths = [one.truth_path for one in made if one.truth_path is not None]
            record: dict[str, Any] = {"input": plan.inputs, "output": plan.outputs, "truth": truths}
            record |= {"camera": made[0].camera.record() if made else None, "photons_mean": means}
            print_json(record | {"seconds": round(seconds, 2), "notes": plan.notes + notes})
            return OK
        for file in files:
            say(file)
        if means and not self.messages.quiet:
            say(f"{self.camera}, {sum(means) / len(means):.4g} photons per pixel, {seconds:.0f} s", error=True)
        return OK
