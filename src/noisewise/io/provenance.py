"""How noisewise made an image: the record that `create_sink` left in its metadata."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from noisewise.io import formats
from noisewise.io.base import Source
from noisewise.io.paths import suffix_of


def read_provenance(source: Source) -> dict[str, Any] | None:
    """The newest record in an image's metadata, or None."""
    found = None
    with suppress(Exception):  # unusual metadata of an image that can be read is not an error
        if source.path is not None:
            for record in formats.by_suffix()[suffix_of(source.path)].records(source):
                found = record
    return found
