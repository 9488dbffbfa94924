"""Exit codes, and errors as one line on stderr.

0: done. 2: the user's input cannot be used. 130: interrupted. 1: an unexpected error.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from noisewise.errors import UserError

OK, UNEXPECTED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
UNEXPECTED_MESSAGE = (
    "error: unexpected {kind}: {what}; repeat with NOISEWISE_DEBUG=1 for the traceback, and please report it"
)


def guarded(work: Callable[[], int]) -> int:
    """Call `work` and return its exit code; errors become one line on stderr and an exit code."""
    try:
        return work()
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


def user_message(error: Exception) -> str | None:
    """Message for an error that the user can resolve, or None for any other error."""
    if isinstance(error, UserError):
        return str(error)
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or "DefaultCPUAllocator" in str(error):
        return "not enough memory; close other programs, or use smaller images or a smaller --tile"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'output'}: the disk is full; free some space or write to another disk"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    return None


def fail(message: str, code: int) -> int:
    """Print a message as one line on stderr and return the exit code."""
    print(" ".join(message.split()), file=sys.stderr)
    return code


def debugging() -> bool:
    """Whether the user asked for tracebacks and warnings."""
    return bool(os.environ.get("NOISEWISE_DEBUG"))
