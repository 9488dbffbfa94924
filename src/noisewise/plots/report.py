"""Small figures of a report, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.estimate.report import NoiseReport
from noisewise.plots.canvas import panels
from noisewise.plots.noise_report import draw_levels

SIZE = (4.6, 3.2)


def svg_of(figure: Any) -> str:
    """A figure as SVG, without the header of a file."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def noise_figure(checkup: NoiseReport) -> str:
    """Noise against signal, with the variance line."""
    figure, panel = panels(1, 1, SIZE)
    draw_levels(panel, checkup)
    return svg_of(figure)


def profile_figure(noisy: Array, denoised: Array, std: Array | None) -> str:
    """The same line of both images; with two standard deviations, if they are known."""
    figure, panel = panels(1, 1, SIZE)
    at = np.arange(len(noisy))
    panel.plot(at, noisy, color="0.65", linewidth=0.8, label="noisy")
    if std is not None:
        panel.fill_between(at, denoised - 2 * std, denoised + 2 * std, color="tab:orange", alpha=0.3, linewidth=0)
    panel.plot(at, denoised, color="tab:red", linewidth=1.2, label="denoised")
    panel.set(xlabel="X (pixels)", ylabel="pixel value")
    panel.legend(frameon=False, fontsize=9)
    return svg_of(figure)


def residual_figure(signal: Array, mean: Array, error: Array, ratio: Array) -> str:
    """By brightness: mean of the residual with its standard error, and its power over that of the noise."""
    figure, (left, right) = panels(1, 2, (2 * SIZE[0], SIZE[1]))
    left.errorbar(signal, mean, 2 * error, fmt="o", color="tab:blue", markersize=4)
    left.axhline(0, color="0.6", linewidth=0.8)
    left.set(xlabel="signal (pixel value)", ylabel="mean of the residual")
    right.plot(signal, ratio, "o-", color="tab:green", markersize=4)
    right.axhline(1, color="0.6", linewidth=0.8)
    right.set(xlabel="signal (pixel value)", ylabel="power of the residual / noise", ylim=(0, None))
    return svg_of(figure)


def losses_figure(losses: Sequence[tuple[int, float]]) -> str:
    """Validation loss against steps."""
    figure, panel = panels(1, 1, SIZE)
    panel.plot(*zip(*losses, strict=True), "o-", color="tab:purple", markersize=3)
    panel.set(xlabel="training steps", ylabel="validation loss")
    return svg_of(figure)
