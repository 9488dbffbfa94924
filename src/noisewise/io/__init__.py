"""Read and write images: opened lazily, written by region; each output keeps the format and metadata of its input.

Heavy libraries are imported only by the format that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.errors import UserError
from noisewise.io import formats
from noisewise.io.base import Sink, Source, check_pixels, to_dtype
from noisewise.io.files import Draft, check_regular, checksum, fingerprint, user_path
from noisewise.io.paths import (
    animation_output,
    companions,
    default_output,
    file_of,
    find_inputs,
    is_read_only,
    suffix_of,
)

__all__ = [
    "Sink",
    "Source",
    "animation_output",
    "checksum",
    "companions",
    "create_sink",
    "create_sinks",
    "default_output",
    "find_inputs",
    "open_images",
    "open_source",
    "to_dtype",
]


def open_source(image: Any, axes: str | None = None, name: str | None = None, series: int | None = None) -> Source:
    """Open an image as a `Source`: a path, or an array (numpy, dask, zarr, xarray, nested lists).

    axes: letters from `STCZYX`, one per dimension, that override those of the file. name: for messages (default: the
    file's name). series: number of the image, where the file contains several (default: the first that is no preview).

    Errors: `UserError` says which file cannot be used, why, and what to do.
    """
    first, *others = open_images(image, axes, name, series)
    for source in others:
        source.close()
    if others:
        first.notes.append(f"the file contains {len(others) + 1} images; only the first is used")
    return first


def open_images(
    image: Any, axes: str | None = None, name: str | None = None, series: int | None = None
) -> list[Source]:
    """Open all images of a file, such as the positions of an OME-TIFF or the fields of a plate; without previews.

    axes, name: as for `open_source`. series: number of the only image to open.

    Errors: `UserError`, as `open_source`.
    """
    if isinstance(image, Source):
        return [image]
    if not isinstance(image, (str, Path)):
        from noisewise.io.memory import open_array

        return [open_array(image, axes, name)]
    path = user_path(image)
    try:
        check_regular(file_of(path))
        opened = fingerprint(file_of(path))
        sources = _open_file(path, axes, series)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    for source in sources:
        source.opened = opened if source.path == file_of(path) else fingerprint(source.path or path)
        source.name = source.name if name is None else name
    return sources


def _open_file(path: Path, axes: str | None, series: int | None) -> list[Source]:
    suffix = suffix_of(path)
    if suffix != ".zarr" and path.is_dir():
        raise UserError(f"{path}: is a folder, not an image; give the files inside it")
    module = formats.by_suffix()[suffix]
    if hasattr(module, "open_images"):
        return list(module.open_images(path, axes, series))
    if series:
        raise UserError(f"{path}: contains one image, with number 0, and none with number {series}")
    return [module.open_file(path, axes)]


def create_sink(
    path: str | Path,
    like: Source,
    dtype: Any = None,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Sink:
    """Create a `Sink` with the shape and metadata of `like`; the suffix of `path` decides the format.

    path: the file, or a folder ending in `.zarr`. like: the image whose axes, shape, pixel size and channel names the
    output has. dtype: pixel type, default that of `like`. provenance: JSON-like, goes into the metadata (`.npy` has no
    place for it). overwrite: whether an output that exists is replaced, once the new one is complete.

    Errors: `UserError` if the output exists, is the input, cannot be written, or its format cannot hold the image.
    """
    return create_sinks(path, [like], dtype, [provenance], overwrite)[0]


def create_sinks(
    path: str | Path,
    likes: Sequence[Source],
    dtype: Any = None,
    provenance: Sequence[Mapping[str, Any] | None] = (),
    overwrite: bool = False,
) -> list[Sink]:
    """Create a sink for each image of one output file, which is renamed into place when all are complete.

    likes: the images of an input file. provenance: one for each, or none. Others as for `create_sink`.

    Errors: `UserError`, as `create_sink`; and if the format holds a single image.
    """
    target = user_path(path)
    suffix = suffix_of(target)
    if is_read_only(suffix):
        raise UserError(f"{target}: {suffix} files can be read but not written; write to .ome.tif")
    kinds = [np.dtype(like.dtype if dtype is None else dtype).newbyteorder("=") for like in likes]
    for like, kind in zip(likes, kinds, strict=True):
        _refuse_input(target, like)
        check_pixels(str(target), like.shape, kind, like.axes)
    module, records = formats.by_suffix()[suffix], list(provenance) or [None] * len(likes)
    draft = Draft(target, overwrite, folder=suffix == ".zarr")
    try:
        if hasattr(module, "create_images"):
            return list(module.create_images(draft, likes, kinds, records))
        if len(likes) > 1:
            raise UserError(f"{target}: {suffix} files hold one image, not {len(likes)}; write to .ome.tif")
        return [module.create(draft, likes[0], kinds[0], records[0])]
    except BaseException:
        draft.discard()
        raise


def _refuse_input(target: Path, like: Source) -> None:
    for path in (like.path, like.root):
        if path is None:
            continue
        output, source = target.resolve(), path.resolve()
        same = output.exists() and source.exists() and output.samefile(source)
        if same or output == source or output in source.parents or source in output.parents:
            raise UserError(f"{target}: is the input itself; choose another name for the output")
