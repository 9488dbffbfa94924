"""Read OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3), and plain Zarr arrays, from folders."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from noisewise.axes import Array, Region, guess_axes, guess_notes
from noisewise.errors import UserError, one_line
from noisewise.io.base import Source, check_pixels, given_axes, naming, owned, unique_axes
from noisewise.io.files import inside
from noisewise.io.units import micrometres, seconds


@dataclass
class ZarrSource(Source):
    """The full resolution of the first image of an OME-Zarr group, or a plain Zarr array.

    levels: paths of the pyramid's arrays below `path`; a plain array has one, the empty text.
    """

    array: Any = field(default=None, repr=False)
    levels: list[str] = field(default_factory=list)
    zarr_format: Literal[2, 3] = 3

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


def open_zarr(path: Path, axes: str | None = None) -> ZarrSource:
    """Open a Zarr folder.

    Errors: `UserError` for plates, label images, folders without an image, damaged metadata.
    """
    import zarr

    from noisewise.io.zarr_codecs import guarded

    with readable(path):
        if not path.is_dir():
            raise UserError(f"{path}: is not a folder; unpack it, only Zarr folders can be read")
        node = zarr.open(str(path), mode="r")
        if isinstance(node, zarr.Array):
            return _plain(path, guarded(node), axes)
        return _image(path, node, axes)


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
    source.notes = guess_notes(shape, letters) if axes is None and not (names and all(names)) else []
    source.zarr_format = array.metadata.zarr_format
    return source


def _image(path: Path, group: Any, axes: str | None) -> ZarrSource:
    attributes = dict(group.attrs)
    ngff: Mapping[str, Any] = attributes.get("ome", attributes)
    _refuse_other_groups(path, ngff, group)
    multiscale = ngff["multiscales"][0]
    levels = [str(dataset["path"]) for dataset in multiscale["datasets"]]
    for level in levels:
        inside(path, level)
    from noisewise.io.zarr_codecs import guarded

    array = guarded(group[levels[0]])
    shape, dtype = tuple(array.shape), np.dtype(array.dtype).newbyteorder("=")
    stated: list[Any] = multiscale.get("axes") or list("tczyx")[-len(shape) :]
    names: list[Mapping[str, Any]] = [{"name": a} if isinstance(a, str) else a for a in stated]
    letters = unique_axes("".join(_letter(a) for a in names))
    check_pixels(str(path), shape, dtype, letters)
    if len(letters) != len(shape):
        names_axes = f"names {len(letters)} axes for {len(shape)} dimensions"
        raise UserError(f"{path}: {names_axes}: the metadata is damaged; use the original data")
    scale = _scale(names, letters, multiscale)
    source = ZarrSource(path.name, letters, shape, dtype, scale, path=path, array=array, levels=levels)
    source.zarr_format = group.metadata.zarr_format
    source.channel_names = _channels(ngff, source)
    source.notes = _notes(ngff)
    if axes is not None:
        source.axes = given_axes(str(path), axes, len(shape))
    return source


def _refuse_other_groups(path: Path, ngff: Mapping[str, Any], group: Any) -> None:
    if "plate" in ngff or "well" in ngff:
        raise UserError(f"{path}: is a plate; give one of its images, e.g. {path.name}/A/1/0")
    if "image-label" in ngff:
        raise UserError(f"{path}: is a label image: a segmentation has no noise to remove; give the image itself")
    if not ngff.get("multiscales"):
        if "bioformats2raw.layout" in ngff:
            raise UserError(f"{path}: is a collection of images; give one of them, e.g. {path.name}/0")
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


def _scale(names: list[Mapping[str, Any]], letters: str, multiscale: Mapping[str, Any]) -> dict[str, float]:
    total = np.ones(len(letters))
    for owner in (multiscale["datasets"][0], multiscale):
        for transformation in owner.get("coordinateTransformations") or []:
            if transformation.get("type") == "scale" and len(transformation.get("scale", ())) == len(letters):
                total = total * np.asarray(transformation["scale"], np.float64)
    found: dict[str, float] = {}
    for axis, letter, size in zip(names, letters, total.tolist(), strict=True):
        unit = str(axis.get("unit") or "")
        value = seconds(size, unit) if letter == "T" else micrometres(size, unit) if letter in "ZYX" else None
        if value:
            found[letter] = value
    return found


def _channels(ngff: Mapping[str, Any], source: ZarrSource) -> list[str]:
    with suppress(Exception):
        names = [str(channel["label"]) for channel in ngff["omero"]["channels"]]
        if len(names) == source.size_of("C") and all(names):
            return names
    return []
