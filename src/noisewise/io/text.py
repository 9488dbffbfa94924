"""JSON: records of noisewise in the text fields of image files, and numbers that JSON lacks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON object that a text holds, if any."""
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            yield value


def finite(value: Any) -> Any:
    """The same value with None in place of NaN and infinite numbers, which JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
