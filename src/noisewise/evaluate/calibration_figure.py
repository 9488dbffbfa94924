"""The picture of a calibration: errors that are made against errors that are claimed, and how much intervals hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisewise.evaluate.calibration import Reliability


def draw_reliability(found: Reliability, path: Path) -> None:
    """Two panels, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    curve, bars = figure.subplots(1, 2, width_ratios=(1.3, 1))
    claimed, actual = np.array(found.claimed), np.array(found.actual)
    top = 1.05 * max(claimed.max(), actual.max())
    curve.plot([0, top], [0, top], color="0.7", label="as claimed")
    curve.plot(claimed, actual, "o-", color="tab:blue", label="pixels, the surest first")
    curve.set(xlabel="claimed standard deviation", ylabel="root mean square error", xlim=(0, top), ylim=(0, top))
    curve.set_title(f"ENCE {found.ence:.3f}", fontsize=10)
    curve.legend(frameon=False, fontsize=9)
    wanted, held = (100 * np.array(list(part)) for part in (found.coverage.keys(), found.coverage.values()))
    places = np.arange(len(wanted))
    bars.bar(places - 0.2, wanted, width=0.38, color="0.8", label="should hold")
    bars.bar(places + 0.2, held, width=0.38, color="tab:blue", label="hold")
    bars.set_xticks(places, [f"{share:g} %" for share in wanted])
    bars.set(xlabel="interval", ylabel="pixels, percent", ylim=(0, 112))
    bars.legend(frameon=False, fontsize=9, ncols=2, loc="upper left")
    figure.savefig(path, format="png")
