"""Read OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3), and plain Zarr arrays, from folders."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np

from noisewise.axes import Array, Region, guess_axes, guess_notes
from noisewise.errors import UserError, one_line
from noisewise.io.base import Acquisition, Source, check_pixels, given_axes, naming, owned, unique_axes
from noisewise.io.files import inside
from noisewise.io.several import check_number, left_out
from noisewise.io.units import micrometres, seconds
from noisewise.io.zarr_collection import image_paths, ngff_of


@dataclass
class ZarrSource(Source):
    """The full resolution of the first image of an OME-Zarr group, or a plain Zarr array.

    levels: paths of the pyramid's arrays below `path`; a plain array has one, the empty text. stated: axes by the
    metadata; empty if these are not valid.
    """

    array: Any = field(default=None, repr=False)
    levels: list[str] = field(default_factory=list)
    zarr_format: Literal[2, 3] = 3
    stated: str = ""

    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region (default: all). Errors: `UserError` if chunks are damaged."""
        with readable(self.path or Path(self.name)):
            return owned(self.array[region or self.everything], self.dtype)

    def close(self) -> None:
        """Zarr keeps no file open."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors of zarr and its codecs into a `UserError`."""
    try:
        with warnings.catch_warnings(), naming(str(path)):
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(
            f"{path}: cannot be read as Zarr, it is damaged or incomplete ({reason}); copy it again"
        ) from error


def open_zarr(path: Path, axes: str | None = None, series: int | None = None) -> list[ZarrSource]:
    """Open the image in a Zarr folder, or the images of a plate, a well or a collection.

    series: number of the only image to open.

    Errors: `UserError` for label images, folders without an image, damaged metadata.
    """
    import zarr

    with readable(path):
        if not path.is_dir():
            raise UserError(f"{path}: is not a folder; unpack it, only Zarr folders can be read")
        node = zarr.open(str(path), mode="r")
        names, notes = ([], []) if isinstance(node, zarr.Array) else image_paths(path, node)
        if names:
            return _collection(path, names, notes, axes, series)
        check_number(path, series or 0, 1)
        return [_open(path, node, axes)]


def _open(path: Path, node: Any, axes: str | None) -> ZarrSource:
    import zarr

    from noisewise.io.zarr_codecs import guarded

    return _plain(path, guarded(node), axes) if isinstance(node, zarr.Array) else _image(path, node, axes)


def _collection(
    path: Path, names: list[str], notes: list[str], axes: str | None, series: int | None
) -> list[ZarrSource]:
    """The images of a collection that have the pixel type and number of channels of the largest; or a single one."""
    import zarr

    if series is not None:
        check_number(path, series, len(names))
    every = {
        number: _open(path / name, zarr.open(str(path / name), mode="r"), axes)
        for number, name in enumerate(names)
        if series in (None, number)
    }
    largest = max(every.values(), key=lambda one: prod(one.shape))
    alike = [n for n, one in every.items() if (one.dtype, one.size_of("C")) == (largest.dtype, largest.size_of("C"))]
    others = {n: f"{' x '.join(map(str, one.shape))} {one.dtype}" for n, one in every.items() if n not in alike}
    for number, source in every.items():
        source.series, source.in_file = number, len(names)
        source.name = f"{path.name}/{names[number]}"
        source.root = None if series is not None else path
    found = [every[number] for number in alike]
    found[0].notes += notes + left_out(path, others)
    return found


def _plain(path: Path, array: Any, axes: str | None) -> ZarrSource:
    shape, dtype = tuple(array.shape), np.dtype(array.dtype).newbyteorder("=")
    check_pixels(str(path), shape, dtype)
    names = getattr(array.metadata, "dimension_names", None)
    if axes is not None:
        letters = given_axes(str(path), axes, len(shape))
    elif names and all(names):
        letters = unique_axes("".join(_letter({"name": name}) for name in names))
    else:
        letters = guess_axes(shape)
    source = ZarrSource(path.name, letters, shape, dtype, path=path, array=array, levels=[""])
    source.notes = guess_notes(shape, letters, path.name) if axes is None and not (names and all(names)) else []
    source.zarr_format, source.stated = array.metadata.zarr_format, letters if axes is None else ""
    return source


