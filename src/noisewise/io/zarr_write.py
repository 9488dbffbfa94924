"""Write Zarr folders: version, attributes, chunks, codecs and pyramid as in the input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array, Region
from noisewise.errors import UserError
from noisewise.io.base import Sink, Source, naming, to_dtype
from noisewise.io.files import Draft, as_user_error
from noisewise.io.pyramid import shrink
from noisewise.io.zarr_read import ZarrSource, readable

CHUNK = 1024  # pixels along Y and X, for inputs that are not Zarr

Provenance = Mapping[str, Any] | None


class ZarrSink(Sink):
    """A Zarr folder, written at full resolution; `commit` computes the pyramid by local means."""

    def __init__(self, draft: Draft, levels: list[Any], dtype: np.dtype[Any]) -> None:
        self.draft, self.levels, self.dtype = draft, levels, dtype

    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels into a region."""
        with as_user_error(self.draft.path, "cannot be written"):
            self.levels[0][region] = to_dtype(pixels, self.dtype)

    def commit(self) -> None:
        """Compute the pyramid and rename into place."""
        if not self.levels:
            return
        with as_user_error(self.draft.path, "cannot be written"), naming(str(self.draft.path)):
            for fine, coarse in zip(self.levels[:-1], self.levels[1:], strict=True):
                shrink(fine, coarse)
        self._check_complete()
        self.levels = []
        self.draft.commit()

    def _check_complete(self) -> None:
        """Errors: `UserError` if metadata are missing, as where the folder was removed during the work."""
        import zarr

        try:
            for level in self.levels:
                zarr.open_array(level.store_path, mode="r")
            zarr.open(str(self.draft.temporary), mode="r")
        except Exception as error:
            raise UserError(f"{self.draft.path}: was removed or changed while it was written; run again") from error

    def discard(self) -> None:
        """Remove the unfinished folder."""
        self.levels = []
        self.draft.discard()


def create_zarr(draft: Draft, like: Source, dtype: np.dtype[Any], provenance: Provenance) -> ZarrSink:
    """Create a Zarr folder: with the layout of a Zarr source, otherwise OME-Zarr 0.5 with one level.

    Label images beside the input's pyramid are not copied.

    Errors: `UserError` for axes orders that OME-Zarr does not allow.
    """
    with as_user_error(draft.path, "cannot be written"):
        if isinstance(like, ZarrSource) and tuple(like.array.shape) == like.shape:
            with readable(like.path or Path(like.name)):
                levels = _create_like(draft.temporary, like, dtype, provenance)
        else:
            levels = [_new(draft, like, dtype, provenance)]
    return ZarrSink(draft, levels, dtype)


def _create_like(root: Path, like: ZarrSource, dtype: np.dtype[Any], provenance: Provenance) -> list[Any]:
    """Create the arrays of all levels with the metadata of a Zarr source."""
    import zarr

    assert like.path is not None
    if like.levels != [""]:
        attributes = dict(zarr.open_group(str(like.path), mode="r").attrs)
        if provenance is not None:
            attributes["noisewise"] = dict(provenance)
        zarr.create_group(str(root), zarr_format=like.zarr_format, attributes=attributes, overwrite=True)
    arrays = []
    for level in like.levels:
        source, target = like.path / level, root / level
        target.mkdir(parents=True, exist_ok=True)
        array = zarr.open_array(str(source), mode="r")
        if np.dtype(array.dtype) == dtype:
            _copy_metadata(source, target)
        else:
            _create_with_dtype(target, array, dtype)
        arrays.append(zarr.open_array(str(target), mode="r+"))
    if like.levels == [""] and provenance is not None:
        arrays[0].attrs["noisewise"] = dict(provenance)
    return arrays


def _copy_metadata(source: Path, target: Path) -> None:
    """Copy the array's metadata files, which keeps any chunks, shards, codecs and names."""
    for name in ("zarr.json", ".zarray", ".zattrs"):
        if (source / name).is_file():
            (target / name).write_bytes((source / name).read_bytes())


def _create_with_dtype(target: Path, array: Any, dtype: np.dtype[Any]) -> None:
    """Create an array with the same chunks and compressors, but without filters: many depend on the dtype."""
    import zarr

    options: dict[str, Any] = {"compressors": array.compressors or None}
    if array.metadata.zarr_format == 3:
        options |= {"dimension_names": array.metadata.dimension_names, "shards": array.shards}
        separator = getattr(array.metadata.chunk_key_encoding, "separator", "/")
        options["chunk_key_encoding"] = {"name": "default", "separator": separator}
    else:
        separator = array.metadata.dimension_separator
        options["chunk_key_encoding"] = {"name": "v2", "separator": separator}
        options["order"] = array.metadata.order
    zarr.create_array(
        str(target),
        shape=array.shape,
        chunks=array.chunks,
        dtype=dtype,
        filters=None,
        zarr_format=array.metadata.zarr_format,
        attributes=dict(array.attrs),
        overwrite=True,
        **options,
    )


def _new(draft: Draft, like: Source, dtype: np.dtype[Any], provenance: Provenance) -> Any:
    import zarr

    _check_order(draft.path, like.axes)
    attributes: dict[str, Any] = {"ome": _ngff(like)}
    if provenance is not None:
        attributes["noisewise"] = dict(provenance)
    root = draft.temporary
    zarr.create_group(str(root), zarr_format=3, attributes=json.loads(json.dumps(attributes)), overwrite=True)
    chunks = [min(n, CHUNK) if a in "YX" else 1 for a, n in zip(like.axes, like.shape, strict=True)]
    names = list(like.axes.lower())
    return zarr.create_array(
        str(root / "0"), shape=like.shape, chunks=tuple(chunks), dtype=dtype, dimension_names=names, zarr_format=3
    )


def _check_order(path: Path, axes: str) -> None:
    """NGFF requires time, then one channel or other axis, then Z, Y, X."""
    batch = [axis for axis in axes if axis not in "TZYX"]
    order = "".join(axis for axis in "T" if axis in axes) + "".join(batch)
    order += "".join(axis for axis in "ZYX" if axis in axes)
    if len(batch) > 1 or order != axes:
        raise UserError(f"{path}: OME-Zarr cannot hold axes in the order {axes}; write to .tif or .npy")


def _ngff(like: Source) -> dict[str, Any]:
    kinds = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
    axes: list[dict[str, str]] = []
    for letter in like.axes:
        axis = {"name": letter.lower(), "type": kinds.get(letter, "sample")}
        if letter in like.scale:
            axis["unit"] = "second" if letter == "T" else "micrometer"
        axes.append(axis)
    scale = [float(like.scale.get(letter, 1.0)) for letter in like.axes]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    ngff: dict[str, Any] = {"version": "0.5"}
    ngff["multiscales"] = [{"name": like.name, "axes": axes, "datasets": [dataset]}]
    if like.channel_names:
        colours = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00")
        channels: list[dict[str, Any]] = [
            {"label": n, "color": colours[i % 5]} for i, n in enumerate(like.channel_names)
        ]
        for channel in channels:
            channel |= {"active": True, "window": {"min": 0, "max": 65535, "start": 0, "end": 65535}}
        ngff["omero"] = {"channels": channels}
    return ngff
