"""Griffe extension: arguments and attributes that a docstring explains become a list.

The docstrings of the package explain names in running text, `name: what it is. other: ...`. In the reference each
becomes an item, if it is the name of an argument or attribute.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

NAMES = re.compile(r"(?:(?<=[.;] )|^)((?:[a-z_]\w*, )*[a-z_]\w*|Errors|Sources?): ", re.MULTILINE)
HEADINGS = {"Errors", "Source", "Sources"}


class Definitions(griffe.Extension):
    """Turns the definitions in docstrings into Markdown lists."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        self.rewrite(func, {parameter.name.lstrip("*") for parameter in func.parameters})

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        self.rewrite(cls, set(cls.members))

    def rewrite(self, item: griffe.Object, names: set[str]) -> None:
        """Replace the docstring of an object."""
        if item.docstring is not None:
            first, *others = item.docstring.value.split("\n\n")
            item.docstring.value = "\n\n".join([first, *(as_list(paragraph, names) for paragraph in others)])


def as_list(paragraph: str, names: set[str]) -> str:
    """A paragraph, with a list item for each known name that it explains."""
    starts = [found for found in NAMES.finditer(paragraph) if set(found[1].split(", ")) <= names | HEADINGS]
    if not starts:
        return paragraph
    ends = [found.start() for found in starts[1:]] + [len(paragraph)]
    items = [
        f"- {named(found[1])}: {paragraph[found.end() : end].strip()}" for found, end in zip(starts, ends, strict=True)
    ]
    return "\n\n".join(filter(None, [paragraph[: starts[0].start()].strip(), "\n".join(items)]))


def named(names: str) -> str:
    """Names as code, headings as they are."""
    return names if names in HEADINGS else ", ".join(f"`{name}`" for name in names.split(", "))
