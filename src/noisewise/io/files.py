"""Files and folders on disk: names from users and from metadata, checksums, changes, errors of the system."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from noisewise.errors import UserError, one_line

ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def is_zarr(path: Path) -> bool:
    """Whether a path is a Zarr folder, by name or by content."""
    if path.suffix.lower() == ".zarr":
        return True
    return path.is_dir() and any((path / name).is_file() for name in ZARR_FILES)


def user_path(name: str | Path) -> Path:
    """The path of a name that a user gave, with `~` expanded. Errors: `UserError` if there is no such user."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name}: the home folder of this user is not known; give a full path") from error


def check_regular(path: Path) -> None:
    """Errors: `UserError` for what is neither a file nor a folder: a pipe or device could be read for ever."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: is not a regular file, but a device or pipe; copy the data into a file")


def inside(folder: Path, name: str) -> Path:
    """Path of a file or folder that metadata name. Errors: `UserError` unless it lies inside the folder, also by links.

    A file from a stranger must not lead to reading or writing elsewhere.
    """
    path, parts = folder / name, PureWindowsPath(name).parts  # which splits at both kinds of slashes
    if ".." in parts or PureWindowsPath(name).anchor or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{folder}: its metadata name '{one_line(name)}', which is not inside it; use the original data"
        )
    return path


def checksum(path: Path) -> str:
    """SHA-256 of a file as hexadecimal text; for a folder, over the sorted names and contents of its files.

    Errors: `UserError` if it cannot be read.
    """
    digest = hashlib.sha256()
    with as_user_error(path, "cannot be read"):
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            if file != path:
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def fingerprint(path: Path) -> tuple[int, int, int]:
    """Number of files, their size in bytes, and the time of the last change; it differs if the data have changed.

    Errors: `UserError` if they cannot be read.
    """
    with as_user_error(path, "cannot be read"):
        if not path.is_dir():
            found = path.stat()
            return 1, found.st_size, found.st_mtime_ns
        count, size, changed = 0, 0, 0
        for folder, _, names in os.walk(path):
            for name in names:
                found = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118  (faster for many chunks)
                count, size, changed = count + 1, size + found.st_size, max(changed, found.st_mtime_ns)
        return count, size, changed


@contextmanager
def as_user_error(path: Path, what: str) -> Iterator[None]:
    """Turn errors of the operating system into a `UserError` about `path`; `what` says what failed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{path}: the disk is full; free some space or write elsewhere") from error
        raise UserError(f"{path}: {what} ({error.strerror or error})") from error
