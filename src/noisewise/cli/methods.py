"""`noisewise methods`."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from noisewise.cli import OK
from noisewise.cli._display import print_json
from noisewise.cli._options import Switch

NEEDS = {
    "noisy": "noisy images alone",
    "pairs": "pairs of noisy images of one scene",
    "clean": "noisy images and clean counterparts",
}


@dataclass(kw_only=True)
class Methods:
    """Lists the methods: name, what each needs, and what it does."""

    json: Switch = False
    """print one JSON object on stdout and nothing else"""

    def run(self) -> int:
        """Print the table."""
        from noisewise import methods

        table = [describe(name, methods.get(name)) for name in methods.modules()]
        if self.json:
            print_json({"methods": table})
            return OK
        print("noisewise train METHOD --help lists the settings of a method.\n")
        for row in table:
            print(f"{row['name']:<8} {row['description']}")
            print(f"{'':<8} needs {NEEDS.get(row['needs'], row['needs'])}")
        return OK


def describe(name: str, kind: Any) -> dict[str, str]:
    """A row of the table."""
    return {"name": name, "needs": kind.needs, "description": (inspect.getdoc(kind) or "").partition("\n")[0]}
