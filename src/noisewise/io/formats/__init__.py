"""Image formats: one file each, with `SUFFIXES`, `open_file`, and `create` where the format can be written.

A format's file is imported to learn its suffixes, so it imports its libraries only in the functions that need them.
`READ_ONLY`: suffixes that cannot be written. `records`: how noisewise made an image, read from its metadata.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from noisewise.registry import public_modules


def by_suffix() -> dict[str, Any]:
    """Suffix -> the module of its format."""
    found: dict[str, Any] = {}
    for name in public_modules(__path__):
        module = import_module(f"{__name__}.{name}")
        found |= dict.fromkeys(module.SUFFIXES, module)
    return found
