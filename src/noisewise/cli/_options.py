"""Options that several verbs share: their types, and what is checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from noisewise.errors import UserError
from noisewise.io import animation_output, mode_output, samples_output, std_output

if TYPE_CHECKING:
    from noisewise import files

Inputs = Positional[Annotated[list[str], arg(metavar="INPUT...", help_behavior_hint="")]]
Out = Annotated[str | None, arg(aliases=("-o",), metavar="OUT", help_behavior_hint="")]
File = Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")]
NoiseFiles = Annotated[list[str], arg(metavar="FILE...", help_behavior_hint="")]
Axes = Annotated[str | None, arg(metavar="LETTERS", help_behavior_hint="")]
Budget = Annotated[str | None, arg(metavar="TIME", help_behavior_hint="")]
ModelName = Annotated[str, arg(metavar="MODEL", help_behavior_hint="")]
Steps = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Samples = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Switch = Annotated[bool, arg(help_behavior_hint="")]
FloatSwitch = Annotated[bool, arg(name="float", help_behavior_hint="")]


@dataclass(kw_only=True)
class Talking:
    """How much is said, and to whom."""

    quiet: Switch = False
    """show no progress and no notes"""
    json: Switch = False
    """print one JSON object on stdout and nothing else"""


@dataclass(kw_only=True)
class Writing:
    """How images are denoised and written."""

    average: Switch = False
    """average over the eight flips and turns, which takes eight times the prediction time
    (default: up to 4 million pixels, unless the budget is below 20 s)"""
    no_average: Switch = False
    """do not average"""
    tile: Annotated[str, arg(metavar="auto|N")] = "auto"
    """pixels along each side of a tile; the result does not depend on it"""
    as_float: FloatSwitch = False
    """write 32-bit floats instead of the input's pixel type"""
    std: Switch = False
    """also write the standard deviation of each pixel, as 32-bit floats, to <output>_std; for methods that know it"""
    samples: Samples = None
    """also write so many draws from the posterior, along a new axis, to <output>_samples; for methods that can draw"""
    diverse: Samples = None
    """keep only so many of the samples, which stand for the rest"""
    gif: Switch = False
    """also show the samples as a film, in <output>_samples.gif: the maximum along Z, the first of other axes"""
    mode: Switch = False
    """also write the likeliest image, sharper than the mean, to <output>_mode; for methods that can draw"""
    overwrite: Switch = False
    """replace outputs that exist"""
    skip_existing: Switch = False
    """leave out inputs whose output exists"""

    def check(self) -> None:
        """Refuse options that make no sense. Errors: `UserError`."""
        parse_tile(self.tile)
        if self.overwrite and self.skip_existing:
            raise UserError("--overwrite and --skip-existing exclude each other; give one")
        if self.samples is not None and self.samples < 1:
            raise UserError(f"--samples {self.samples} is not a number of samples; give 1 or more")
        if self.samples is None and (self.diverse is not None or self.gif):
            raise UserError(f"{'--gif' if self.gif else '--diverse'} is about samples; give --samples N with it")
        if self.diverse is not None and not 0 < self.diverse <= (self.samples or 0):
            raise UserError(
                f"--diverse {self.diverse} of {self.samples} samples is not possible; give 1 or more of them"
            )
        if self.average and self.no_average:
            raise UserError("--average and --no-average exclude each other; give one")

    def beside(self, output: Path) -> dict[str, Path]:
        """What else is written of an image, and where."""
        wanted = {"std": self.std, "samples": self.samples is not None, "gif": self.gif, "mode": self.mode}
        return {name: path for name, path in companions(output).items() if wanted[name]}

    def for_files(self) -> files.Writing:
        """The same, for `noisewise.files`."""
        from noisewise.files import Writing as Written

        return Written(
            tile=parse_tile(self.tile), as_float=self.as_float, overwrite=self.overwrite, std=self.std,
            samples=self.samples or 0, diverse=self.diverse or 0, gif=self.gif, mode=self.mode,
        )  # fmt: skip

    def record(self, outputs: Sequence[Path]) -> dict[str, list[Path]]:
        """What JSON output says of it."""
        return {name: [self.beside(path)[name] for path in outputs] for name in self.beside(Path("image.tif"))}

    @property
    def averaging(self) -> bool | None:
        """As asked for, or None to choose."""
        return True if self.average else False if self.no_average else None


def companions(output: Path) -> dict[str, Path]:
    """All that may be written beside a denoised image."""
    return {
        "std": std_output(output), "samples": samples_output(output), "gif": animation_output(output),
        "mode": mode_output(output),
    }  # fmt: skip


def check_length(budget: str | None, steps: int | None) -> None:
    """Refuse lengths of training that make no sense. Errors: `UserError`."""
    if budget is not None and steps is not None:
        raise UserError("--budget and --steps exclude each other; give one")
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps} is not a number of steps; give 1 or more")


def parse_tile(tile: str) -> int | None:
    """Side of a tile, or None for what fits into memory. Errors: `UserError`."""
    if tile == "auto":
        return None
    if not tile.isascii() or not tile.isdigit() or int(tile) < 1:
        raise UserError(f"--tile {tile} is not a size in pixels; give a number, or auto")
    return int(tile)


TalkingOptions = OmitArgPrefixes[Talking]
WritingOptions = OmitArgPrefixes[Writing]
