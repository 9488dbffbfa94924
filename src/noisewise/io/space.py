"""Disk space: whether outputs fit, before the work."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.io.files import fingerprint

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
Size = tuple[Path, int]  # an output and its size without compression, bytes


def size_of(path: Path, likes: Sequence[Source], dtype: Any = None) -> Size:
    """An output and its size in bytes without compression: that of all pixels of its images.

    dtype: pixel type of the output, default that of each image.
    """
    return path, sum(prod(like.shape) * np.dtype(like.dtype if dtype is None else dtype).itemsize for like in likes)


def refuse_without_space(images: Iterable[Iterable[Size]]) -> None:
    """Errors: `UserError` if the free space of a disk is less than the outputs need without compression.

    images: the outputs of each image, which are complete at the same time: up to then, an old output that they replace
    needs its space too.
    """
    free: dict[int, tuple[Path, int]] = {}
    used: dict[int, int] = {}
    most: dict[int, int] = {}
    for outputs in images:
        replaced: dict[int, int] = {}
        for path, size in outputs:
            place = path.resolve()
            with suppress(OSError):  # what else is wrong with the folder is said where the output is created
                disk = place.parent.stat().st_dev
                free.setdefault(disk, (place.parent, shutil.disk_usage(place.parent).free))
                used[disk] = used.get(disk, 0) + size
                replaced[disk] = replaced.get(disk, 0) + (fingerprint(place)[1] if place.exists() else 0)
        for disk, old in replaced.items():
            most[disk] = max(most.get(disk, 0), used[disk])
            used[disk] -= old
    for disk, needed in most.items():
        folder, there = free[disk]
        if needed > there:
            raise UserError(
                f"{folder}: the outputs need {in_bytes(needed)}, but only {in_bytes(there)} of the disk are free; free "
                f"some space, write to another disk, or give fewer images at a time"
            )


def in_bytes(count: float) -> str:
    """A number of bytes with a unit: `1.5 GB`."""
    power = 0
    while count >= 999.5 and power < len(UNITS) - 1:
        count, power = count / 1000, power + 1
    return f"{count:.3g} {UNITS[power]}"
