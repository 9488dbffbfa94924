"""Write Zarr folders: version, attributes, chunks, codecs and pyramid as in the input."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array, Region
from noisewise.errors import UserError
from noisewise.io.base import Sink, Source, naming, to_dtype
from noisewise.io.files import Draft, SharedDraft, as_user_error, remove
from noisewise.io.pyramid import shrink
from noisewise.io.zarr_collection import place_of, write_groups
from noisewise.io.zarr_read import ZarrSource, axes_of, readable

CHUNK = 1024  # pixels along Y and X, for inputs that are not Zarr

Provenance = Mapping[str, Any] | None


class ZarrSink(Sink):
    """A Zarr folder, written at full resolution; `commit` computes the pyramid by local means.

    order: of the image's axes in the arrays.
    """

    def __init__(self, draft: Draft, levels: list[Any], dtype: np.dtype[Any], order: Sequence[int]) -> None:
        self.draft, self.levels, self.dtype, self.order = draft, levels, dtype, order

    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels into a region."""
        with as_user_error(self.draft.path, "cannot be written"):
            self.levels[0][tuple(region[axis] for axis in self.order)] = to_dtype(pixels, self.dtype).transpose(
                self.order
            )

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


def create_zarr(
    draft: Draft, likes: Sequence[Source], dtypes: Sequence[np.dtype[Any]], records: Sequence[Provenance]
) -> list[ZarrSink]:
    """Create a Zarr folder: with the layout of a Zarr source, otherwise OME-Zarr 0.5 with one level.

    Several images, or one of a collection that is given as a whole, become a collection like that of the input.
    Label images beside the input's pyramid are not copied.

    The axes of a new image are in the order that OME-Zarr requires.

    Errors: `UserError` for axes that it does not allow.
    """
    if len(likes) == 1 and likes[0].root is None:
        return [_create(draft, likes[0], dtypes[0], records[0])]
    pending: set[int] = set()
    with as_user_error(draft.path, "cannot be written"), readable(likes[0].root or draft.path):
        write_groups(draft.temporary, likes, records[0])
    parts = [SharedDraft(draft, pending, place_of(like, number)) for number, like in enumerate(likes)]
    return [_create(*one) for one in zip(parts, likes, dtypes, records, strict=True)]


def _create(draft: Draft, like: Source, dtype: np.dtype[Any], provenance: Provenance) -> ZarrSink:
    with as_user_error(draft.path, "cannot be written"):
        if isinstance(like, ZarrSource) and tuple(like.array.shape) == like.shape:
            with readable(like.path or Path(like.name)):
                return ZarrSink(draft, _create_like(draft, like, dtype, provenance), dtype, range(len(like.axes)))
        axes = _ordered(draft.path, like.axes)
        return ZarrSink(draft, [_new(draft, like, axes, dtype, provenance)], dtype, [*map(like.axes.index, axes)])


def _create_like(draft: Draft, like: ZarrSource, dtype: np.dtype[Any], provenance: Provenance) -> list[Any]:
    """Create the arrays of all levels with the metadata of a Zarr source."""
    import zarr

    assert like.path is not None
    root, changed = draft.temporary, like.stated != like.axes
    if like.levels != [""]:
        attributes = dict(zarr.open_group(str(like.path), mode="r").attrs)
        if changed:
            if _ordered(draft.path, like.axes) != like.axes:
                raise UserError(
                    f"{draft.path}: OME-Zarr cannot hold axes in the order {like.axes}; write to .tif or .npy"
                )
            _rename_axes(attributes, like)
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
            _create_with_dtype(target, array, dtype, {})
        if not _can_be_written(target):
            remove(target)
            _create_with_dtype(target, array, dtype, {"compressors": "auto", "shards": None})
        if changed:
            _rename_dimensions(target, like.axes)
        arrays.append(zarr.open_array(str(target), mode="r+"))
    if like.levels == [""] and provenance is not None:
        arrays[0].attrs["noisewise"] = dict(provenance)
    return arrays


def _rename_axes(attributes: dict[str, Any], like: ZarrSource) -> None:
    """Change the axes of an image in its OME attributes to those that the user gave."""
    ngff = attributes.get("ome", attributes)
    multiscale = ngff["multiscales"][0]
    if not like.stated:  # they were not valid
        multiscale |= _ngff(like, like.axes)["multiscales"][0] | {"name": multiscale.get("name", like.name)}
        multiscale["datasets"][0]["path"] = like.levels[0]
        return
    old = dict(zip(like.stated, axes_of(multiscale, len(like.shape)), strict=True))
    multiscale["axes"] = [
        {**axis, **old.get(letter, {})} for letter, axis in zip(like.axes, _axes(like, like.axes), strict=True)
    ]
    for owner in (*multiscale["datasets"], multiscale):
        for one in owner.get("coordinateTransformations") or []:
            kind = one.get("type")
            values = one.get(kind)
            if kind in ("scale", "translation") and isinstance(values, list):
                known = dict(zip(like.stated, values, strict=False))
                one[kind] = [known.get(letter, 1.0 if kind == "scale" else 0.0) for letter in like.axes]
    if like.axes.find("C") != like.stated.find("C"):
        ngff.pop("omero", None)


