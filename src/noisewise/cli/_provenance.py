"""How an image says that noisewise made it: the record that `create_sink` left in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from noisewise.io.base import Source


def read_provenance(source: Source) -> dict[str, Any] | None:
    """The newest record in an image's metadata, or None."""
    found = None
    with suppress(Exception):  # whatever is odd about the metadata, the image itself could be read
        for record in records(source):
            found = record
    return found


def records(source: Source) -> Iterator[dict[str, Any]]:
    """All records, oldest first."""
    kind = type(source).__name__
    if kind == "TiffSource" and source.path is not None:
        yield from in_tiff(source)
    elif kind == "PngSource":
        yield from parsed(getattr(source, "text", {}).get("noisewise", ""))
    elif kind == "ZarrSource" and source.path is not None:
        import zarr

        attributes: dict[str, Any] = dict(zarr.open(str(source.path), mode="r").attrs)
        yield attributes["noisewise"]


def in_tiff(source: Source) -> Iterator[dict[str, Any]]:
    """OME: an annotation; ImageJ: a line of its info; otherwise a line or an entry of the description."""
    import tifffile

    assert source.path is not None
    with tifffile.TiffFile(source.path) as file:
        if file.is_ome and file.ome_metadata:
            yield from in_ome(file.ome_metadata)
        info = str((file.imagej_metadata or {}).get("Info", ""))
        for line in info.splitlines():
            yield from parsed(line.removeprefix("noisewise = ")) if line.startswith("noisewise = ") else ()
        for line in file.pages.first.description.splitlines():
            for record in parsed(line.removeprefix("<!-- ").removesuffix(" -->")):
                if isinstance(record.get("noisewise"), dict):
                    yield record["noisewise"]


def in_ome(xml: str) -> Iterator[dict[str, Any]]:
    """Comments in the namespace `noisewise`."""
    from xml.etree import ElementTree

    for comment in ElementTree.fromstring(xml).iter():
        if comment.tag.endswith("CommentAnnotation") and comment.get("Namespace") == "noisewise":
            yield from parsed("".join(comment.itertext()).strip())


def parsed(text: str) -> Iterator[dict[str, Any]]:
    """The JSON object in a text, if it is one."""
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            yield value
