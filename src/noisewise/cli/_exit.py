"""Exit codes, and errors as one line on stderr.

0: done. 2: the user's input cannot be used. 3: some of several inputs could not be used, the others are done. 130:
interrupted. 1: an unexpected error.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from noisewise.cli._print import say
from noisewise.errors import UserError, counted

OK, UNEXPECTED, USER_ERROR, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130
UNEXPECTED_MESSAGE = (
    "error: unexpected {kind}: {what}; repeat with NOISEWISE_DEBUG=1 for the traceback, and please report it"
)


def guarded(work: Callable[[], int]) -> int:
    """Call `work` and return its exit code; errors become one line on stderr and an exit code."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # raised by --help
        return stop.code if isinstance(stop.code, int) else UNEXPECTED
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of stdout has closed it, as in `noisewise methods | head -1`
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if debugging():
            raise
        message = user_message(error)
        if message is not None:
            return fail(f"error: {message}", USER_ERROR)
        return fail(UNEXPECTED_MESSAGE.format(kind=type(error).__name__, what=error), UNEXPECTED)


def ending_at_once() -> Callable[[int], int]:
    """A function that takes and returns the exit code, with which the process ends when all exit handlers are done.

    Python would free every object of torch first, which takes half a second.
    """
    codes: list[int] = []

    def end() -> None:
        if codes:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(codes[0])

    def ended(code: int) -> int:
        codes.append(code)
        return code

    atexit.register(end)  # before all others, so that it is called last
    return ended


@contextmanager
def stopping_like_ctrl_c() -> Iterator[None]:
    """Answer the signals of a cluster's scheduler (TERM) and of a closed terminal (HUP) as Ctrl-C."""

    def handle(number: int, frame: FrameType | None) -> None:
        ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(ctrl_c):
            ctrl_c(number, frame)

    stops = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    in_main_thread = threading.current_thread() is threading.main_thread()
    # A signal that is ignored stays so, as under nohup.
    mine = [stop for stop in stops if in_main_thread and signal.getsignal(stop) == signal.SIG_DFL]
    for stop in mine:
        signal.signal(stop, handle)
    try:
        yield
    finally:
        for stop in mine:
            signal.signal(stop, signal.SIG_DFL)


def user_message(error: Exception) -> str | None:
    """Message for an error that the user can resolve, or None for any other error."""
    if isinstance(error, UserError):
        return str(error)
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or "DefaultCPUAllocator" in str(error):
        return (
            "not enough memory; close other programs or use smaller images; noisewise denoise and noisewise "
            "predict also take smaller tiles: --tile 256"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'output'}: the disk is full; free some space or write to another disk"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    return None


def exit_code(failed: Mapping[str, str], done: int) -> int:
    """Print which inputs could not be used and why; returns the exit code. done: number of those that are done."""
    for reason in failed.values():
        fail(f"error: {reason}", PARTLY)
    if not failed:
        return OK
    return fail(
        f"{done} of {counted(done + len(failed), 'input')} done, {len(failed)} could not be used (see above); "
        f"correct these and run the same command with --skip-existing, or leave them out",
        PARTLY,
    )


def failures(failed: Mapping[str, str]) -> list[dict[str, str]]:
    """JSON output about inputs that could not be used."""
    return [{"input": name, "error": reason} for name, reason in failed.items()]


def fail(message: str, code: int) -> int:
    """Print a message as one line on stderr and return the exit code."""
    with suppress(OSError):  # a closed terminal
        say(" ".join(message.split()), error=True)
    return code


def debugging() -> bool:
    """Whether the user asked for tracebacks and warnings."""
    return bool(os.environ.get("NOISEWISE_DEBUG"))
