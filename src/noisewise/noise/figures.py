"""Pictures of a law, and of the recording that it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.io.paths import plain_words
from noisewise.noise.base import Noise
from noisewise.noise.detector import worded
from noisewise.noise.maps import PixelMaps
from noisewise.noise.poisson_gaussian import PoissonGaussian

if TYPE_CHECKING:
    from noisewise.noise.calibrate import Calibration

SIGNALS, VALUES = 160, 240  # of the image of the density
FAR = 6.0  # standard deviations that are drawn
ROWS = (0.02, 0.2, 0.5, 0.98)  # places of the rows in the range of signals, the square root of it evenly
COLOURS = ("#3b0f70", "#8c2981", "#de4968", "#fe9f6d")
ROW_PAIRS = 4000  # drawn for a row, at least
DECADES = 6  # of the density


def draw_law(law: Noise, path: Path, low: float | None = None, high: float | None = None) -> None:
    """Three panels between two signals: density, rows of it, standard deviation. Of maps, the typical pixel.

    Errors: `UserError` for a law without a range of signals, if none is given.
    """
    low, high = signal_range(law, low, high)
    law = one_pixel(law)
    figure, panels = canvas(1, 3, (13, 4.2))
    draw_density(panels[0], law, low, high)
    draw_rows(panels[1], law, low, high)
    draw_spread(panels[2], law, low, high)
    save(figure, path)


def draw_calibration(found: Calibration, path: Path) -> None:
    """Four panels: pairs of the recording, rows of them with the law, photon-transfer curve, fit of the law."""
    low, high = found.noise.provenance["signal_range"]
    figure, panels = canvas(2, 2, (11.5, 8.2))
    noisy, signal = (part.numpy().ravel() for part in found.some)
    law = one_pixel(found.noise)
    draw_pairs(panels[0, 0], noisy, signal, law, low, high)
    draw_rows(panels[0, 1], law, low, high, (noisy, signal))
    draw_curve(panels[1, 0], found)
    draw_fit(panels[1, 1], found)
    save(figure, path)


def canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure that needs no display, and its panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=size, dpi=110, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def save(figure: Any, path: Path) -> None:
    """Write a PNG, whatever the name. Errors: `UserError` if the place cannot be written to."""
    with plain_words(path, "cannot be written"):
        figure.savefig(path, format="png")


def signal_range(law: Noise, low: float | None, high: float | None) -> tuple[float, float]:
    """As asked for, or what the law was made from. Errors: `UserError` if neither is known."""
    known = law.provenance.get("signal_range", (None, None))
    low, high = known[0] if low is None else low, known[1] if high is None else high
    if low is None or high is None or not high > low:
        raise UserError("the noise model does not know its range of signals; give low and high, in ADU")
    return float(low), float(high)


def one_pixel(law: Noise) -> Noise:
    """The law of a typical pixel."""
    if not isinstance(law, PixelMaps):
        return law
    return PoissonGaussian(law.typical_gain, law.typical_offset, law.read_noise.median(), law.digital)


def spread_at(law: Noise, signal: Tensor) -> tuple[Array, Array]:
    """Mean and standard deviation at each signal, ADU."""
    mean, variance = law.mean_var(signal)
    return mean.numpy(), variance.sqrt().numpy()


def density(law: Noise, noisy: Array, signal: Array) -> Array:
    """p(x|s) per ADU; of whole values, that of the nearest one. Nothing is drawn at limits that are far away."""
    step, low, high = law.digital.step, law.digital.low, law.digital.high
    values = np.round(noisy / step) * step if step else noisy
    x, s = np.broadcast_arrays(values, signal)
    with torch.no_grad():
        found = law.log_prob(torch.from_numpy(x.copy()), torch.from_numpy(s.copy())).exp().numpy()
        std = law.mean_var(torch.from_numpy(s.copy()))[1].sqrt().numpy()
    at_limit = (x <= (-np.inf if low is None else low)) | (x >= (np.inf if high is None else high))
    return np.where(at_limit & (np.abs(x - s) > 3 * std), 0.0, found)


# -- panels ----------------------------------------------------------------------------------------


def draw_density(panel: Any, law: Noise, low: float, high: float) -> None:
    """The density of x − s at each signal, on a logarithmic scale."""
    from matplotlib.colors import LogNorm

    signal = np.linspace(low, high, SIGNALS)
    mean, std = spread_at(law, torch.from_numpy(signal))
    reach = FAR * std.max()
    rest = np.linspace(-reach, reach, VALUES)
    shown = density(law, signal + rest[:, None], signal)
    top = shown.max()
    image = panel.imshow(
        np.maximum(shown, 1e-30), origin="lower", aspect="auto", extent=(low, high, -reach, reach), cmap="magma",
        norm=LogNorm(top * 10**-DECADES, top),
    )  # fmt: skip
    for side in (-1, 1):
        panel.plot(signal, mean - signal + side * std, color="white", linewidth=0.8, linestyle="--")
    panel.set(xlabel="signal s (ADU)", ylabel="noise x − s (ADU)", title="p(x|s); dashed: ± standard deviation")
    panel.figure.colorbar(image, ax=panel, label="density (1/ADU)")


def draw_rows(panel: Any, law: Noise, low: float, high: float, pairs: tuple[Array, Array] | None = None) -> None:
    """p(x|s) at some signals; over it the histogram of pairs with about that signal."""
    for part, colour in zip(ROWS, COLOURS, strict=True):
        signal = low + (high - low) * part**2
        if pairs is not None:
            signal = near(pairs[1], signal)
        std = float(spread_at(law, torch.tensor([signal], dtype=torch.float64))[1][0])
        z = np.linspace(-FAR, FAR, 500)
        panel.plot(
            z, std * density(law, signal + std * z, np.array(signal)), color=colour, label=f"s = {signal:.4g} ADU"
        )
        if pairs is not None:
            draw_steps(panel, law, *pairs, signal, std, colour)
    panel.set(
        xlabel="(x − s) / standard deviation", ylabel="density × standard deviation", yscale="log", ylim=(1e-5, 40),
        xlim=(-FAR, FAR), title="rows of p(x|s)" + ("" if pairs is None else ": law (lines), recorded (dots)"),
    )  # fmt: skip
    panel.legend(fontsize=9, frameon=False, loc="upper center", ncols=2)


def near(signals: Array, wanted: float) -> float:
    """The recorded signal nearest to one that is wanted."""
    return float(signals[np.abs(signals - wanted).argmin()])


def draw_steps(panel: Any, law: Noise, noisy: Array, signal: Array, at: float, std: float, colour: str) -> None:
    """Histogram of the pairs within a tenth of a standard deviation, or what it takes for some thousands of them."""
    distance = np.abs(signal - at)
    some = distance <= max(0.1 * std, np.sort(distance)[min(ROW_PAIRS, len(distance)) - 1])
    width = max(0.25, law.digital.step / std)
    edges = np.arange(-FAR, FAR + width, width)
    own = spread_at(law, torch.from_numpy(signal[some]))[1]
    count = np.histogram((noisy[some] - signal[some]) / own, edges)[0]
    shown = count > 0
    middle = (edges[1:] + edges[:-1]) / 2
    panel.plot(middle[shown], (count / (some.sum() * width))[shown], ".", color=colour, markersize=5)


def draw_spread(panel: Any, law: Noise, low: float, high: float) -> None:
    """Standard deviation against signal."""
    signal = np.linspace(low, high, SIGNALS)
    mean, std = spread_at(law, torch.from_numpy(signal))
    panel.plot(signal, std, color=COLOURS[1])
    panel.set(xlabel="signal s (ADU)", ylabel="standard deviation (ADU)", title="strength of the noise")
    panel.set_ylim(bottom=0)
    bias = np.abs(mean - signal).max()
    if bias > 0.01 * std.max():
        panel.text(
            0.03, 0.94, f"mean of x differs from s by up to {bias:.2g} ADU", transform=panel.transAxes, fontsize=9
        )


def draw_pairs(panel: Any, noisy: Array, signal: Array, law: Noise, low: float, high: float) -> None:
    """How often each pair was recorded, and the standard deviation of the law."""
    from matplotlib.colors import LogNorm

    std = spread_at(law, torch.linspace(low, high, SIGNALS, dtype=torch.float64))[1]
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
