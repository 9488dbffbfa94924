"""Resolution pyramids: a coarser level of an image from a finer one, block by block."""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.io.base import to_dtype

BLOCK = 2**22  # pixels of the coarser level that are computed together


def shrink(fine: Any, coarse: Any) -> None:
    """Fill each pixel of a coarser level with the mean of the finer pixels that it covers, block by block.

    fine, coarse: arrays with the same axes; only blocks of them are in memory at a time.
    """
    starts = [_bins(have, want) for have, want in zip(fine.shape, coarse.shape, strict=True)]
    steps = _steps(coarse)
    for corner in product(*(range(0, n, step) for n, step in zip(coarse.shape, steps, strict=True))):
        ends = [min(c + s, n) for c, s, n in zip(corner, steps, coarse.shape, strict=True)]
        target = tuple(slice(a, b) for a, b in zip(corner, ends, strict=True))
        source = tuple(slice(int(e[a]), int(e[b])) for e, a, b in zip(starts, corner, ends, strict=True))
        total = np.asarray(fine[source], np.float64)
        for axis, (edges, part) in enumerate(zip(starts, target, strict=True)):
            cuts = edges[part.start : part.stop + 1] - edges[part.start]
            widths = np.diff(cuts).reshape([-1 if a == axis else 1 for a in range(total.ndim)])
            total = np.add.reduceat(total, cuts[:-1], axis=axis) / widths
        coarse[target] = to_dtype(total, np.dtype(coarse.dtype))


def _bins(have: int, want: int) -> Array:
    """Edges of `want` bins over `have` pixels, of equal width if an integer factor allows it."""
    if not 0 < want <= have:
        raise UserError(f"the input's pyramid is damaged: {want} pixels follow {have}; write to an .ome.tif")
    for factor in (have // want, ceil(have / want)):
        if want in (ceil(have / factor), have // factor):
            return np.append(np.arange(want) * factor, have)
    return np.arange(want + 1) * have // want


def _steps(coarse: Any) -> list[int]:
    """Shape of the blocks: whole chunks or shards of Zarr, as many as fit into `BLOCK` pixels, last axes first."""
    grain = getattr(coarse, "shards", None) or getattr(coarse, "chunks", None) or (1,) * coarse.ndim
    steps = [min(g, n) for g, n in zip(grain, coarse.shape, strict=True)]
    for axis in reversed(range(len(steps))):
        while steps[axis] < coarse.shape[axis] and 2 * int(np.prod(steps)) <= BLOCK:
            steps[axis] = min(2 * steps[axis], coarse.shape[axis])
    return steps
