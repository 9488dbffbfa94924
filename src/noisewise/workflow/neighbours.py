"""Which axes a network sees together: planes alone, or with those before and behind them, in depth or in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisewise.axes import Array, Region, evenly
from noisewise.errors import UserError
from noisewise.estimate.report import NoiseReport
from noisewise.io.base import Source
from noisewise.io.light import has_repeated_planes, read_light
from noisewise.methods.base import Method

Lag = tuple[str, int]  # axis, pixels
NEXT: tuple[Lag, ...] = (("Y", 1), ("X", 1))
PAIRS, SIDE = 6, 1024  # of neighbouring planes that are compared; pixels of each, along Y and X
INDEPENDENT = 0.05  # autocorrelation below which noise counts as independent
UNLIKE = 0.4  # correlation of signals, up to which neighbouring planes tell next to nothing
STRANGERS = (
    "neighbouring planes along {axis} have little in common (correlation {likeness:.2f}): each is denoised on its own; "
    "if they belong together: noisewise train simulated IMAGE --spatial {axis}YX -o MODEL"
)
COPIES = "planes are exact copies of each other: each is denoised on its own, plane by plane"


def choose_spatial(method: Method, noisy: Sequence[Source], checkup: NoiseReport | None) -> str:
    """The axes that the network sees together, as the method's settings say; by default as follows.

    A network that sees neighbouring planes gets those along Z or T: where an image has both, those that are more alike;
    none where neighbours have little in common, or share their noise. Another one gets whole stacks of at least
    three slices.

    checkup: of the noise; without it, or where noise is correlated over long distances, no planes are found to differ.

    Errors: `UserError` for axes that an image does not have.
    """
    if method.spatial != "auto":
        for source in noisy:
            if not set(method.spatial) <= set(source.axes):
                raise UserError(
                    f"{source.name}: has axes {source.axes}, not {method.spatial}; give axes if they are wrong"
                )
        return method.spatial
    if not method.traits.neighbours:
        return "ZYX" if all(source.size_of("Z") >= 3 and not has_repeats(source, "Z") for source in noisy) else "YX"
    shared = {} if checkup is None else checkup.shared_noise
    lags = [] if checkup is None else independent_lags(checkup)
    likeness = {
        axis: min(likeness_along(axis, source, lags or NEXT) for source in noisy) for axis in "ZT"
        if axis not in shared and all(source.size_of(axis) >= 2 and not has_repeats(source, axis) for source in noisy)
    }  # fmt: skip
    best = max(likeness, key=likeness.__getitem__, default="")
    if lags and best and likeness[best] < UNLIKE:
        note = STRANGERS.format(axis=best, likeness=likeness[best])
        noisy[0].notes.extend([] if note in noisy[0].notes else [note])
        return "YX"
    return best + "YX"


def has_repeats(source: Source, axis: str) -> bool:
    """Whether planes are copies of those before them, from which a network would learn to copy the noise."""
    if not has_repeated_planes(source, axis):
        return False
    if COPIES not in source.notes:
        source.notes.append(COPIES)
    return True


def likeness_along(axis: str, source: Source, lags: Sequence[Lag] = NEXT) -> float:
    """Correlation of the signals of neighbouring planes a and b along an axis, in the middle of some: 1 at rest.

    ⟨a(x) b(x + lag)⟩ over ⟨a(x) a(x + lag)⟩, less the means: noise that is independent over these lags adds to neither.
    0 where there are no pixels to compare.
    """
    where = source.axes.index(axis)
    letters = source.axes.replace(axis, "")
    across = tuple(letters.index(letter) for letter in "YX")
    between = within = 0.0
    for start in evenly(range(source.size_of(axis) - 1), PAIRS):
        region: Region = tuple(
            slice(start, start + 2)
            if letter == axis
            else middle(size, {"Y": SIDE, "X": SIDE, "C": size}.get(letter, 1))
            for letter, size in zip(source.axes, source.shape, strict=True)
        )
        a, b = np.moveaxis(read_light(source, region).astype(np.float64), where, 0)
        finite = np.isfinite(a) & np.isfinite(b)
        if not finite.any():
            continue
        a, b = (centred(plane, finite, across) for plane in (a, b))
        for letter, lag in lags:
            along = letters.index(letter)
            (a0, a1), (b0, b1) = (shifted(plane, along, lag) for plane in (a, b))
            between += float((a0 * b1 + b0 * a1).mean())
            within += float((a0 * a1 + b0 * b1).mean())
    return between / max(between, within, np.finfo(np.float64).tiny)


def centred(plane: Array, counts: Array, across: tuple[int, ...]) -> Array:
    """A plane less its mean over some axes; zero where pixels do not count."""
    values = np.where(counts, plane, 0.0)
    mean = values.sum(across, keepdims=True) / np.maximum(counts.sum(across, keepdims=True), 1)
    return np.where(counts, values - mean, 0.0)


def middle(size: int, most: int) -> slice:
    """The middle of an axis, at most so many positions."""
    start = max(0, (size - most) // 2)
    return slice(start, start + min(size, most))


def shifted(plane: Array, along: int, lag: int) -> tuple[Array, Array]:
    """A plane without its end, and without its beginning: pixels that are `lag` apart."""
    size = plane.shape[along]
    first, second = (np.take(plane, range(start, size - lag + start), along) for start in (0, lag))
    return first, second


def independent_lags(checkup: NoiseReport) -> list[Lag]:
    """The shortest lag along Y and X from which on noise is independent; without axes along which it never is."""
    found = []
    for axis, offset in (("Y", checkup.column_std_adu), ("X", checkup.row_std_adu)):
        rho = [abs(checkup.correlation.along(axis, lag)) for lag in range(1, len(checkup.correlation.rho))]
        lags = [lag for lag in range(1, len(rho) + 1) if max(rho[lag - 1 :]) < INDEPENDENT]
        if lags and not offset:
            found.append((axis, lags[0]))
    return found
