"""The command line: one file per command, with one dataclass whose `run()` returns the exit code.

Nothing heavy is imported here: `noisewise --help` reads the descriptions of the commands without importing them.
"""

from __future__ import annotations

import difflib
import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module

import noisewise
from noisewise.cli._commands import commands, description
from noisewise.cli._exit import OK, USER_ERROR, debugging, ending_at_once, guarded, stopping_like_ctrl_c
from noisewise.cli._print import prepare_streams, say
from noisewise.errors import UserError
from noisewise.version import __version__

__all__ = ["commands", "description", "dispatch", "main", "overview"]


def main(argv: Sequence[str] | None = None) -> int:
    """Execute a command line (default: that of the process) and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    ended: Callable[[int], int] = int
    if argv is None:
        ended = ending_at_once()
    else:  # by another program, which was started before
        noisewise.STARTED = time.perf_counter()
    prepare_streams()
    with warnings.catch_warnings():
        # Warnings of libraries are for developers; noisewise informs users by notes.
        if not debugging():
            warnings.showwarning = lambda *_, **__: None
            suppress_logging()
        with stopping_like_ctrl_c():
            return ended(guarded(lambda: dispatch(args)))


def dispatch(args: list[str]) -> int:
    """Execute the command that the arguments name. Errors: `UserError` for an unknown one."""
    if args[:1] == ["help"] and args[1:]:
        args = [*args[1:], "--help"]
    if not args or args[0] in ("-h", "--help", "help"):
        say(overview())
        return OK if args else USER_ERROR
    if args[0] in ("-V", "--version"):
        say(f"noisewise {__version__}")
        return OK
    if args[0] == "--install-completion":
        from noisewise.cli._completion import install

        return install(args[1:])
    command = args[0]
    if command not in commands():
        near = difflib.get_close_matches(command, commands(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "see noisewise --help"
        raise UserError(f"unknown command '{command}': {hint}")
    from noisewise.cli._parse import parse

    return int(parse(command, import_module(f"{__name__}.{command}"), args[1:]).run())


def suppress_logging() -> None:
    """Keep log lines of libraries off stderr, unless the surrounding program has set up logging."""
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())


def overview() -> str:
    """The text of `noisewise --help`."""
    return "\n".join(
        [
            f"noisewise {__version__}: removes noise from microscopy images.",
            "",
            "usage: noisewise COMMAND [OPTIONS]      noisewise COMMAND --help for its options",
            "",
            *(f"  {command:<10} {description(command)}" for command in commands()),
            "",
            "start with: noisewise denoise cells.tif",
            "completion by the Tab key: noisewise --install-completion (bash, zsh, fish)",
        ]
    )
