"""The check-up of an image: noise against signal, and the autocorrelation of the noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from noisewise.estimate.report import NoiseReport
from noisewise.plots.canvas import panels, save

MAX_LAG = 5  # pixels


def plot_noise_report(found: NoiseReport, path: str | Path) -> None:
    """Plot noise against signal with its line, and the autocorrelation along the axes and in 2D.

    found: from `measure`. path: .png, .pdf or .svg. Errors: `UserError` if it cannot be written.
    """
    figure, (levels, lags, plane) = panels(1, 3, (12, 4.2), width_ratios=(1.25, 1, 0.9))
    draw_levels(levels, found)
    draw_lags(lags, found)
    draw_map(plane, found)
    figure.suptitle(f"{found.name}: {found.verdict}", fontsize=10, wrap=True)
    save(figure, path)


def draw_levels(panel: Any, found: NoiseReport) -> None:
    """Draw the standard deviation of the noise at each signal, and the variance line."""
    levels = found.levels
    size = 12 + 40 / (1 + 4 * np.maximum(levels.texture, 0))
    panel.scatter(
        levels.signal, np.sqrt(levels.variance), s=size, color="tab:blue", zorder=3, label="most homogeneous blocks"
    )
    signal = np.linspace(levels.signal.min(), levels.signal.max(), 200)
    std = np.sqrt(np.maximum(found.line(signal), 0))
    gain = found.gain_adu_per_e
    label = "line" if gain is None else f"gain {gain.value:.3g} ADU per electron"
    panel.plot(signal, std, color="tab:orange", label=label)
    panel.set(xlabel="signal (ADU)", ylabel="noise standard deviation (ADU)", ylim=(0, None))
    panel.legend(frameon=False, fontsize=9)


def draw_lags(panel: Any, found: NoiseReport) -> None:
    """Draw the autocorrelation along Y and X."""
    for axis, marker, colour in (("X", "o", "tab:red"), ("Y", "s", "tab:green")):
        rho = [1.0, *found.rho[axis][:MAX_LAG]]
        panel.plot(range(len(rho)), rho, marker=marker, color=colour, label=f"along {axis}")
    panel.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    offsets = f"rows {found.row_std_adu:.3g}, columns {found.column_std_adu:.3g} ADU"
    panel.set(xlabel="distance (pixels)", ylabel="autocorrelation of the noise", title=offsets, ylim=(-0.35, 1.05))
    panel.title.set_fontsize(9)
    panel.legend(frameon=False, fontsize=9)


def draw_map(panel: Any, found: NoiseReport) -> None:
    """Draw the autocorrelation at each distance, without the centre."""
    rho = found.correlation.rho[: MAX_LAG + 1, : MAX_LAG + 1]
    full = np.block([[rho[:0:-1, :0:-1], rho[:0:-1]], [rho[:, :0:-1], rho]])
    full[len(full) // 2, full.shape[1] // 2] = np.nan
    extent = (len(full) - 1) / 2 + 0.5
    image = panel.imshow(full, cmap="RdBu_r", vmin=-1, vmax=1, extent=(-extent, extent, extent, -extent))
    panel.set(xlabel="X (pixels)", ylabel="Y (pixels)")
    panel.figure.colorbar(image, ax=panel, shrink=0.8, label="autocorrelation")