def _image(path: Path, group: Any, axes: str | None) -> ZarrSource:
    ngff = ngff_of(group)
    _refuse_other_groups(path, ngff, group)
    multiscale = ngff["multiscales"][0]
    levels = [str(dataset["path"]) for dataset in multiscale["datasets"]]
    for level in levels:
        inside(path, level)
    from noisewise.io.zarr_codecs import guarded

    array = guarded(group[levels[0]])
    shape, dtype = tuple(array.shape), np.dtype(array.dtype).newbyteorder("=")
    names = axes_of(multiscale, len(shape))
    valid = len(names) == len(shape)
    check_pixels(str(path), shape, dtype, "".join(map(_letter, names)) if valid else "")
    if axes is None and not valid:
        names_axes = f"names {len(names)} axes for {len(shape)} dimensions"
        raise UserError(f"{path}: {names_axes}; say which they are: noisewise denoise {quote(path.name)} --axes ZYX")
    stated = unique_axes("".join(map(_letter, names))) if valid else ""
    letters = stated if axes is None else given_axes(str(path), axes, len(shape))
    scale, stage = (_in_units(names, stated or letters, multiscale, kind) for kind in ("scale", "translation"))
    source = ZarrSource(path.name, letters, shape, dtype, path=path, array=array, levels=levels)
    source.scale = {axis: size for axis, size in scale.items() if axis in letters and size > 0}
    moved = {axis: at for axis, at in stage.items() if axis in "ZYX" and any(stage.values())}
    source.acquisition = _acquisition(group, moved)
    source.stated, source.zarr_format = stated, group.metadata.zarr_format
    source.channel_names = _channels(ngff, source)
    source.notes = _notes(ngff) if valid else []
    source.levels = levels if valid else levels[:1]
    return source


def axes_of(multiscale: Mapping[str, Any], ndim: int) -> list[Mapping[str, Any]]:
    """Axes of an NGFF image; before version 0.3 these were names, or the last of tczyx."""
    stated: list[Any] = multiscale.get("axes") or list("tczyx")[-ndim:]
    return [{"name": axis} if isinstance(axis, str) else axis for axis in stated]


def _refuse_other_groups(path: Path, ngff: Mapping[str, Any], group: Any) -> None:
    if "image-label" in ngff:
        raise UserError(f"{path}: is a label image: a segmentation has no noise to remove; give the image itself")
    if not ngff.get("multiscales"):
        inside = ", ".join(sorted(name for name, _ in group.members())[:4]) or "nothing"
        raise UserError(f"{path}: contains no OME-Zarr image but {inside}; give the path of an array inside it")


def _notes(ngff: Mapping[str, Any]) -> list[str]:
    notes = []
    if len(ngff["multiscales"]) > 1:
        notes.append(f"the group contains {len(ngff['multiscales'])} images; only the first is used")
    with suppress(ImportError):
        import yaozarrs

        try:
            yaozarrs.validate_ome_object(dict(ngff))
        except Exception as error:
            notes.append("the OME-Zarr metadata is not valid: " + one_line(str(error)))
    return notes


def _letter(axis: Mapping[str, Any]) -> str:
    """Letter of an NGFF axis; `?` if it is neither time, channel nor space."""
    kind, name = axis.get("type"), str(axis.get("name", "")).lower()
    if kind == "time" or name in ("t", "time"):
        return "T"
    if kind == "channel" or name in ("c", "channel"):
        return "C"
    return name.upper() if name in ("z", "y", "x") else "?"


def _acquisition(group: Any, stage_um: dict[str, float]) -> Acquisition:
    """When and where an image was recorded: its place is its translation; the rest is as `zarr_write` wrote it."""
    with suppress(Exception):  # metadata are no reason to refuse the pixels
        stated = dict(group.attrs["acquisition"])
        return Acquisition(str(stated["date"]), stage_um, tuple(map(float, stated["times_s"])))
    return Acquisition(stage_um=stage_um)


def _in_units(
    names: list[Mapping[str, Any]], letters: str, multiscale: Mapping[str, Any], kind: str
) -> dict[str, float]:  # fmt: skip
    """The scale, or the translation, of an image by axis: µm, s."""
    total = np.ones(len(letters)) if kind == "scale" else np.zeros(len(letters))
    for owner in (multiscale["datasets"][0], multiscale):
        for transformation in owner.get("coordinateTransformations") or []:
            if transformation.get("type") == kind and len(transformation.get(kind, ())) == len(letters):
                values = np.asarray(transformation[kind], np.float64)
                total = total * values if kind == "scale" else total + values
    found: dict[str, float] = {}
    units = {_letter(axis): str(axis.get("unit") or "") for axis in names}
    if len(names) == len(letters):
        units |= {letter: str(axis.get("unit") or "") for letter, axis in zip(letters, names, strict=True)}
    for letter, size in zip(letters, total.tolist(), strict=True):
        unit = units.get(letter, "")
        one = seconds(1.0, unit) if letter == "T" else micrometres(1.0, unit) if letter in "ZYX" else None
        if one and math.isfinite(size):
            found[letter] = size * one
    return found


def _channels(ngff: Mapping[str, Any], source: ZarrSource) -> list[str]:
    with suppress(Exception):
        names = [str(channel["label"]) for channel in ngff["omero"]["channels"]]
        if len(names) == source.size_of("C") and all(names):
            return names
    return []
