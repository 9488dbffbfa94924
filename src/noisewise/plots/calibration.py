"""A calibration: the recorded pairs, the noise model, the photon-transfer curve and the goodness of fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisewise.axes import Array
from noisewise.calibration.detector import format_quantity
from noisewise.calibration.result import Calibration
from noisewise.noise.base import Noise
from noisewise.plots.canvas import COLOURS, panels, save
from noisewise.plots.noise_model import MAX_STDS, SIGNALS, draw_sections, mean_and_std


def plot_calibration(found: Calibration, path: str | Path) -> None:
    """Plot the recorded pairs, sections of p(x|s), the photon-transfer curve and the goodness of fit.

    found: from `calibrate_recording`. path: .png, .pdf or .svg. Errors: `UserError` if it cannot be written.
    """
    low, high = found.noise.provenance["signal_range"]
    figure, axes = panels(2, 2, (11.5, 8.2))
    noisy, signal = (part.numpy().ravel() for part in found.pairs)
    noise_model = found.noise.typical()
    draw_pairs(axes[0, 0], noisy, signal, noise_model, low, high)
    draw_sections(axes[0, 1], noise_model, low, high, (noisy, signal))
    draw_curve(axes[1, 0], found)
    draw_fit(axes[1, 1], found)
    save(figure, path)


def draw_pairs(panel: Any, noisy: Array, signal: Array, noise_model: Noise, low: float, high: float) -> None:
    """Draw how often each pair was recorded, and the standard deviation of the noise model."""
    from matplotlib.colors import LogNorm

    std = mean_and_std(noise_model, torch.linspace(low, high, SIGNALS, dtype=torch.float64))[1]
    extent = MAX_STDS * std.max()
    count, *_ = np.histogram2d(signal, noisy - signal, (120, 160), ((low, high), (-extent, extent)))
    image = panel.imshow(
        np.where(count > 0, count, np.nan).T, origin="lower", aspect="auto", extent=(low, high, -extent, extent),
        cmap="magma", norm=LogNorm(1, max(count.max(), 2)),
    )  # fmt: skip
    line = np.linspace(low, high, SIGNALS)
    for side in (-1, 1):
        panel.plot(line, side * std, color="#4cc9f0", linewidth=1, linestyle="--")
    panel.set(
        xlabel="signal s: mean of all frames (ADU)", ylabel="noise x − s (ADU)",
        title="recorded pairs; dashed: ± standard deviation of the noise model",
    )  # fmt: skip
    panel.figure.colorbar(image, ax=panel, label="pairs")


def draw_curve(panel: Any, found: Calibration) -> None:
    """Draw the photon-transfer curve: variance of each bin, its line, and ± 2 standard errors of both."""
    curve = found.curve
    panel.errorbar(
        curve.signal, curve.variance, 2 * curve.variance_error, fmt=".", color=COLOURS[0], markersize=4, linewidth=0.8,
        label="recorded, ± 2 standard errors",
    )  # fmt: skip
    signal = np.linspace(curve.signal.min(), curve.signal.max(), 200)
    line = found.line(signal)
    half_width = 2 * np.array([curve.standard_error([s, 1.0]) for s in signal])
    panel.plot(
        signal, line, color=COLOURS[2], label=f"line, slope {format_quantity(found.detector.gain_adu_per_e)} ADU"
    )
    panel.fill_between(signal, line - half_width, line + half_width, color=COLOURS[2], alpha=0.25, linewidth=0)
    panel.set(xlabel="signal (ADU)", ylabel="variance (ADU²)", title="photon-transfer curve")
    panel.legend(fontsize=9, frameon=False, loc="upper left")


def draw_fit(panel: Any, found: Calibration) -> None:
    """Draw the probability integral transform of held-out pairs: uniform if the noise model is correct."""
    fit = found.goodness
    bins = len(fit.histogram)
    panel.bar((np.arange(bins) + 0.5) / bins, np.array(fit.histogram) * bins, 1 / bins, color=COLOURS[1], alpha=0.8)
    panel.axhline(1, color="0.2", linewidth=1, linestyle="--")
    frames = f"{fit.held_out_frames} held-out frames" if fit.held_out_frames else "the fitted frames"
    panel.set(
        xlabel="P(X ≤ x | s)", ylabel="density", xlim=(0, 1), ylim=(0, max(1.5, 1.1 * bins * max(fit.histogram))),
        title=f"fit to {frames}: largest deviation {100 * fit.distance:.2g} %",
    )  # fmt: skip
