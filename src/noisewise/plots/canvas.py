"""Figures that need no display, written as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisewise.io.paths import as_user_error

COLOURS = ("#3b0f70", "#8c2981", "#de4968", "#fe9f6d")  # dark to bright


def figure(size: tuple[float, float], **options: Any) -> Any:
    """An empty figure; size: inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=size, dpi=110, **options)
    FigureCanvasAgg(made)
    return made


def panels(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    """A figure and its panels, laid out without overlap."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    made = figure(size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    return made, made.subplots(rows, columns, **options)


def save(made: Any, path: str | Path) -> None:
    """Write a PNG, whatever the name. Errors: `UserError` if the file cannot be written."""
    path = Path(path).expanduser()
    with as_user_error(path, "cannot be written"):
        made.savefig(path, format="png")
