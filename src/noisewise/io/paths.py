"""Find image files, name their outputs, and write outputs under a temporary name until they are complete."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from noisewise.errors import UserError
from noisewise.io import formats

VENDOR_SUFFIXES = frozenset({".nd2", ".czi", ".lif", ".oib", ".oif", ".vsi", ".dv", ".ims", ".sld"})
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def suffix_of(path: Path) -> str:
    """Return the suffix that decides the format, in lower case; `.zarr` for any Zarr folder.

    Errors: `UserError` for unknown formats.
    """
    if is_zarr(path):
        return ".zarr"
    suffix = path.suffix.lower()
    if suffix in formats.by_suffix():
        return suffix
    if suffix in VENDOR_SUFFIXES:
        raise UserError(f"{path}: {suffix} files cannot be read; save as OME-TIFF, e.g. with Fiji's Bio-Formats")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not an image; give the files inside it")
    what = f"unknown format '{suffix}'" if suffix else "unknown format, the name has no suffix"
    raise UserError(f"{path}: {what}; known formats are {', '.join(sorted(formats.by_suffix()))}")


def is_read_only(suffix: str) -> bool:
    """Whether files with this suffix are read but not written."""
    return suffix in getattr(formats.by_suffix().get(suffix), "READ_ONLY", ())


def is_zarr(path: Path) -> bool:
    """Whether a path is a Zarr folder, by name or by content."""
    if path.suffix.lower() == ".zarr":
        return True
    return path.is_dir() and any((path / name).is_file() for name in ZARR_FILES)


def find_inputs(patterns: Iterable[str | Path]) -> list[Path]:
    """Find the image files that files, folders (images directly inside) and patterns name, without repeats.

    Errors: `UserError` for a missing file, a folder without images, a pattern without a match.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        found.update(dict.fromkeys(_expand(Path(pattern).expanduser())))
    return list(found)


def _expand(path: Path) -> list[Path]:
    if path.is_dir() and not is_zarr(path):
        inside = [entry for entry in sorted(path.iterdir()) if _readable(entry)]
        if not inside:
            raise UserError(f"{path}: the folder holds no images ({', '.join(sorted(formats.by_suffix()))})")
        return inside
    # A name that exists is not a pattern, even if it contains brackets.
    if path.exists():
        suffix_of(path)
        return [path]
    if not glob.has_magic(str(path)):
        raise UserError(f"{path}: no such file")
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    inside = [match for match in matches if _readable(match)]
    if not inside:
        raise UserError(f"{path}: the pattern matches no image")
    return inside


def _readable(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return is_zarr(path) if path.is_dir() else path.suffix.lower() in formats.by_suffix()


def default_output(path: Path, suffix: str = "_denoised") -> Path:
    """Return `<stem><suffix><extension>` beside the input; `.ome.tif` and `.ome.zarr` count as one extension.

    Formats that cannot be written (`.lsm`, `.stk`) become `.ome.tif`.
    """
    extension = path.suffix
    stem = path.name.removesuffix(extension)
    if stem.lower().endswith(".ome"):
        stem, extension = stem[:-4], stem[-4:] + extension
    if is_read_only(extension.lower()):
        extension = ".ome.tif"
    return path.with_name(f"{stem}{suffix}{extension}")


def std_output(output: Path) -> Path:
    """File of the standard deviation, beside the denoised image."""
    return default_output(output, "_std")


def samples_output(output: Path) -> Path:
    """File of the samples, beside the denoised image."""
    return default_output(output, "_samples")


def mode_output(output: Path) -> Path:
    """File of the posterior's mode, beside the denoised image."""
    return default_output(output, "_mode")


def animation_output(output: Path) -> Path:
    """File of the animation of samples, beside the denoised image."""
    samples = samples_output(output)
    return samples.with_name(samples.name.split(".")[0] + ".gif")


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


@contextmanager
def as_user_error(path: Path, what: str) -> Iterator[None]:
    """Turn errors of the operating system into a `UserError` about `path`; `what` says what failed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{path}: the disk is full; free some space or write elsewhere") from error
        raise UserError(f"{path}: {what} ({error.strerror or error})") from error


class Draft:
    """A file or folder under a temporary name beside its final one, so that an output is complete or absent.

    Errors: `UserError` if the output exists (unless `overwrite`) or cannot be written.
    """

    def __init__(self, path: Path, overwrite: bool = False, folder: bool = False) -> None:
        self.path, self.overwrite = path, overwrite
        self._refuse_taken()
        if not path.parent.is_dir():
            raise UserError(f"{path}: the folder {path.parent} does not exist; create it first")
        self.temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
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
            raise UserError(f"{self.path}: exists already; choose another name or allow it with --overwrite")
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
            shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove the temporary file or folder, if it is still there."""
        with suppress(OSError):
            if self.temporary.is_dir():
                shutil.rmtree(self.temporary)
            else:
                self.temporary.unlink(missing_ok=True)
