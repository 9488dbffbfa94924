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

PAIRS = 6  # of neighbouring planes that are compared
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

    checkup: of the noise, or None.

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
    likeness = {
        axis: min(likeness_along(axis, source) for source in noisy) for axis in "ZT"
        if axis not in shared and all(source.size_of(axis) >= 2 and not has_repeats(source, axis) for source in noisy)
    }  # fmt: skip
    best = max(likeness, key=likeness.__getitem__, default="")
    if best and likeness[best] < UNLIKE:
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


def likeness_along(axis: str, source: Source) -> float:
    """Correlation of the signals of neighbouring planes along an axis, of some pairs: 1 for a scene at rest.

    Covariance of the two planes over that of neighbouring pixels in each of them: independent noise adds to neither.
    """
    where = source.axes.index(axis)
    between = within = 0.0
    for start in evenly(range(source.size_of(axis) - 1), PAIRS):
        region: Region = tuple(
            slice(start, start + 2) if letter == axis
            else slice(0, size) if letter in "CYX"
            else slice(size // 2, size // 2 + 1)
            for letter, size in zip(source.axes, source.shape, strict=True)
        )  # fmt: skip
        light = np.moveaxis(read_light(source, region).astype(np.float64), where, 0)
        across = tuple(i for i, letter in enumerate(source.axes.replace(axis, "")) if letter in "YX")
        planes = [plane - np.nanmean(plane, across, keepdims=True) for plane in light]
        between += float(np.nanmean(planes[0] * planes[1]))
        within += float(np.mean([covariance_of_neighbours(plane, i) for plane in planes for i in across]))
    return between / max(between, within, np.finfo(np.float64).tiny)


def covariance_of_neighbours(centred: Array, along: int) -> float:
    """Mean product of neighbouring pixels along one array axis."""
    first, second = (np.take(centred, range(start, centred.shape[along] - 1 + start), along) for start in (0, 1))
    return float(np.nanmean(first * second))
