"""Registry of methods: one file per method, whose name is that of the file; other packages add entry points.

A package registers `my_method = "my_package.my_module"` in the entry-point group `noisewise.methods`; the module
defines one `Method`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from noisewise.errors import UserError
from noisewise.registry import public_modules

if TYPE_CHECKING:
    from noisewise.methods.base import Method, Traits

GROUP = "noisewise.methods"


def modules() -> dict[str, str]:
    """Method name -> module path, found without importing any of them."""
    own = {name: f"{__name__}.{name}" for name in public_modules(__path__) if name != "base"}
    return own | {point.name: point.value for point in entry_points(group=GROUP)}


def get(name: str) -> type[Method]:
    """The method class of this name. Errors: `UserError` for an unknown one, with the nearest name."""
    found = modules()
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"available: {', '.join(found)}"
        raise UserError(f"unknown method '{name}': {hint}")
    return method_in(found[name])


def method_in(module: str) -> type[Method]:
    """The `Method` class that a module defines."""
    from noisewise.methods.base import Method

    members = vars(importlib.import_module(module)).values()
    return next(m for m in members if inspect.isclass(m) and issubclass(m, Method) and m.__module__ == module)


def name_of(method: Method | type[Method]) -> str:
    """The registered name of a method, given as an object or a class."""
    kind = method if inspect.isclass(method) else type(method)
    known = (name for name, module in modules().items() if module == kind.__module__)
    return next(known, kind.__name__.lower())


def having(condition: Callable[[Traits], bool]) -> list[str]:
    """Names of the methods whose traits with default settings meet a condition."""
    return [name for name in modules() if condition(get(name)().traits)]
