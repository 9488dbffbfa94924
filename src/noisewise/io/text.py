"""Records of noisewise in the text fields of image files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON object that a text holds, if any."""
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            yield value
