"""OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3), and plain Zarr arrays: folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisewise.io.base import Sink, Source
from noisewise.io.files import Draft

SUFFIXES = (".zarr",)


def open_images(path: Path, axes: str | None = None, series: int | None = None) -> Sequence[Source]:
    """Open the images in a Zarr folder; see `zarr_read`."""
    from noisewise.io.zarr_read import open_zarr

    return open_zarr(path, axes, series)


def create_images(
    draft: Draft, likes: Sequence[Source], dtypes: Sequence[Any], records: Sequence[Mapping[str, Any] | None]
) -> Sequence[Sink]:
    """Create a Zarr folder with an image, or a collection; see `zarr_write`."""
    from noisewise.io.zarr_write import create_zarr

    return create_zarr(draft, likes, dtypes, records)


def records(source: Source) -> Iterator[dict[str, Any]]:
    """How noisewise made an image."""
    import zarr

    attributes: dict[str, Any] = dict(zarr.open(str(source.path), mode="r").attrs)
    yield attributes["noisewise"]
