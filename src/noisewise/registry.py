"""What is registered by its file name alone: methods, noise models, image formats, commands."""

from __future__ import annotations

from collections.abc import Iterable
from pkgutil import iter_modules


def public_modules(folders: Iterable[str]) -> list[str]:
    """Names of the Python files in the folders of a package (its `__path__`), without those that start with `_`."""
    return sorted(name for _, name, is_package in iter_modules(folders) if not is_package and name[0] != "_")
