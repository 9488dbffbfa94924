"""The commands and their descriptions, found without importing them."""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

from noisewise.registry import public_modules

ORDER = (
    "denoise", "train", "predict", "measure", "calibrate", "simulate", "evaluate", "info", "methods", "doctor", "demo",
)  # in the help; others follow  # fmt: skip


def commands() -> list[str]:
    """Names of the commands: those of the files in this folder."""
    found = public_modules(sys.modules[__package__].__path__)
    return sorted(found, key=lambda command: ORDER.index(command) if command in ORDER else len(ORDER))


def class_name(command: str) -> str:
    """Name of the dataclass of a command."""
    return command.capitalize()


def description(command: str) -> str:
    """First docstring line of the dataclass of a command."""
    module = find_spec(f"{__package__}.{command}")
    assert module is not None and module.origin is not None
    tree = ast.parse(Path(module.origin).read_text(encoding="utf-8"))
    name = class_name(command)
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(found) or "").partition("\n")[0]
