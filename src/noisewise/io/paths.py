"""Find image files and name their outputs."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

from noisewise.errors import UserError
from noisewise.io import formats
from noisewise.io.files import is_zarr, user_path

VENDOR_SUFFIXES = frozenset({".oib", ".oif", ".vsi", ".dv", ".ims", ".sld"})
HDF5_SUFFIXES = (".h5", ".hdf5", ".he5")


def suffix_of(path: Path) -> str:
    """Return the suffix that decides the format, in lower case; `.zarr` for any Zarr folder.

    Errors: `UserError` for unknown formats.
    """
    if is_zarr(path):
        return ".zarr"
    suffix = file_of(path).suffix.lower()
    if suffix in formats.by_suffix():
        return suffix
    if suffix == ".safetensors":
        raise UserError(f"{path}: is a model or noise model, no image; give it first: noisewise predict MODEL IMAGE")
    if suffix in VENDOR_SUFFIXES:
        raise UserError(f"{path}: {suffix} files cannot be read; save as OME-TIFF, e.g. with Fiji's Bio-Formats")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not an image; give the files inside it")
    what = f"unknown format '{suffix}'" if suffix else "unknown format, the name has no suffix"
    raise UserError(f"{path}: {what}; save it in one of: {', '.join(sorted(formats.by_suffix()))}")


def file_of(path: Path) -> Path:
    """The HDF5 file whose dataset a path names, as in `cells.h5/raw`; or the path itself."""
    inside = [parent for parent in path.parents if parent.suffix.lower() in HDF5_SUFFIXES and parent.is_file()]
    return inside[0] if inside else path


def is_read_only(suffix: str) -> bool:
    """Whether files with this suffix are read but not written."""
    return suffix in getattr(formats.by_suffix().get(suffix), "READ_ONLY", ())


def find_inputs(patterns: Iterable[str | Path], failed: dict[str, str] | None = None) -> list[Path]:
    """Find the image files that files, folders (images directly inside) and patterns name, without repeats.

    failed: collects patterns that name no image, with the reason, as long as others do.

    Errors: `UserError` for a missing file, a folder without images, a pattern without a match.
    """
    found: dict[Path, None] = {}
    wrong: dict[str, str] = {}
    for pattern in patterns:
        try:
            found.update(dict.fromkeys(_expand(user_path(pattern))))
        except UserError as error:
            if failed is None:
                raise
            wrong[str(pattern)] = str(error)
    if wrong and not found:
        raise UserError(next(iter(wrong.values())))
    if failed is not None:
        failed |= wrong
    return list(found)


def _expand(path: Path) -> list[Path]:
    if path.is_dir() and not is_zarr(path):
        inside = [entry for entry in sorted(path.iterdir()) if _readable(entry)]
        if not inside:
            raise UserError(f"{path}: the folder holds no images; give files {', '.join(sorted(formats.by_suffix()))}")
        return inside
    # A name that exists is not a pattern, even if it contains brackets.
    if file_of(path).exists():
        suffix_of(path)
        return [path]
    if not glob.has_magic(str(path)):
        raise UserError(f"{path}: no such file; check its name")
    # Only what follows the folders that exist is a pattern: their names may contain brackets.
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    pattern = str(Path(glob.escape(str(folder))) / path.relative_to(folder))
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    inside = [match for match in matches if _readable(match)]
    if not inside:
        raise UserError(f"{path}: the pattern matches no image; check the folder and the pattern")
    return inside


def _readable(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return is_zarr(path) if path.is_dir() else path.suffix.lower() in formats.by_suffix()


def default_output(path: Path, suffix: str = "_denoised") -> Path:
    """Return `<stem><suffix><extension>` beside the input; formats that cannot be written become `.ome.tif`.

    The output of an image inside a Zarr folder is beside that folder, `<stem>_<path inside><suffix><extension>`.
    """
    outer = next((parent for parent in reversed(path.parents) if parent.name and is_zarr(parent)), None)
    if outer is not None:
        stem, extension = split_extension(outer)
        return outer.with_name(f"{'_'.join([stem, *path.relative_to(outer).parts])}{suffix}{extension}")
    if (file := file_of(path)) != path:
        name = "_".join([file.stem, *path.relative_to(file).parts])
        return file.with_name(f"{name}{suffix}.ome.tif")
    stem, extension = split_extension(path)
    return path.with_name(f"{stem}{suffix}{'.ome.tif' if is_read_only(extension.lower()) else extension}")


def split_extension(path: Path) -> tuple[str, str]:
    """Stem and extension of a name; `.ome.tif` and `.ome.zarr` count as one extension."""
    stem, extension = path.stem, path.suffix
    return (stem[:-4], stem[-4:] + extension) if stem.lower().endswith(".ome") else (stem, extension)


def companions(output: Path) -> dict[str, Path]:
    """All files that may be written beside a denoised image: standard deviation, samples, mode, animation, report."""
    found = {name: default_output(output, f"_{name}") for name in ("std", "samples", "mode")}
    stem = split_extension(output)[0]
    pages = {"gif": f"{stem}_samples.gif", "report": f"{stem}_report.html"}
    return found | {name: output.with_name(page) for name, page in pages.items()}


def truth_of(noisy: Path) -> Path:
    """The truth of a simulated image, beside it; TIFF for PNG, which has no floats."""
    path = default_output(noisy, "_truth")
    return path.with_suffix(".tif") if path.suffix.lower() == ".png" else path


def animation_output(output: Path) -> Path:
    """The animation of samples beside a denoised image."""
    return companions(output)["gif"]
