"""A calibration as a figure: the recorded pairs, the noise model, the photon-transfer curve, the fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisewise.axes import Array
from noisewise.calibration.calibrate import Calibration
from noisewise.calibration.detector import worded
from noisewise.noise.base import Noise
from noisewise.plots.canvas import COLOURS, panels, save
from noisewise.plots.noise_model import FAR, SIGNALS, draw_rows, one_pixel, spread_at


def plot_calibration(found: Calibration, path: str | Path) -> None:
    """Four panels as a PNG: recorded pairs, sections of p(x|s), photon-transfer curve, fit of the noise model."""
    low, high = found.noise.provenance["signal_range"]
    made, axes = panels(2, 2, (11.5, 8.2))
    noisy, signal = (part.numpy().ravel() for part in found.some)
    noise_model = one_pixel(found.noise)
    draw_pairs(axes[0, 0], noisy, signal, noise_model, low, high)
    draw_rows(axes[0, 1], noise_model, low, high, (noisy, signal))
    draw_curve(axes[1, 0], found)
    draw_fit(axes[1, 1], found)
    save(made, path)


def draw_pairs(panel: Any, noisy: Array, signal: Array, noise_model: Noise, low: float, high: float) -> None:
    """How often each pair was recorded, and the standard deviation of the law."""
    from matplotlib.colors import LogNorm

    std = spread_at(noise_model, torch.linspace(low, high, SIGNALS, dtype=torch.float64))[1]
    reach = FAR * std.max()
    count, *_ = np.histogram2d(signal, noisy - signal, (120, 160), ((low, high), (-reach, reach)))
    image = panel.imshow(
        np.where(count > 0, count, np.nan).T, origin="lower", aspect="auto", extent=(low, high, -reach, reach),
        cmap="magma", norm=LogNorm(1, max(count.max(), 2)),
    )  # fmt: skip
    line = np.linspace(low, high, SIGNALS)
    for side in (-1, 1):
        panel.plot(line, side * std, color="#4cc9f0", linewidth=1, linestyle="--")
    panel.set(
        xlabel="signal s: mean of all frames (ADU)", ylabel="noise x − s (ADU)",
        title="recorded pairs; dashed: ± standard deviation of the law",
    )  # fmt: skip
    panel.figure.colorbar(image, ax=panel, label="pairs")


def draw_curve(panel: Any, found: Calibration) -> None:
    """Photon-transfer curve: variance of each bin with its line and the line's interval."""
    curve = found.curve
    panel.errorbar(
        curve.signal, curve.variance, 2 * curve.variance_error, fmt=".", color=COLOURS[0], markersize=4, linewidth=0.8,
        label="recorded, ± 2 standard errors",
    )  # fmt: skip
    signal = np.linspace(curve.signal.min(), curve.signal.max(), 200)
    line = found.line(signal)
    reach = 2 * np.array([curve.error([s, 1.0]) for s in signal])
    panel.plot(signal, line, color=COLOURS[2], label=f"line, slope {worded(found.detector.gain_adu_per_e)} ADU")
    panel.fill_between(signal, line - reach, line + reach, color=COLOURS[2], alpha=0.25, linewidth=0)
    panel.set(xlabel="signal (ADU)", ylabel="variance (ADU²)", title="photon-transfer curve")
    panel.legend(fontsize=9, frameon=False, loc="upper left")


def draw_fit(panel: Any, found: Calibration) -> None:
    """The probability integral transform of pairs that were not fitted to: flat if the law is right."""
    fit = found.goodness
    columns = len(fit.shares)
    panel.bar(
        (np.arange(columns) + 0.5) / columns, np.array(fit.shares) * columns, 1 / columns, color=COLOURS[1], alpha=0.8
    )
    panel.axhline(1, color="0.2", linewidth=1, linestyle="--")
    frames = f"{fit.held_out_frames} held-out frames" if fit.held_out_frames else "the fitted frames"
    panel.set(
        xlabel="P(X ≤ x | s)", ylabel="density", xlim=(0, 1), ylim=(0, max(1.5, 1.1 * columns * max(fit.shares))),
        title=f"fit to {frames}: off by {100 * fit.distance:.2g} % at most",
    )  # fmt: skip
