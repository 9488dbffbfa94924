"""Fill the benchmark tables of the README and of the documents from benchmarks/results/*.json.

    python benchmarks/readme.py

Tables are put between `<!-- benchmark:NAME -->` and `<!-- end -->`; everything else is left as it is.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tables_choice as choice
import tables_denoising as denoising
import tables_network as network
import tables_noise as noise
import tables_posterior as posterior
import tables_robustness as robustness
import tables_speed as speed
from tables_methods import numbers

ROOT = Path(__file__).parents[1]
TABLES: dict[str, Callable[[], str]] = {
    "speed": speed.speed, "first_result": speed.first_result, "install": speed.installed,
    "quality": denoising.quality, "fmd": denoising.fmd, "wide_field": denoising.wide_field, "w2s": denoising.w2s,
    "bsd68": denoising.bsd68, "single": denoising.single, "structured": denoising.structures,
    "stripes": denoising.stripes,
    "exact": posterior.exact, "diverse": posterior.diverse, "photons": posterior.photons,
    "samples": posterior.sampling, "light": posterior.light, "regions": posterior.regions,
    "quantities": posterior.quantities, "light_worlds": posterior.light_worlds, "ladder": posterior.ladder,
    "invention": posterior.invention,
    "fuzz": robustness.fuzz, "kills": robustness.kills, "memory": robustness.memory,
    "planted": choice.planted, "dense": choice.dense, "labelled": choice.labelled, "never_worse": choice.never_worse,
    "coverage": choice.coverage, "harm": choice.harm,
    "noise": noise.measured, "calibration": noise.recorded, "scenes": noise.scene_statistics,
    "neighbours": network.neighbours, "events": network.events, "fields": network.fields,
}  # fmt: skip
WIDTH = 119
BLOCK = re.compile(r"<!-- benchmark:([\w-]+) -->\n.*?<!-- end -->", re.DOTALL)


def wrapped(text: str) -> str:
    """Text with its paragraphs filled; tables as they are."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p.startswith("|") else textwrap.fill(p, WIDTH, break_long_words=False) for p in paragraphs)


def filled(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """A page with its tables made anew. Errors: `KeyError` for a block of an unknown name."""
    return BLOCK.sub(lambda block: f"<!-- benchmark:{block[1]} -->\n{wrapped(tables[block[1]]())}\n<!-- end -->", text)


def main() -> None:
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        made = filled(text, TABLES | {"method": partial(numbers, path.stem)})
        if made != text:
            path.write_text(made, encoding="utf-8")
            print(f"updated {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
