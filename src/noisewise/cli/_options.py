"""Options that several commands share: their types, and checks that need nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from tyro.conf import OmitArgPrefixes, Positional, arg

from noisewise.cli._display import say_notes
from noisewise.cli._print import say
from noisewise.errors import UserError
from noisewise.io.files import check_regular, user_path
from noisewise.io.paths import companions
from noisewise.io.write import WriteOptions

Inputs = Positional[Annotated[list[str], arg(metavar="INPUT...", help_behavior_hint="")]]
Outputs = Positional[Annotated[list[str], arg(metavar="OUTPUT...", help_behavior_hint="")]]
Out = Annotated[str | None, arg(aliases=("-o",), metavar="OUT", help_behavior_hint="")]
File = Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")]
Files = Annotated[list[str], arg(metavar="FILE...", help_behavior_hint="")]
Axes = Annotated[str | None, arg(metavar="LETTERS", help_behavior_hint="")]
Budget = Annotated[str | None, arg(metavar="TIME", help_behavior_hint="")]
ModelName = Annotated[str, arg(metavar="MODEL", help_behavior_hint="")]
Series = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Number = Annotated[float | None, arg(metavar="VALUE", help_behavior_hint="")]
Part = Annotated[str | None, arg(metavar="PART", help_behavior_hint="")]
Steps = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Switch = Annotated[bool, arg(help_behavior_hint="")]


@dataclass(kw_only=True)
class Messages:
    """What is printed."""

    quiet: Switch = False
    """show neither progress nor notes"""
    json: Switch = False
    """print one JSON object on stdout and nothing else"""


@dataclass(kw_only=True)
class Selecting:
    """What of the images is denoised."""

    channels: Part = None
    """channels to denoise, numbers from 0 or names, such as 0,2; the others stay as they are (default: all)"""
    frames: Part = None
    """frames to denoise, a number from 0 or a range such as 10:20; the output has no others (default: all)"""
    planes: Part = None
    """planes along Z to denoise, a number from 0 or a range such as 10:20; the output has no others (default: all)"""
    ignore: Number = None
    """leave out pixels of exactly this value; they stay as they are"""
    mask: File = None
    """leave out pixels where this image, in the shape of the others or of one plane, is zero; they stay as they are"""


def check_length(budget: str | None, steps: int | None) -> None:
    """Errors: `UserError` for a length of training that is not possible."""
    if budget is not None and steps is not None:
        raise UserError("--budget and --steps exclude each other; give one")
    if steps is not None and steps < 0:
        raise UserError(f"--steps {steps} is not a number of steps; give 0 or more")


def check(command: Any) -> None:
    """Errors: `UserError` for values of options that are not possible, whatever the files are."""
    from noisewise.workflow.settings import check_settings

    check_length(getattr(command, "budget", None), getattr(command, "steps", None))
    names = ("method", "axes", "budget", "steps", "seed", "device")
    check_settings(**{name: getattr(command, name) for name in names if hasattr(command, name)})


def existing(name: str) -> Path:
    """The path of a file that is read later. Errors: `UserError` if there is none."""
    path = user_path(name)
    check_regular(path)
    return path


def written_beside(write: WriteOptions, outputs: Sequence[Path]) -> dict[str, list[Path]]:
    """JSON output about the files beside the outputs, by name."""
    return {name: [write.beside(path)[name] for path in outputs] for name in write.beside(Path("image.tif"))}


def say_files(write: WriteOptions, outputs: Sequence[Path], quiet: bool, renewed: Sequence[str] = ()) -> None:
    """Name the outputs on stdout, with the files beside them; and note those that are of results which were replaced.

    renewed: further files that were written beside each, by name.
    """
    old: list[Path] = []
    for output in outputs:
        written = write.beside(output)
        for path in (output, *written.values()):
            say(path)
        known = {*written, *renewed}
        old += [path for name, path in companions(output).items() if name not in known and path.exists()]
    say_notes([f"{path}: is of an earlier result; remove or renew it" for path in old], quiet)


def without_defaults(options: type) -> type:
    """The same options with a help that omits defaults of False and 0: such an option is off."""
    unset = [(name, hint) for name, hint in get_type_hints(options).items() if not getattr(options, name)]
    added = [(name, Annotated[hint, arg(help_behavior_hint="")], getattr(options, name)) for name, hint in unset]
    names = {"__doc__": options.__doc__}
    return make_dataclass("Writing", added, bases=(options,), namespace=names, frozen=True, kw_only=True)


def with_switches(options: type) -> type:
    """The same options with a help that says of `--no-x`, whose text describes x, that it turns x off."""
    hints = get_type_hints(options, include_extras=True)
    off = arg(help_behavior_hint="(this option turns it off)")
    added = [(name, Annotated[hint, off], True) for name, hint in hints.items() if getattr(options, name, None) is True]
    names = {"__doc__": options.__doc__}
    return make_dataclass(options.__name__, added, bases=(options,), namespace=names, frozen=True, kw_only=True)


if TYPE_CHECKING:
    Writing = WriteOptions
else:
    Writing = without_defaults(WriteOptions)
WritingOptions = OmitArgPrefixes[Writing]
MessageOptions = OmitArgPrefixes[Messages]
SelectingOptions = OmitArgPrefixes[Selecting]
