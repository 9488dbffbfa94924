"""Zarr folders with several images: plates of wells with fields (OME-Zarr), and collections of bioformats2raw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisewise.errors import UserError, counted
from noisewise.io.base import Source
from noisewise.io.files import inside

COLLECTION = "bioformats2raw.layout"
METADATA = ("zarr.json", ".zgroup", ".zattrs")
METADATA_FOLDER = "OME"  # of bioformats2raw: METADATA.ome.xml, and the order of the images


def ngff_of(group: Any) -> Mapping[str, Any]:
    """The OME attributes of a group: in `ome` from version 0.5 on."""
    attributes = dict(group.attrs)
    found = attributes.get("ome", attributes)
    return found if isinstance(found, Mapping) else {}


def image_paths(path: Path, group: Any) -> tuple[list[str], list[str]]:
    """Paths of the images in a plate, a well or a collection, and a note on those that do not exist.

    For another group, no paths. Errors: `UserError` if there are no images, or metadata name one outside the folder.
    """
    ngff = ngff_of(group)
    kind = next((kind for kind in ("plate", "well", COLLECTION) if kind in ngff), None)
    if kind is None or (kind == COLLECTION and ngff.get("multiscales")):
        return [], []
    listed = list(dict.fromkeys(_listed(path, group, ngff, kind)))
    found = [name for name in listed if any((inside(path, name) / file).is_file() for file in METADATA)]
    name = "collection of images" if kind == COLLECTION else kind
    if not found:
        raise UserError(f"{path}: is a {name} of which no image exists; copy it again")
    if len(found) == len(listed):
        return found, []
    return found, [
        f"the {name} lists {counted(len(listed), 'image')}, {len(found)} exist: the recording was stopped early, or "
        f"parts are missing; what exists is denoised"
    ]


def _listed(path: Path, group: Any, ngff: Mapping[str, Any], kind: str) -> Iterator[str]:
    """Paths of the images that the metadata list, whether they exist or not."""
    if kind == "plate":
        for well in ngff["plate"]["wells"]:
            name = str(well["path"])
            inside(path, name)
            if name in group:
                yield from (
                    f"{name}/{image}" for image in _listed(path / name, group[name], ngff_of(group[name]), "well")
                )
            else:
                yield name
    elif kind == "well":
        for image in ngff["well"]["images"]:
            inside(path, str(image["path"]))
            yield str(image["path"])
    else:
        names = ngff_of(group[METADATA_FOLDER]).get("series") if METADATA_FOLDER in group else None
        numbers = sorted((name for name in group.group_keys() if name.isdigit()), key=int)
        for name in map(str, names or numbers):
            inside(path, name)
            yield name


def place_of(like: Source, number: int) -> str:
    """Path of an image in an output: as in its collection, or its number."""
    return str(number) if like.root is None or like.path is None else like.path.relative_to(like.root).as_posix()


def write_groups(target: Path, likes: Sequence[Source], record: Mapping[str, Any] | None) -> None:
    """Write the metadata of a collection: those of the input with its rows and wells, or new ones.

    likes: the images, of one input. record: JSON-like, goes into the metadata of the whole.
    """
    root = likes[0].root
    if root is None:
        _new_collection(target, len(likes), record)
        return
    groups = {Path()}
    for number, like in enumerate(likes):
        groups |= set(Path(place_of(like, number)).parents)
    for group in groups:
        copy_metadata(root / group, target / group)
    if (root / METADATA_FOLDER).is_dir():
        copy_metadata(root / METADATA_FOLDER, target / METADATA_FOLDER, "METADATA.ome.xml")
    if record is not None:
        import zarr

        zarr.open_group(str(target), mode="r+").attrs["noisewise"] = dict(record)


def copy_metadata(source: Path, target: Path, *more: str) -> None:
    """Copy the metadata files of a group, without copies of the metadata of what is in it."""
    target.mkdir(parents=True, exist_ok=True)
    for name in (*METADATA, *more):
        file = source / name
        if not file.is_file() or not file.resolve().is_relative_to(source.resolve()):
            continue
        if name == "zarr.json":
            content = json.loads(file.read_text(encoding="utf-8"))
            content.pop("consolidated_metadata", None)
            (target / name).write_text(json.dumps(content), encoding="utf-8")
        else:
            (target / name).write_bytes(file.read_bytes())


def _new_collection(target: Path, count: int, record: Mapping[str, Any] | None) -> None:
    import zarr

    attributes: dict[str, Any] = {"ome": {"version": "0.5", COLLECTION: 3}}
    if record is not None:
        attributes["noisewise"] = dict(record)
    group = zarr.create_group(str(target), zarr_format=3, attributes=attributes, overwrite=True)
    series = {"version": "0.5", "series": [str(number) for number in range(count)]}
    group.create_group(METADATA_FOLDER, attributes={"ome": series})
