"""A noise model p(x|s): its density, sections of it, and its standard deviation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.noise.base import Noise
from noisewise.plots.canvas import COLOURS, panels, save

SIGNALS, VALUES = 160, 240  # pixels of the image of the density
MAX_STDS = 6.0  # standard deviations that are drawn
SECTIONS = (0.02, 0.2, 0.5, 0.98)  # square roots of the places of the sections in the range of signals
SECTION_PAIRS = 4000  # drawn for a section, at least
DECADES = 6  # of the density


def plot_noise_model(noise_model: Noise, path: str | Path, low: float | None = None, high: float | None = None) -> None:
    """Plot density, sections and standard deviation between two signals; of pixel maps, the typical pixel.

    path: .png, .pdf or .svg. low, high: signals, ADU (default: the range of the fit).

    Errors: `UserError` for a noise model without a range of signals, if none is given, and if the file cannot be
    written.
    """
    low, high = signal_range(noise_model, low, high)
    noise_model = noise_model.typical()
    figure, (densities, sections, strength) = panels(1, 3, (13, 4.2))
    draw_density(densities, noise_model, low, high)
    draw_sections(sections, noise_model, low, high)
    draw_std(strength, noise_model, low, high)
    save(figure, path)


def signal_range(noise_model: Noise, low: float | None, high: float | None) -> tuple[float, float]:
    """The given range, or that of the fit, ADU. Errors: `UserError` if neither is known."""
    known = noise_model.provenance.get("signal_range", (None, None))
    low, high = known[0] if low is None else low, known[1] if high is None else high
    if low is None or high is None or not high > low:
        raise UserError("the noise model has no range of signals; give low and high, in ADU")
    return float(low), float(high)


def mean_and_std(noise_model: Noise, signal: Tensor) -> tuple[Array, Array]:
    """Mean and standard deviation at each signal, ADU."""
    mean, variance = noise_model.mean_var(signal)
    return mean.numpy(), variance.sqrt().numpy()


def density(noise_model: Noise, noisy: Array, signal: Array) -> Array:
    """p(x|s) per ADU; of quantized values, that of the nearest one. Zero at limits that are far away."""
    step, low, high = noise_model.quantization.step, noise_model.quantization.low, noise_model.quantization.high
    values = np.round(noisy / step) * step if step else noisy
    x, s = np.broadcast_arrays(values, signal)
    with torch.no_grad():
        found = noise_model.log_prob(torch.from_numpy(x.copy()), torch.from_numpy(s.copy())).exp().numpy()
        std = noise_model.mean_var(torch.from_numpy(s.copy()))[1].sqrt().numpy()
    at_limit = (x <= (-np.inf if low is None else low)) | (x >= (np.inf if high is None else high))
    return np.where(at_limit & (np.abs(x - s) > 3 * std), 0.0, found)


# -- panels ----------------------------------------------------------------------------------------


def draw_density(panel: Any, noise_model: Noise, low: float, high: float) -> None:
    """Draw the density of x − s at each signal, on a logarithmic scale."""
    from matplotlib.colors import LogNorm

    signal = np.linspace(low, high, SIGNALS)
    mean, std = mean_and_std(noise_model, torch.from_numpy(signal))
    extent = MAX_STDS * std.max()
    noise = np.linspace(-extent, extent, VALUES)
    shown = density(noise_model, signal + noise[:, None], signal)
    top = shown.max()
    image = panel.imshow(
        np.maximum(shown, 1e-30), origin="lower", aspect="auto", extent=(low, high, -extent, extent), cmap="magma",
        norm=LogNorm(top * 10**-DECADES, top),
    )  # fmt: skip
    for side in (-1, 1):
        panel.plot(signal, mean - signal + side * std, color="white", linewidth=0.8, linestyle="--")
    panel.set(xlabel="signal s (ADU)", ylabel="noise x − s (ADU)", title="p(x|s); dashed: ± standard deviation")
    panel.figure.colorbar(image, ax=panel, label="density (1/ADU)")


def draw_sections(
    panel: Any, noise_model: Noise, low: float, high: float, pairs: tuple[Array, Array] | None = None
) -> None:
    """Draw p(x|s) at several signals, and the histograms of pairs with about these signals."""
    for part, colour in zip(SECTIONS, COLOURS, strict=True):
        signal = low + (high - low) * part**2
        if pairs is not None:
            signal = float(pairs[1][np.abs(pairs[1] - signal).argmin()])  # the nearest recorded one
        std = float(mean_and_std(noise_model, torch.tensor([signal], dtype=torch.float64))[1][0])
        z = np.linspace(-MAX_STDS, MAX_STDS, 500)
        shown = std * density(noise_model, signal + std * z, np.array(signal))
        panel.plot(z, shown, color=colour, label=f"s = {signal:.4g} ADU")
        if pairs is not None:
            draw_histogram(panel, noise_model, *pairs, signal, std, colour)
    panel.set(
        xlabel="(x − s) / standard deviation", ylabel="density × standard deviation", yscale="log", ylim=(1e-5, 40),
        xlim=(-MAX_STDS, MAX_STDS), title="p(x|s)" + ("" if pairs is None else "; lines: noise model, dots: recorded"),
    )  # fmt: skip
    panel.legend(fontsize=9, frameon=False, loc="upper center", ncols=2)


def draw_histogram(
    panel: Any, noise_model: Noise, noisy: Array, signal: Array, at: float, std: float, colour: str
) -> None:
    """Draw the histogram of the pairs within a tenth of a standard deviation, or of some thousands of the nearest."""
    distance = np.abs(signal - at)
    some = distance <= max(0.1 * std, np.sort(distance)[min(SECTION_PAIRS, len(distance)) - 1])
    width = max(0.25, noise_model.quantization.step / std)
    edges = np.arange(-MAX_STDS, MAX_STDS + width, width)
    stds = mean_and_std(noise_model, torch.from_numpy(signal[some]))[1]
    count = np.histogram((noisy[some] - signal[some]) / stds, edges)[0]
    shown = count > 0
    middle = (edges[1:] + edges[:-1]) / 2
    panel.plot(middle[shown], (count / (some.sum() * width))[shown], ".", color=colour, markersize=5)


def draw_std(panel: Any, noise_model: Noise, low: float, high: float) -> None:
    """Draw the standard deviation against the signal."""
    signal = np.linspace(low, high, SIGNALS)
    mean, std = mean_and_std(noise_model, torch.from_numpy(signal))
    panel.plot(signal, std, color=COLOURS[1])
    panel.set(xlabel="signal s (ADU)", ylabel="standard deviation (ADU)", title="standard deviation of the noise")
    panel.set_ylim(bottom=0)
    bias = np.abs(mean - signal).max()
    if bias > 0.01 * std.max():
        panel.text(
            0.03, 0.94, f"mean of x differs from s by up to {bias:.2g} ADU", transform=panel.transAxes, fontsize=9
        )
