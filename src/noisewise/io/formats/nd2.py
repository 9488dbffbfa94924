"""ND2: recordings of Nikon's NIS-Elements, read by `nd2`; each stage position is an image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.io.base import Acquisition, Source
from noisewise.io.pieces import Pieces
from noisewise.io.recording import Recorded, library, open_recording

SUFFIXES = (".nd2",)
READ_ONLY = SUFFIXES
KIND = "ND2"


def open_images(path: Path, axes: str | None = None, series: int | None = None) -> Sequence[Source]:
    """Open the positions of a recording. Errors: `UserError` for what cannot be read."""
    nd2 = library(path, "nd2", KIND)

    def begin() -> Any:
        file = Unmapped(path)
        try:
            return nd2.ND2File(file)
        except BaseException:
            file.close()
            raise

    return open_recording(path, KIND, begin, positions, axes, series)


class Unmapped:
    """An open file that `nd2` reads: it maps others into memory, and where these become shorter, the process ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def positions(file: Any) -> list[Recorded]:
    """The images of a file, one for each position."""
    sizes = dict(file.sizes)
    count = sizes.pop("P", 1)
    loops = list(file.loop_indices) or [{}]
    names = list(sizes)
    frame = [axis for axis in names if axis in "CYXS" and not any(axis in at for at in loops)]
    outer = [axis for axis in names if axis not in frame]
    shape = tuple(int(sizes[axis]) for axis in names)
    numbers = {(at.get("P", 0), *(at.get(axis, 0) for axis in outer)): number for number, at in enumerate(loops)}

    def image(position: int) -> Recorded:
        def decode(indices: tuple[int, ...]) -> Any:
            return np.array(file.read_frame(numbers[position, *indices]))

        return Recorded(
            names, shape, file.dtype, Pieces.frames(names, shape, frame, file.dtype, decode), scale(file),
            channel_names(file), position_name(file, position),
            int(file.attributes.bitsPerComponentSignificant or 0), acquisition(file, numbers, position),
        )  # fmt: skip

    return [image(position) for position in range(count)]


def channel_names(file: Any) -> list[str]:
    """Names of the channels, as far as the file says."""
    with suppress(Exception):  # metadata are no reason to refuse the pixels
        return [channel.channel.name for channel in file.metadata.channels or []]
    return []


def scale(file: Any) -> dict[str, float]:
    """Pixel size, µm, and frame interval, s."""
    found: dict[str, float] = {}
    with suppress(Exception):  # metadata are no reason to refuse the pixels
        volume = file.metadata.channels[0].volume
        steps = zip("XYZ", volume.axesCalibration, volume.axesCalibrated, strict=True)
        found = {axis: step for axis, step, known in steps if known}
    for loop in file.experiment:
        if loop.type == "TimeLoop":
            found["T"] = loop.parameters.periodMs / 1000
    return {axis: float(value or 0) for axis, value in found.items()}


def position_name(file: Any, position: int) -> str:
    """What the user called a position, or its number."""
    for loop in file.experiment:
        if loop.type == "XYPosLoop" and position < len(loop.parameters.points):
            return str(loop.parameters.points[position].name or f"series {position}")
    return f"series {position}"


def acquisition(file: Any, numbers: dict[tuple[int, ...], int], position: int) -> Acquisition:
    """When and where a position was recorded, as far as the file says."""
    mine = [number for at, number in numbers.items() if at[0] == position]
    with suppress(Exception):  # metadata are no reason to refuse the pixels
        stage = file.frame_metadata(mine[0]).channels[0].position.stagePositionUm
        outer = [axis for axis in file.sizes if axis in "TZ"]
        times = [file.frame_metadata(number).channels[0].time.relativeTimeMs / 1000 for number in mine]
        shape = [file.sizes[axis] for axis in outer]
        in_order = np.reshape(times, shape) if outer == sorted(outer, reverse=True) else np.reshape(times, shape).T
        return Acquisition(stage_um={"X": stage.x, "Y": stage.y}, times_s=tuple(in_order.ravel().tolist()))
    return Acquisition()
