"""TIFF: OME-TIFF, ImageJ TIFF, BigTIFF and plain files; LSM and STK files are read as TIFF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisewise.io.base import Sink, Source
from noisewise.io.files import Draft
from noisewise.io.text import json_objects

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk")
READ_ONLY = (".lsm", ".stk")


def open_images(path: Path, axes: str | None = None, series: int | None = None) -> Sequence[Source]:
    """Open the images of a TIFF file; see `tiff_read`."""
    from noisewise.io.tiff_read import open_tiff

    return open_tiff(path, axes, series)


def create_images(
    draft: Draft, likes: Sequence[Source], dtype: Sequence[Any], provenance: Sequence[Mapping[str, Any] | None]
) -> Sequence[Sink]:
    """Create a TIFF file with several images; see `tiff_write`."""
    from noisewise.io.tiff_write import create_tiff

    return create_tiff(draft, likes, dtype, provenance)


def records(source: Source) -> Iterator[dict[str, Any]]:
    """Records in a TIFF: an annotation in OME, a line of the info in ImageJ, or else part of the description."""
    import tifffile

    assert source.path is not None
    with tifffile.TiffFile(source.path) as file:
        if file.is_ome and file.ome_metadata:
            yield from in_ome(file.ome_metadata)
        info = str((file.imagej_metadata or {}).get("Info", ""))
        for line in info.splitlines():
            yield from json_objects(line.removeprefix("noisewise = ")) if line.startswith("noisewise = ") else ()
        for line in file.pages.first.description.splitlines():
            for record in json_objects(line.removeprefix("<!-- ").removesuffix(" -->")):
                if isinstance(record.get("noisewise"), dict):
                    yield record["noisewise"]


def in_ome(xml: str) -> Iterator[dict[str, Any]]:
    """Records in OME-XML: comments in the namespace `noisewise`."""
    from xml.etree import ElementTree

    for comment in ElementTree.fromstring(xml).iter():
        if comment.tag.endswith("CommentAnnotation") and comment.get("Namespace") == "noisewise":
            yield from json_objects("".join(comment.itertext()).strip())