def _rename_dimensions(target: Path, axes: str) -> None:
    """Change the names of the dimensions of an array, where its format has these."""
    file = target / "zarr.json"
    if file.is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(content | {"dimension_names": list(axes.lower())}), encoding="utf-8")


def _copy_metadata(source: Path, target: Path) -> None:
    """Copy the array's metadata files, which keeps any chunks, shards, codecs and names."""
    for name in ("zarr.json", ".zarray", ".zattrs"):
        if (source / name).is_file():
            (target / name).write_bytes((source / name).read_bytes())


def _can_be_written(target: Path) -> bool:
    """Whether the codecs of an array can encode: those of a damaged file may not, though its chunks can be read."""
    import zarr

    try:
        array = zarr.open_array(str(target), mode="r+")
        for value in (1, 0):
            array[(slice(0, 1),) * array.ndim] = value
    except Exception:
        return False
    return True


def _create_with_dtype(target: Path, array: Any, dtype: np.dtype[Any], other: Mapping[str, Any]) -> None:
    """Create an array with the same chunks and compressors, but without filters: many depend on the dtype.

    other: options to create it with, in place of these.
    """
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
        **options | {name: value for name, value in other.items() if name in ("compressors", *options)},
    )


def _new(draft: Draft, like: Source, axes: str, dtype: np.dtype[Any], provenance: Provenance) -> Any:
    import zarr

    attributes: dict[str, Any] = {"ome": _ngff(like, axes)}
    if provenance is not None:
        attributes["noisewise"] = dict(provenance)
    if like.acquisition.date or like.acquisition.times_s:  # NGFF has no place for them
        attributes["acquisition"] = {"date": like.acquisition.date, "times_s": like.acquisition.times_s}
    root = draft.temporary
    zarr.create_group(str(root), zarr_format=3, attributes=json.loads(json.dumps(attributes)), overwrite=True)
    shape = tuple(map(like.size_of, axes))
    chunks = tuple(min(size, CHUNK) if axis in "YX" else 1 for axis, size in zip(axes, shape, strict=True))
    names = list(axes.lower())
    return zarr.create_array(
        str(root / "0"), shape=shape, chunks=chunks, dtype=dtype, dimension_names=names, zarr_format=3
    )


def _ordered(path: Path, axes: str) -> str:
    """The axes in the order that NGFF requires: time, then one channel or other axis, then Z, Y, X."""
    batch = "".join(axis for axis in axes if axis not in "TZYX")
    if len(batch) > 1:
        raise UserError(f"{path}: OME-Zarr cannot hold both axes {' and '.join(batch)}; write to .tif or .npy")
    return "".join(axis for axis in f"T{batch}ZYX" if axis in axes)


def _axes(like: Source, letters: str) -> list[dict[str, str]]:
    """The axes of a new image in NGFF."""
    kinds = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
    axes = [{"name": letter.lower(), "type": kinds.get(letter, "sample")} for letter in letters]
    for letter, axis in zip(letters, axes, strict=True):
        if letter in like.scale:
            axis["unit"] = "second" if letter == "T" else "micrometer"
    return axes


def _ngff(like: Source, axes: str) -> dict[str, Any]:
    scale = [float(like.scale.get(letter, 1.0)) for letter in axes]
    dataset: dict[str, Any] = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    if stage := like.acquisition.stage_um:
        place = {"type": "translation", "translation": [float(stage.get(letter, 0.0)) for letter in axes]}
        dataset["coordinateTransformations"].append(place)
    ngff: dict[str, Any] = {"version": "0.5"}
    ngff["multiscales"] = [{"name": like.name, "axes": _axes(like, axes), "datasets": [dataset]}]
    if like.channel_names:
        colours = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00")
        channels: list[dict[str, Any]] = [
            {"label": n, "color": colours[i % 5]} for i, n in enumerate(like.channel_names)
        ]
        for channel in channels:
            channel |= {"active": True, "window": {"min": 0, "max": 65535, "start": 0, "end": 65535}}
        ngff["omero"] = {"channels": channels}
    return ngff
