"""Recorded and sampled noise with correlation, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisewise.calibration.correlated import MAX_LAG, CorrelatedCalibration, autocorrelation_along
from noisewise.noise.models.correlated import two_sided_autocovariance
from noisewise.plots.canvas import COLOURS, panels, save

SHOWN = 96  # pixels


def plot_correlated_noise(found: CorrelatedCalibration, path: str | Path) -> None:
    """Plot a part of recorded and of sampled noise, and their autocorrelations in 2D and along both axes.

    found: from `calibrate_correlated`. path: .png, .pdf or .svg. Errors: `UserError` if it cannot be written.
    """
    figure, axes = panels(2, 3, (12.5, 8.0))
    noise = {"recorded": found.noisy - found.signal, "sampled": found.sampled}
    span = 3 * float(noise["recorded"].std())
    for row, (name, part) in zip(axes, noise.items(), strict=True):
        shown = row[0].imshow(part[0, :SHOWN, :SHOWN], cmap="gray", vmin=-span, vmax=span)
        figure.colorbar(shown, ax=row[0], shrink=0.8)
        row[0].set(title=f"{name} noise, ADU")
        extent = (-MAX_LAG, MAX_LAG, MAX_LAG, -MAX_LAG)
        shown = row[1].imshow(
            autocorrelation(part), cmap="RdBu_r", vmin=-0.5, vmax=0.5, extent=extent, interpolation="nearest"
        )
        figure.colorbar(shown, ax=row[1], shrink=0.8)
        row[1].set(title=f"its autocorrelation, {name}", xlabel="distance along X, pixels", ylabel="along Y, pixels")
    for panel, axis in zip(axes[:, 2], (-1, -2), strict=True):
        draw_along(panel, noise, axis)
    save(figure, path)


def draw_along(panel: Any, noise: dict[str, Tensor], axis: int) -> None:
    """Draw the autocorrelation against the distance along one axis."""
    for name, style, colour in (("recorded", "-", COLOURS[0]), ("sampled", "--", COLOURS[2])):
        rho = autocorrelation_along(noise[name], axis)[1:]
        panel.plot(range(1, len(rho) + 1), rho, style, color=colour, label=name)
    panel.axhline(0, color="0.7", linewidth=0.8)
    letter = "XY"[-axis - 1]
    panel.set(title=f"along {letter}", xlabel="distance, pixels", ylabel="autocorrelation")
    panel.legend(frameon=False)


def autocorrelation(noise: Tensor, lags: int = MAX_LAG) -> Tensor:
    """Autocorrelation (1 + 2 lags, 1 + 2 lags), NaN in the centre."""
    found = two_sided_autocovariance(noise, lags, lags)
    found = found / found[lags, lags]
    found[lags, lags] = torch.nan
    return found
