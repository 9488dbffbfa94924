"""Figures without a display, written as PNG, PDF or SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisewise.errors import UserError
from noisewise.io.files import drafted, user_path

FORMATS = {".png": "png", ".pdf": "pdf", ".svg": "svg"}
COLOURS = ("#3b0f70", "#8c2981", "#de4968", "#fe9f6d")  # dark to bright


def new_figure(size: tuple[float, float], **options: Any) -> Any:
    """An empty figure; size: inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, **options)
    FigureCanvasAgg(figure)
    return figure


def panels(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    """A figure and its panels, laid out without overlap; size: inches."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = new_figure(size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    return figure, figure.subplots(rows, columns, **options)


def save(figure: Any, path: str | Path) -> None:
    """Write a figure as PNG, PDF or SVG, by the suffix of the path; complete or not at all.

    Errors: `UserError` for other suffixes, or if the file cannot be written.
    """
    path = user_path(path)
    kind = format_of(path)
    with drafted(path, overwrite=True) as temporary:
        figure.savefig(temporary, format=kind)


def format_of(path: Path) -> str:
    """The format of a figure, by the suffix of its name. Errors: `UserError` for other formats."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        what = f"'{suffix}' is not a format for figures" if suffix else "the name of the figure has no suffix"
        raise UserError(f"{path}: {what}; give .png, .pdf or .svg, such as {path.stem or 'figure'}.png")
    return FORMATS[suffix]
