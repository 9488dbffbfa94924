"""From a command line to a verb's dataclass; tyro's errors become one line."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from types import ModuleType
from typing import Any

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff

from noisewise.cli import class_name
from noisewise.errors import UserError

FRAME = str.maketrans("", "", "╭╮╰╯│")
RULES = "─- "
SUGGESTION = ("Perhaps you meant", "Arguments similar")


def parse(verb: str, module: ModuleType, args: list[str]) -> Any:
    """The verb's dataclass, filled from the arguments; a module may make its own from them (`options_for`).

    Errors: `UserError` for arguments that do not fit.
    """
    kind = module.options_for(args) if hasattr(module, "options_for") else getattr(module, class_name(verb))
    if {"-h", "--help"} & set(args):
        args = ["--help"]  # alone: with positional arguments before it, the help would leave them out
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(kind, prog=f"noisewise {verb}", args=args, config=(FlagCreatePairsOff, DisallowNone))
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{first_words(said.getvalue())}; see noisewise {verb} --help") from None


def first_words(box: str) -> str:
    """The message inside tyro's frame, between its title and its next rule, and what it suggests."""
    rows = [row.translate(FRAME).strip() for row in box.splitlines()[1:]]
    while rows and not rows[0].strip(RULES):  # without Unicode, there is a rule below the title
        del rows[0]
    end = next((i for i, row in enumerate(rows) if not row.strip(RULES)), len(rows))
    text = " ".join(" ".join(rows[:end]).split()).removesuffix(".")
    below = rows[end + 1 :]
    if below and below[0].startswith(SUGGESTION) and below[1].startswith("-"):
        text += f" (did you mean {below[1].split()[0]}?)"
    return text[:1].lower() + text[1:] or "the arguments cannot be used"
