"""The command line: one file a command, with one dataclass whose `run()` returns the exit code.

Exit codes: 0 done; 2 the user's input cannot be used (one `error: ...` line); 130 interrupted; 1 anything unexpected.
Nothing heavy is imported here: `noisewise --help` reads the descriptions of the commands without importing them.
"""

from __future__ import annotations

import ast
import difflib
import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from noisewise.errors import UserError
from noisewise.version import __version__

ORDER = (
    "denoise",
    "train",
    "predict",
    "measure",
    "calibrate",
    "simulate",
    "evaluate",
    "info",
    "methods",
    "doctor",
    "demo",
)  # as a reader meets them; others behind
OK, UNEXPECTED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
OUR_FAULT = "error: unexpected {kind}: {what}; rerun with NOISEWISE_DEBUG=1 for the traceback, and please report it"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's) and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without µ shows a question mark
    with warnings.catch_warnings():
        # Libraries' warnings are for developers; what users should know is said as a note.
        if not debugging():
            warnings.showwarning = lambda *_, **__: None
            hush_logging()
        return guarded(lambda: dispatch(args))


def dispatch(args: list[str]) -> int:
    """Hand the arguments to their command. Errors: `UserError` for an unknown one."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(overview())
        return OK if args else USER_ERROR
    if args[0] in ("-V", "--version"):
        print(f"noisewise {__version__}")
        return OK
    command = args[0]
    if command not in commands():
        near = difflib.get_close_matches(command, commands(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "see noisewise --help"
        raise UserError(f"unknown command '{command}': {hint}")
    from noisewise.cli._parse import parse

    return int(parse(command, import_module(f"{__name__}.{command}"), args[1:]).run())


def guarded(work: Callable[[], int]) -> int:
    """Run, and turn whatever goes wrong into one line on stderr and an exit code."""
    try:
        return work()
    except SystemExit as stop:  # --help ends that way
        return stop.code if isinstance(stop.code, int) else UNEXPECTED
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has gone, as in `noisewise methods | head -1`
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if debugging():
            raise
        message = in_plain_words(error)
        if message is not None:
            return fail(f"error: {message}", USER_ERROR)
        return fail(OUR_FAULT.format(kind=type(error).__name__, what=error), UNEXPECTED)


def in_plain_words(error: Exception) -> str | None:
    """What a user can do about an error, or None where it is ours."""
    if isinstance(error, UserError):
        return str(error)
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    ):
        return "memory ran out; close other programs, or give smaller images or a smaller --tile"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'output'}: the disk is full; free some space or write elsewhere"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    return None


def fail(message: str, code: int) -> int:
    """Say it in one line, and return the code."""
    print(" ".join(message.split()), file=sys.stderr)
    return code


def debugging() -> bool:
    """Whether the user asked for tracebacks and warnings."""
    return bool(os.environ.get("NOISEWISE_DEBUG"))


def hush_logging() -> None:
    """Keep libraries' log lines off stderr, unless the program around us set up logging."""
    import logging

    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())


def commands() -> list[str]:
    """The names of the commands: the files of this folder."""
    found = [path.stem for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))]
    return sorted(found, key=lambda command: ORDER.index(command) if command in ORDER else len(ORDER))


def description(command: str) -> str:
    """First docstring line of the command's dataclass, read without importing its module."""
    tree = ast.parse(Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8"))
    name = class_name(command)
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(found) or "").partition("\n")[0]


def class_name(command: str) -> str:
    """The dataclass of a command."""
    return command.capitalize()


def overview() -> str:
    """What `noisewise --help` prints."""
    lines = [f"  {command:<10} {description(command)}" for command in commands()]
    return "\n".join(
        [
            f"noisewise {__version__}: removes noise from microscopy images.",
            "",
            "usage: noisewise COMMAND [OPTIONS]      noisewise COMMAND --help for its options",
            "",
            *lines,
            "",
            "example: noisewise denoise cells.tif",
        ]
    )
