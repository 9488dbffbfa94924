"""From a command line to the dataclass of a command; errors of tyro become one line."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import ModuleType
from typing import Any

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff

from noisewise.cli._commands import class_name
from noisewise.errors import UserError

NARROWEST, WIDEST = 40, 160  # columns of a help text
FRAME = str.maketrans("", "", "╭╮╰╯│")
RULES = "─- "
SUGGESTION = ("Perhaps you meant", "Arguments similar")


def parse(command: str, module: ModuleType, args: list[str]) -> Any:
    """The dataclass of a command, filled from the arguments.

    A module may derive its dataclass from the arguments (`options_for`).

    Errors: `UserError` for arguments that do not fit.
    """
    kind = module.options_for(args) if hasattr(module, "options_for") else getattr(module, class_name(command))
    if {"-h", "--help"} & set(args):
        args = ["--help"]  # after positional arguments, tyro would leave these out of the help
    output = io.StringIO()
    try:
        with redirect_stderr(output), usable_width():
            return tyro.cli(kind, prog=f"noisewise {command}", args=args, config=(FlagCreatePairsOff, DisallowNone))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        asked = f"{command} {args[0]}" if command == "train" and not args[0].startswith("-") else command
        raise UserError(f"{message_in(output.getvalue())}; see noisewise {asked} --help") from None


@contextmanager
def usable_width() -> Iterator[None]:
    """A terminal of a width in which tyro can lay out its help, whatever COLUMNS says: it hangs below some columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST))
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def message_in(box: str) -> str:
    """The message and the suggestion in a framed error of tyro, as one line."""
    rows = [row.translate(FRAME).strip() for row in box.splitlines()[1:]]
    while rows and not rows[0].strip(RULES):  # without Unicode, there is a rule below the title
        del rows[0]
    end = next((i for i, row in enumerate(rows) if not row.strip(RULES)), len(rows))
    text = " ".join(" ".join(rows[:end]).split()).removesuffix(".")
    below = rows[end + 1 :]
    if below and below[0].startswith(SUGGESTION) and below[1].startswith("-"):
        text += f" (did you mean {below[1].split()[0]}?)"
    return text[:1].lower() + text[1:] or "the arguments cannot be used"
