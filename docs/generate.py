"""Fill what the documents take from the code, and check that every page is in the navigation.

    python docs/generate.py            (`make docs` does it, then builds the site)

Blocks between `<!-- generated:NAME -->` and `<!-- end -->` are made anew: the table of methods in choose.md, that of
noise models in noise.md, and traits and settings on the page of each method. A method without a page gets one. The list
of method pages in zensical.toml follows the files of src/noisewise/methods.
"""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from noisewise import methods
from noisewise.methods.base import Method, Traits
from noisewise.noise import models
from noisewise.workflow.settings import field_docstrings

DOCS = Path(__file__).parent
SITE = DOCS.parent / "zensical.toml"
BLOCK = re.compile(r"<!-- generated:([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)
NAVIGATION = re.compile(r"(?<=# methods: written by docs/generate.py\n).*?(?=\n *# end)", re.DOTALL)
NEEDS = {
    "noisy": "noisy images", "pairs": "two or more noisy images of each scene", "clean": "noisy and clean images",
}  # fmt: skip
NOISE = {"none": "not needed", "pixel": "of single pixels", "correlated": "with its correlation"}
REMOVES = {
    "white": "independent from pixel to pixel", "rows": "along rows", "columns": "along columns",
    "correlated": "correlated along both axes",
}  # fmt: skip
PAGE = """# {name}

{description}

## Traits

<!-- generated:traits -->
<!-- end -->

## Settings

<!-- generated:settings -->
<!-- end -->

## Measured

<!-- benchmark:method -->
<!-- end -->
"""


def table(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; the vertical bars of formulas are escaped."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def description(kind: type[Method]) -> str:
    """First line of the docstring."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def removed(traits: Traits) -> str:
    """The kinds of noise that a method removes."""
    if traits.removes == ("none",):
        return "none"
    return (
        "of every kind" if len(traits.removes) == len(REMOVES) else "; ".join(map(REMOVES.__getitem__, traits.removes))
    )


def yes(value: bool) -> str:
    """The word for a trait."""
    return "yes" if value else "no"


# -- blocks ------------------------------------------------------------------------------------------


def method_table() -> str:
    """All methods: what they need, remove and give."""
    lines = []
    for name in methods.modules():
        traits = methods.get(name)().traits
        lines.append([
            f"[`{name}`](methods/{name}.md)", NEEDS[traits.needs], removed(traits), NOISE[traits.noise],
            yes(traits.std), yes(traits.samples),
        ])  # fmt: skip
    header = ["method", "learns from", "removes noise that is", "noise model", "standard deviation", "samples"]
    return table(header, lines)


def kind_table() -> str:
    """All kinds of noise models, by the first lines of their files."""
    lines = []
    for name, kind in models.kinds().items():
        text = inspect.getdoc(sys.modules[kind.__module__]) or ""
        lines.append([f"`{name}`", text.partition("\n")[0].removesuffix(".")])
    return table(["kind", "what it is"], lines)


def traits_table(kind: type[Method]) -> str:
    """What a method needs, removes and gives with its default settings."""
    traits = kind().traits
    lines = [
        ["learns from", NEEDS[traits.needs]],
        ["removes noise that is", removed(traits)],
        ["noise model", NOISE[traits.noise] + (", photon counts only" if traits.counts_only else "")],
        ["standard deviation of each pixel", yes(traits.std)],
        ["samples of the posterior", yes(traits.samples)],
        ["starts from packaged weights", yes(traits.pretrained)],
        ["usable without training", yes(traits.usable_untrained)],
        ["patches per training step", "{} in 2D, {} in 3D".format(*traits.patches_per_step)],
    ]
    return table(["trait", "with default settings"], lines)


def settings_table(kind: type[Method]) -> str:
    """Settings of a method, its own first: option, default, allowed values, meaning."""
    texts, hints = field_docstrings(kind), get_type_hints(kind, include_extras=True)
    own = kind.__annotations__
    ordered = sorted(fields(kind), key=lambda field: field.name not in own)
    lines = [
        [
            f"`{field.name}`",
            f"`{str(field.default).lower() if hints[field.name] is bool else field.default}`",
            allowed(hints[field.name]),
            texts[field.name],
        ]
        for field in ordered
    ]
    return table(["setting", "default", "values", "meaning"], lines)


def allowed(hint: Any) -> str:
    """The values that a type allows, in words."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if hasattr(hint, "__metadata__"):
        return " and ".join(bounds(limit) for limit in hint.__metadata__)
    if get_args(hint):
        return " or ".join(allowed(part) for part in get_args(hint))
    return {bool: "`true`, `false`", str: "text", int: "whole number", float: "number"}.get(hint, str(hint))


def bounds(limit: Any) -> str:
    """The words for an `Interval`, `Ge` or `Gt`."""
    low = [f"above {limit.gt:g}"] if getattr(limit, "gt", None) is not None else []
    low += [f"from {limit.ge:g}"] if getattr(limit, "ge", None) is not None else []
    high = [f"below {limit.lt:g}"] if getattr(limit, "lt", None) is not None else []
    high += [f"to {limit.le:g}"] if getattr(limit, "le", None) is not None else []
    return " ".join(low + high)


# -- pages -------------------------------------------------------------------------------------------


def filled(text: str, blocks: dict[str, Callable[[], str]]) -> str:
    """A page with its generated blocks made anew. Errors: `KeyError` for a block of an unknown name."""
    return BLOCK.sub(lambda block: f"<!-- generated:{block[1]} -->\n{blocks[block[1]]()}\n<!-- end -->", text)


def pages() -> Iterator[tuple[Path, str]]:
    """All pages with generated blocks, and the configuration of the site, as they should be."""
    for page, blocks in (("choose.md", {"methods": method_table}), ("noise.md", {"kinds": kind_table})):
        yield DOCS / page, filled((DOCS / page).read_text(encoding="utf-8"), blocks)
    for name in methods.modules():
        kind, path = methods.get(name), DOCS / "methods" / f"{name}.md"
        text = (
            path.read_text(encoding="utf-8") if path.exists() else PAGE.format(name=name, description=description(kind))
        )
        blocks = {"traits": partial(traits_table, kind), "settings": partial(settings_table, kind)}
        yield path, filled(text, blocks)
    links = "\n".join(f'    {{ "{name}" = "methods/{name}.md" }},' for name in methods.modules())
    yield SITE, NAVIGATION.sub(links, SITE.read_text(encoding="utf-8"))


def navigation_errors() -> list[str]:
    """Pages that the navigation lacks, and entries without a page."""

    def linked(entry: Any) -> Iterator[str]:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from [part] if isinstance(part, str) else linked(part)

    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    named = list(linked(tomllib.loads(SITE.read_text(encoding="utf-8"))["project"]["nav"]))
    return [
        *(f"{page} is not in the navigation of zensical.toml" for page in sorted(there - set(named))),
        *(f"the navigation of zensical.toml names {page}, which does not exist" for page in sorted(set(named) - there)),
    ]


def main() -> int:
    for path, text in pages():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"updated {path.relative_to(DOCS.parent)}")
    errors = navigation_errors()
    print(*errors, sep="\n", file=sys.stderr, end="\n" if errors else "")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
