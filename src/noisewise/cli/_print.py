"""Print text that may come from a file: no control characters reach the terminal, and file names survive."""

from __future__ import annotations

import codecs
import io
import sys

ERRORS = "noisewise"  # name of the encoding error handler
NAME_BYTES = range(0xDC80, 0xDD00)  # how Python represents the bytes of names that are not valid text


def say(text: object, *, error: bool = False) -> None:
    """Print lines on stdout, or on stderr."""
    print(printable(str(text)), file=sys.stderr if error else sys.stdout)


def printable(text: str) -> str:
    """Text with control characters, such as terminal escape sequences, written out."""
    return "".join(c if c.isprintable() or c == "\n" or ord(c) in NAME_BYTES else escaped(c) for c in text)


def escaped(character: str) -> str:
    """A character as in Python source: \\x1b."""
    return character.encode("unicode_escape").decode()


def prepare_streams() -> None:
    """Print names that are not valid text as their bytes, and a question mark for what the terminal cannot show."""
    codecs.register_error(ERRORS, encode_leniently)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)


def encode_leniently(error: UnicodeError) -> tuple[bytes, int]:
    """Error handler of encodings: bytes of names as they are, a question mark for other characters."""
    assert isinstance(error, UnicodeEncodeError)
    code = ord(error.object[error.start])
    return bytes([code - 0xDC00]) if code in NAME_BYTES else b"?", error.start + 1
