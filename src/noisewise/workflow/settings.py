"""Values of settings that are wrong whatever the images are: refused before any file is opened or looked for."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any

from noisewise import methods
from noisewise.axes import check_letters
from noisewise.errors import UserError, check_seed
from noisewise.workflow.budget import parse_budget, refuse_both

if TYPE_CHECKING:
    from noisewise.methods.base import Method

DEVICES = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")


def check_settings(
    *, method: str | Method | None = None, axes: str | None = None, budget: str | float | None = None,
    steps: int | None = None, seed: int = 0, device: str = "auto",
) -> None:  # fmt: skip
    """Errors: `UserError` for values that are not possible. method: its name, where `auto` is allowed."""
    if method is not None and not (isinstance(method, str) or hasattr(method, "traits")):
        raise UserError(f"method {method!r} is neither a name nor a Method; noisewise methods lists the names")
    if isinstance(method, str) and method != "auto" and method not in methods.modules():
        methods.get(method)
    if axes is not None:
        check_letters(str(axes))
    for name, value in (("steps", steps), ("seed", seed)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
            raise UserError(f"{name} {value!r} is not a whole number")
    refuse_both(budget, steps)
    parse_budget(budget)
    if steps is not None and steps < 0:
        raise UserError(f"steps {steps} is not a number of steps; give 0 or more")
    check_seed(seed)
    if not DEVICES.fullmatch(str(device)):
        raise UserError(f"device '{device}' is not known; give auto, cpu, cuda (or cuda:1) or mps")


def field_docstrings(kind: type) -> dict[str, str]:
    """The strings below the fields of a dataclass and of those that it derives from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        if base.__module__.startswith("abc"):
            continue
        parsed: Any = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        for field, text in pairwise(parsed.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found
