"""Which axes a network sees together: planes alone, or with those before and behind them, in depth or in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisewise.axes import Region, evenly
from noisewise.errors import UserError
from noisewise.estimate.report import NoiseReport
from noisewise.io.base import Source
from noisewise.io.light import has_repeated_planes, read_light
from noisewise.methods.base import Method

PAIRS = 6  # of neighbouring planes, to compare depth with time
COPIES = "planes are exact copies of each other: each is denoised on its own, plane by plane"


def choose_spatial(method: Method, noisy: Sequence[Source], checkup: NoiseReport | None) -> str:
    """The axes that the network sees together, as the method's settings say; by default as follows.

    A network that sees neighbouring planes gets those along Z or T: where an image has both, those that differ less;
    not those that share their noise. Another one gets whole stacks of at least three slices.

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
    axes = [
        axis for axis in "ZT"
        if axis not in shared and all(source.size_of(axis) >= 2 and not has_repeats(source, axis) for source in noisy)
    ]  # fmt: skip
    return min(axes, key=lambda axis: difference_along(axis, noisy[0]), default="") + "YX"


def has_repeats(source: Source, axis: str) -> bool:
    """Whether planes are copies of those before them, from which a network would learn to copy the noise."""
    if not has_repeated_planes(source, axis):
        return False
    if COPIES not in source.notes:
        source.notes.append(COPIES)
    return True


def difference_along(axis: str, source: Source) -> float:
    """Mean squared difference of neighbouring planes along an axis, of some pairs, ADU²."""
    where = source.axes.index(axis)
    found = []
    for start in evenly(range(source.size_of(axis) - 1), PAIRS):
        region: Region = tuple(
            slice(start, start + 2) if letter == axis
            else slice(0, size) if letter in "CYX"
            else slice(size // 2, size // 2 + 1)
            for letter, size in zip(source.axes, source.shape, strict=True)
        )  # fmt: skip
        one, two = np.moveaxis(read_light(source, region).astype(np.float64), where, 0)
        found.append(float(np.nanmean((one - two) ** 2)))
    return float(np.mean(found))
