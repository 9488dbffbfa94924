"""Files and folders on disk: names from users and metadata, checksums, changes, and drafts of outputs."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from zlib import crc32

from noisewise.errors import UserError, one_line

ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")
ABANDONED_S = 7 * 24 * 3600.0  # a draft of another computer that was not touched for so long is removed
LONGEST_NAME = 220  # bytes; file systems allow 255, and the names of drafts are longer
REMOVAL_TRIES, REMOVAL_WAIT_S = 60, 0.05  # threads of a library may still write into a folder that is removed


def is_zarr(path: Path) -> bool:
    """Whether a path is a Zarr folder, by name or by content."""
    if path.suffix.lower() == ".zarr":
        return True
    return path.is_dir() and any((path / name).is_file() for name in ZARR_FILES)


def user_path(name: str | Path) -> Path:
    """The path of a name that a user gave, with `~` expanded. Errors: `UserError` for what cannot be a name."""
    if not str(name).strip():
        raise UserError("the name of a file is empty; check the variable that it comes from")
    if "\0" in str(name):
        raise UserError(f"{str(name)!r}: a name cannot contain a null character; check it")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name}: the home folder of this user is not known; give a full path") from error


def check_regular(path: Path) -> None:
    """Errors: `UserError` for what is neither a file nor a folder: a pipe or device could be read for ever."""
    if not path.exists():
        raise UserError(f"{path}: no such file; check its name")
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
        raise UserError(f"{path}: {what} ({error.strerror or error}); check the folder and its permissions") from error


class Draft:
    """A file or folder under a temporary name beside its final one, so that an output is complete or absent.

    The temporary name, `.NAME.HOST-PROCESS-NUMBER.part`, says who writes it. Drafts of the same output that a killed
    process left are removed. A symbolic link that may be overwritten is followed.

    Errors: `UserError` if the output exists (unless `overwrite`), is written by another process, or cannot be written.
    """

    def __init__(self, path: Path, overwrite: bool = False, folder: bool = False) -> None:
        if overwrite and path.is_symlink():
            path = path.resolve()
        self.path, self.overwrite = path, overwrite
        if not path.parent.is_dir():
            raise UserError(f"{path}: the folder {path.parent} does not exist; create it first")
        remove_abandoned(path)
        self._refuse_taken()
        self.temporary = path.with_name(f"{draft_start(path)}{host()}-{os.getpid()}-{secrets.token_hex(2)}.part")
        with as_user_error(path, "cannot be written"):
            if folder:
                self.temporary.mkdir()
            else:
                # Not `tempfile`, whose files are private: an output follows the umask like any other file.
                os.close(os.open(self.temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def _refuse_taken(self) -> None:
        if not os.path.lexists(self.path):
            return
        if not self.overwrite:
            raise UserError(
                f"{self.path}: exists already; choose another name, or replace it with the option overwrite"
            )
        if self.path.is_dir() and not is_zarr(self.path):
            raise UserError(f"{self.path}: is a folder; choose another name")

    def reserve(self) -> None:
        """Reserve the disk space of the temporary file, so that a full disk is noticed before the work."""
        size = self.temporary.stat().st_size
        with as_user_error(self.path, "cannot be written"):
            if hasattr(os, "posix_fallocate"):
                self._allocate(size)
            elif shutil.disk_usage(self.path.parent).free < size:
                raise OSError(errno.ENOSPC, "disk full")

    def _allocate(self, size: int) -> None:
        descriptor = os.open(self.temporary, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            # Some file systems cannot reserve space.
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV):
                raise
        finally:
            os.close(descriptor)

    def commit(self) -> None:
        """Rename into place; an old folder is moved aside first and restored if that fails."""
        self._refuse_taken()
        with as_user_error(self.path, "cannot be written"):
            if not self.path.is_dir():
                self.temporary.replace(self.path)
                return
            old = self.temporary.with_suffix(".old")
            self.path.rename(old)
            try:
                self.temporary.rename(self.path)
            except BaseException:
                old.rename(self.path)
                raise
            remove(old)

    def discard(self) -> None:
        """Remove the temporary file or folder, if it is still there."""
        remove(self.temporary)


@contextmanager
def drafted(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary file to write, which becomes `path`: complete, or not at all. Errors: `UserError`, as `Draft`."""
    draft = Draft(path, overwrite)
    try:
        with as_user_error(path, "cannot be written"):
            yield draft.temporary
        draft.commit()
    except BaseException:
        draft.discard()
        raise


class SharedDraft(Draft):
    """A draft of several images: the last one that is complete renames it into place, any one can discard it.

    pending: the images that are not complete, shared by all. inside: path of this image within the output.
    """

    def __init__(self, draft: Draft, pending: set[int], inside: str = "") -> None:
        self.draft, self.pending = draft, pending
        self.path, self.temporary = draft.path / inside, draft.temporary / inside
        pending.add(id(self))

    def commit(self) -> None:
        """Rename into place, if all images are complete."""
        self.pending.discard(id(self))
        if not self.pending:
            self.draft.commit()

    def discard(self) -> None:
        """Remove what was written of all images."""
        self.draft.discard()


def remove(path: Path) -> None:
    """Remove a file or folder, as far as possible."""
    for _ in range(REMOVAL_TRIES):
        with suppress(OSError):
            if not path.is_dir() or path.is_symlink():
                path.unlink(missing_ok=True)
                return
            shutil.rmtree(path)
            return
        time.sleep(REMOVAL_WAIT_S)


def remove_abandoned(path: Path) -> None:
    """Remove drafts of an output that killed processes left. Errors: `UserError` if a running process writes it."""
    start = draft_start(path)
    with as_user_error(path, "cannot be written"):
        drafts = [entry.name for entry in os.scandir(path.parent) if entry.name.startswith(start)]
    for name in drafts:
        where, _, kind = name.removeprefix(start).rpartition(".")
        who, process, _ = [*where.split("-"), "", ""][:3]
        if kind not in ("part", "old") or not process.isdigit():
            continue
        if who == host() and int(process) != os.getpid():
            if is_running(int(process)):
                raise UserError(f"{path}: another process ({process}) is writing it; wait, or choose another name")
            if kind == "old" and not os.path.lexists(path):  # killed between two renames
                path.with_name(name).rename(path)
            remove(path.with_name(name))
        elif who != host():
            with suppress(OSError):
                if time.time() - path.with_name(name).stat().st_mtime > ABANDONED_S:
                    remove(path.with_name(name))


def draft_start(path: Path) -> str:
    """How the names of drafts of an output begin: with its name, or with a code where that would be too long."""
    name = os.fsencode(path.name)
    return f".{path.name}." if len(name) <= LONGEST_NAME else f".{crc32(name):08x}."


def host() -> str:
    """A short code for this computer."""
    return f"{crc32(socket.gethostname().encode()):08x}"


def is_running(process: int) -> bool:
    """Whether a process of this computer is running; true where that is not known."""
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
