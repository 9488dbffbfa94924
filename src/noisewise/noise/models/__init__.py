"""p(x|s): drawn from a camera, recorded, measured in one image, or fitted; one file a law, its name is the kind."""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from noisewise.errors import UserError

if TYPE_CHECKING:
    from noisewise.noise.base import Noise


@cache
def kinds() -> dict[str, type[Noise]]:
    """File name -> the law that the file defines."""
    from noisewise.noise.base import Noise

    found = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        module = importlib.import_module(f"{__name__}.{path.stem}")
        for member in vars(module).values():
            own = inspect.isclass(member) and member.__module__ == module.__name__
            if own and issubclass(member, Noise) and not inspect.isabstract(member):
                found[path.stem] = member
    return found


def get(kind: str) -> type[Noise]:
    """The law of this kind. Errors: `UserError` for an unknown one."""
    if kind not in kinds():
        raise UserError(f"unknown kind of noise '{kind}'; there are: {', '.join(kinds())}")
    return kinds()[kind]
