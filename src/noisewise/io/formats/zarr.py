"""OME-Zarr 0.4 (Zarr 2) and 0.5 (Zarr 3), and plain Zarr arrays: folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noisewise.io.base import Sink, Source
from noisewise.io.files import Draft

SUFFIXES = (".zarr",)


def open_file(path: Path, axes: str | None = None) -> Source:
    """Open a Zarr folder; see `zarr_read`."""
    from noisewise.io.zarr_read import open_zarr

    return open_zarr(path, axes)


def create(draft: Draft, like: Source, dtype: Any, provenance: Mapping[str, Any] | None) -> Sink:
    """Create a Zarr folder; see `zarr_write`."""
    from noisewise.io.zarr_write import create_zarr

    return create_zarr(draft, like, dtype, provenance)


def records(source: Source) -> Iterator[dict[str, Any]]:
    """How noisewise made an image."""
    import zarr

    attributes: dict[str, Any] = dict(zarr.open(str(source.path), mode="r").attrs)
    yield attributes["noisewise"]
