"""Options that several commands share: their types, and what is checked before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from noisewise.errors import UserError
from noisewise.io.write import WriteOptions

Inputs = Positional[Annotated[list[str], arg(metavar="INPUT...", help_behavior_hint="")]]
Out = Annotated[str | None, arg(aliases=("-o",), metavar="OUT", help_behavior_hint="")]
File = Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")]
NoiseFiles = Annotated[list[str], arg(metavar="FILE...", help_behavior_hint="")]
Axes = Annotated[str | None, arg(metavar="LETTERS", help_behavior_hint="")]
Budget = Annotated[str | None, arg(metavar="TIME", help_behavior_hint="")]
ModelName = Annotated[str, arg(metavar="MODEL", help_behavior_hint="")]
Steps = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Switch = Annotated[bool, arg(help_behavior_hint="")]


@dataclass(kw_only=True)
class Messages:
    """What is printed."""

    quiet: Switch = False
    """show no progress and no notes"""
    json: Switch = False
    """print one JSON object on stdout and nothing else"""


def check_length(budget: str | None, steps: int | None) -> None:
    """Errors: `UserError` for lengths of training that make no sense."""
    if budget is not None and steps is not None:
        raise UserError("--budget and --steps exclude each other; give one")
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps} is not a number of steps; give 1 or more")


def written_beside(write: WriteOptions, outputs: Sequence[Path]) -> dict[str, list[Path]]:
    """Files written beside the outputs, by what they hold, for JSON."""
    return {name: [write.beside(path)[name] for path in outputs] for name in write.beside(Path("image.tif"))}


MessageOptions = OmitArgPrefixes[Messages]
WritingOptions = OmitArgPrefixes[WriteOptions]
