"""`noisewise methods`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisewise.cli._display import print_json
from noisewise.cli._exit import OK
from noisewise.cli._options import Switch
from noisewise.cli._print import say

if TYPE_CHECKING:
    from noisewise.methods.base import Traits

NEEDS = {
    "noisy": "noisy images",
    "pairs": "two or more noisy images of each scene",
    "clean": "noisy images and clean targets",
}
REMOVES = {
    "white": "independent noise",
    "rows": "stripes along rows",
    "columns": "stripes along columns",
    "correlated": "correlated noise",
}
NOT_SHARED = "noise that is not in the target too"
# Situation: condition on the traits of a method, and a command. Without --method, denoise chooses a method.
GUIDE: dict[str, tuple[Callable[[Traits], bool], str]] = {
    "one noisy image": (lambda t: t.needs == "noisy" and not t.counts_only, "noisewise denoise cells.tif"),
    "correlated noise, stripes": (lambda t: "correlated" in t.removes, "noisewise denoise cells.tif"),
    "noise cannot be measured": (
        lambda t: t.needs == "noisy" and t.noise == "none", "noisewise denoise cells.tif --method {method}"
    ),
    "repeats or pairs": (lambda t: t.needs == "pairs", "noisewise denoise a.tif --method {method} --target b.tif"),
    "clean targets": (lambda t: t.needs == "clean", "noisewise train {method} noisy/ --target clean/ -o m.safetensors"),
    "photon counts": (lambda t: t.counts_only, "noisewise denoise counts.tif --method {method}"),
    "error bars": (lambda t: t.std, "noisewise denoise cells.tif --std"),
    "samples of the posterior": (lambda t: t.samples, "noisewise denoise cells.tif --samples 8"),
}  # fmt: skip
NOTE = (
    "Without --method, noisewise denoise chooses a method by the noise that it measures; noisewise measure shows it.\n"
    "noisewise train METHOD --help lists the settings of a method."
)


@dataclass(kw_only=True)
class Methods:
    """List the methods: what each needs, removes and gives, and which one fits which situation."""

    json: Switch = False
    """print one JSON object on stdout and nothing else"""

    def run(self) -> int:
        """Print the table and the guide."""
        from noisewise import methods

        table, guide = [describe(name, methods.get(name)) for name in methods.modules()], situations()
        if self.json:
            print_json({"methods": table, "guide": guide})
            return OK
        say("\n".join(line for row in table for line in lines(row)))
        say("\nWhich method fits:\n")
        for row in guide:
            say(f"{row['situation']:<26}{', '.join(row['methods'])}\n{'':<26}{row['command']}")
        say(f"\n{NOTE}")
        return OK


def describe(name: str, kind: Any) -> dict[str, Any]:
    """A row of the table: description and traits with default settings."""
    traits = kind().traits
    return {
        "name": name, "description": (inspect.getdoc(kind) or "").partition("\n")[0], "needs": traits.needs,
        "noise_model": traits.noise != "none", "counts_only": traits.counts_only, "removes": traits.removes,
        "std": traits.std, "samples": traits.samples,
    }  # fmt: skip


def lines(row: dict[str, Any]) -> list[str]:
    """A row of the table as text."""
    needs = [NEEDS[row["needs"]]]
    needs += ["photon counts"] if row["counts_only"] else []
    needs += ["a noise model (measured, if none is given)"] if row["noise_model"] else []
    gives = ["mean", *(["standard deviation"] if row["std"] else []), *(["samples"] if row["samples"] else [])]
    removes = [REMOVES.get(noise, noise) for noise in row["removes"]]
    facts = {"needs": needs, "removes": removes if row["needs"] == "noisy" else [NOT_SHARED], "gives": gives}
    return [f"{row['name']:<12}{row['description']}", *(f"{'':<12}{k:<8} {', '.join(v)}" for k, v in facts.items())]


def situations() -> list[dict[str, Any]]:
    """Situations with the methods that fit, the recommended ones first, and a command."""
    from noisewise.workflow.choose import recommended

    found = [(situation, recommended(condition), command) for situation, (condition, command) in GUIDE.items()]
    return [
        {"situation": situation, "methods": names, "command": command.format(method=names[0])}
        for situation, names, command in found
    ]
