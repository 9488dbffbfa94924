"""Pictures of noise with structure: real and sampled, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisewise.calibration.correlated import LAGS, CorrelatedCalibration, autocorrelation_along
from noisewise.noise.models.correlated import covariances
from noisewise.plots.canvas import COLOURS, panels, save

SHOWN = 96  # pixels


def plot_correlated_noise(found: CorrelatedCalibration, path: str | Path) -> None:
    """Six panels: a part of real and of sampled noise, their autocorrelations, and these along both axes."""
    made, axes = panels(2, 3, (12.5, 8.0))
    noise = {"real": found.noisy - found.signal, "sampled": found.sampled}
    span = 3 * float(noise["real"].std())
    for row, (name, part) in zip(axes, noise.items(), strict=True):
        shown = row[0].imshow(part[0, :SHOWN, :SHOWN], cmap="gray", vmin=-span, vmax=span)
        made.colorbar(shown, ax=row[0], shrink=0.8)
        row[0].set(title=f"{name} noise, ADU")
        shown = row[1].imshow(
            spread(part), cmap="RdBu_r", vmin=-0.5, vmax=0.5, extent=(-LAGS, LAGS, LAGS, -LAGS), interpolation="nearest"
        )
        made.colorbar(shown, ax=row[1], shrink=0.8)
        row[1].set(title=f"its autocorrelation, {name}", xlabel="distance along X, pixels", ylabel="along Y, pixels")
    for panel, axis in zip(axes[:, 2], (-1, -2), strict=True):
        draw_along(panel, noise, axis)
    save(made, path)


def draw_along(panel: Any, noise: dict[str, Tensor], axis: int) -> None:
    """Autocorrelation against the distance along one axis."""
    for name, style, colour in (("real", "-", COLOURS[0]), ("sampled", "--", COLOURS[2])):
        rho = autocorrelation_along(noise[name], axis)[1:]
        panel.plot(range(1, len(rho) + 1), rho, style, color=colour, label=name)
    panel.axhline(0, color="0.7", linewidth=0.8)
    letter = "XY"[-axis - 1]
    panel.set(title=f"along {letter}", xlabel="distance, pixels", ylabel="autocorrelation")
    panel.legend(frameon=False)


def spread(noise: Tensor, lags: int = LAGS) -> Tensor:
    """Autocorrelation (1 + 2 lags, 1 + 2 lags), its centre left out."""
    found = covariances(noise, lags, lags)
    found = found / found[lags, lags]
    found[lags, lags] = torch.nan
    return found
