"""Read and write images: opened lazily, written by region; each output keeps the format and metadata of its input.

Heavy libraries are imported only by the format that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.errors import UserError
from noisewise.io import formats
from noisewise.io.base import Sink, Source, check_pixels, to_dtype
from noisewise.io.files import Draft, check_regular, checksum, fingerprint, user_path
from noisewise.io.paths import animation_output, companions, default_output, find_inputs, is_read_only, suffix_of

__all__ = [
    "Sink",
    "Source",
    "animation_output",
    "checksum",
    "companions",
    "create_sink",
    "default_output",
    "find_inputs",
    "open_source",
    "to_dtype",
]


def open_source(image: Any, axes: str | None = None, name: str | None = None) -> Source:
    """Open an image as a `Source`: a path, or an array (numpy, dask, zarr, xarray, nested lists).

    axes: letters from `STCZYX`, one per dimension, that override those of the file. name: for messages (default: the
    file's name).

    Errors: `UserError` says which file cannot be used, why, and what to do.
    """
    if isinstance(image, Source):
        return image
    if not isinstance(image, (str, Path)):
        from noisewise.io.memory import open_array

        return open_array(image, axes, name)
    path = user_path(image)
    try:
        check_regular(path)
        opened = fingerprint(path)
        source = _open_file(path, axes)
        source.opened = opened
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    if name is not None:
        source.name = name
    return source


def _open_file(path: Path, axes: str | None) -> Source:
    suffix = suffix_of(path)
    if suffix != ".zarr" and path.is_dir():
        raise UserError(f"{path}: is a folder, not an image; give the files inside it")
    source: Source = formats.by_suffix()[suffix].open_file(path, axes)
    return source


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
    target = user_path(path)
    suffix = suffix_of(target)
    if is_read_only(suffix):
        raise UserError(f"{target}: {suffix} files can be read but not written; write to .ome.tif")
    _refuse_input(target, like)
    kind = np.dtype(like.dtype if dtype is None else dtype).newbyteorder("=")
    check_pixels(str(target), like.shape, kind, like.axes)
    draft = Draft(target, overwrite, folder=suffix == ".zarr")
    try:
        sink: Sink = formats.by_suffix()[suffix].create(draft, like, kind, provenance)
        return sink
    except BaseException:
        draft.discard()
        raise


def _refuse_input(target: Path, like: Source) -> None:
    if like.path is None:
        return
    output, source = target.resolve(), like.path.resolve()
    same = output.exists() and source.exists() and output.samefile(source)
    if same or output == source or output in source.parents or source in output.parents:
        raise UserError(f"{target}: is the input itself; choose another name for the output")
