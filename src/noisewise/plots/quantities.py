"""Measurements with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.plots.canvas import COLOURS, panels, save

MOST_NAMED = 25  # quantities of a panel that are named on its axis
MOST_SERIES = 10  # bands of a panel that its legend names
PANEL = (6.0, 3.2)  # inches


def plot_quantities(rows: Sequence[Mapping[str, Any]], coverage: float, path: str | Path) -> None:
    """Plot medians and intervals, a panel for each measurement.

    rows: of `Quantified`. coverage: of the intervals. path: .png, .pdf or .svg. Errors: `UserError` if it cannot be
    written.
    """
    ordered = sorted(rows, key=lambda row: row["measurement"])
    groups = [(name, list(part)) for name, part in groupby(ordered, key=lambda row: row["measurement"])]
    figure, grid = panels(len(groups), 1, (PANEL[0], PANEL[1] * len(groups)), squeeze=False)
    for panel, (name, part) in zip(grid[:, 0], groups, strict=True):
        along = next((axis for axis in ("position", "frame") if len({row[axis] for row in part}) > 1), "label")
        same = {"position": ("channel", "frame"), "frame": ("label", "channel"), "label": ()}[along]
        series = groupby(sorted(part, key=itemgetter(*same)), itemgetter(*same)) if same else [((), part)]
        for number, (one, mine) in enumerate(series):
            title = ", ".join(f"{key} {value}" for key, value in zip(same, one, strict=True))
            draw(panel, list(mine), along, colour_of(number), title if number < MOST_SERIES else "")
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        panel.set(ylabel=name, xlabel={"position": "position (pixels)", "frame": "frame", "label": "label"}[along])
    figure.suptitle(f"medians and {coverage:.0%} intervals", fontsize=10)
    save(figure, path)


def colour_of(number: int) -> str:
    """Colours of series, distinct for ten of them."""
    return COLOURS[number] if number < len(COLOURS) else f"C{(number - len(COLOURS)) % 10}"


def draw(panel: Any, rows: Sequence[Mapping[str, Any]], along: str, colour: str, title: str) -> None:
    """Medians and intervals of some rows: bars for labels, a named band along a line or in time."""
    median, low, high = (np.array([row[name] for row in rows]) for name in ("median", "low", "high"))
    if along != "label":
        places = np.array([row[along] for row in rows])
        panel.fill_between(places, low, high, color=colour, alpha=0.3, linewidth=0)
        panel.plot(places, median, color=colour, label=title or None)
        return
    places = np.arange(len(rows))
    bars = [np.maximum(median - low, 0), np.maximum(high - median, 0)]
    panel.errorbar(places, median, bars, fmt="o", color=colour, markersize=4, capsize=2)
    if len(rows) <= MOST_NAMED:
        several = len({row["channel"] for row in rows}) > 1
        names = [f"{row['label']}, {row['channel']}" if several else str(row["label"]) for row in rows]
        panel.set_xticks(places, names)
