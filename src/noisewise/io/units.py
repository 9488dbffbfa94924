"""Conversion of the units in microscopes' metadata to micrometres and seconds."""

from __future__ import annotations

from math import isfinite

MICROMETRES = {
    "pm": 1e-6, "å": 1e-4, "angstrom": 1e-4, "nm": 1e-3, "µm": 1.0, "um": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4,
    "dm": 1e5, "m": 1e6, "inch": 25400.0, "in": 25400.0, "picometer": 1e-6, "nanometer": 1e-3, "micrometer": 1.0,
    "millimeter": 1e3, "centimeter": 1e4, "decimeter": 1e5, "meter": 1e6,
}  # fmt: skip
SECONDS = {
    "ns": 1e-9, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "msec": 1e-3, "s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0,
    "hr": 3600.0, "d": 86400.0, "nanosecond": 1e-9, "microsecond": 1e-6, "millisecond": 1e-3, "second": 1.0,
    "minute": 60.0, "hour": 3600.0, "day": 86400.0,
}  # fmt: skip


def micrometres(value: float, unit: str) -> float | None:
    """Convert a length to µm; None for an unknown unit or a value that is not positive and finite."""
    return _convert(value, unit, MICROMETRES)


def seconds(value: float, unit: str) -> float | None:
    """Convert a duration to s; None for an unknown unit or a value that is not positive and finite."""
    return _convert(value, unit, SECONDS)


def _convert(value: float, unit: str, table: dict[str, float]) -> float | None:
    # Both characters for micro (U+00B5 and U+03BC), ImageJ's escape, plurals and British spelling occur.
    name = unit.strip().replace("\\u00B5", "µ").replace("\u03bc", "µ").lower().replace("metre", "meter")
    factor = table.get(name) or table.get(name.removesuffix("s"))
    size = float(value) * factor if factor else 0.0
    return size if isfinite(size) and size > 0 else None
