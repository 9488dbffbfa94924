"""The reliability of predicted standard deviations: actual against predicted errors, coverage of intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisewise.evaluate.calibration import Reliability
from noisewise.plots.canvas import panels, save


def plot_reliability(found: Reliability, path: str | Path) -> None:
    """Plot a reliability diagram and the coverage of intervals.

    found: predicted standard deviations against errors. path: .png, .pdf or .svg. Errors: `UserError` if it cannot be
    written.
    """
    figure, (curve, bars) = panels(1, 2, (8.4, 4.0), width_ratios=(1.3, 1))
    predicted, actual = np.array(found.predicted), np.array(found.actual)
    top = 1.05 * max(predicted.max(), actual.max())
    curve.plot([0, top], [0, top], color="0.7", label="as predicted")
    curve.plot(predicted, actual, "o-", color="tab:blue", label="pixels by predicted std")
    curve.set(xlabel="predicted standard deviation", ylabel="root mean square error", xlim=(0, top), ylim=(0, top))
    curve.set_title(f"ENCE {found.ence:.3f}", fontsize=10)
    curve.legend(frameon=False, fontsize=9)
    nominal, actual_coverage = (100 * np.array(list(part)) for part in (found.coverage.keys(), found.coverage.values()))
    places = np.arange(len(nominal))
    bars.bar(places - 0.2, nominal, width=0.38, color="0.8", label="nominal")
    bars.bar(places + 0.2, actual_coverage, width=0.38, color="tab:blue", label="actual")
    bars.set_xticks(places, [f"{percent:g} %" for percent in nominal])
    bars.set(xlabel="interval", ylabel="coverage (%)", ylim=(0, 112))
    bars.legend(frameon=False, fontsize=9, ncols=2, loc="upper left")
    save(figure, path)
