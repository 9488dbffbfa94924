"""LIF: recordings of Leica's LAS, read by `liffile`; each image of a project is one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.errors import UserError
from noisewise.io.base import Acquisition, Source
from noisewise.io.pieces import Pieces
from noisewise.io.recording import Recorded, library, open_recording

SUFFIXES = (".lif",)
READ_ONLY = SUFFIXES
KIND = "LIF"


def open_images(path: Path, axes: str | None = None, series: int | None = None) -> Sequence[Source]:
    """Open the images of a project. Errors: `UserError` for what cannot be read."""
    liffile = library(path, "liffile", KIND)
    return open_recording(path, KIND, lambda: liffile.LifFile(path), images, axes, series)


def images(file: Any) -> list[Recorded]:
    """The images of a file, without photon arrival times (FLIM)."""
    if file.type.name not in ("LIF", "LIFEXT"):
        raise UserError(f"{file.filename}: refers to other files; export it as a LIF file that holds its images")
    found = []
    for one in file.images:
        with suppress(Exception):  # an image that cannot be read does not spoil the others
            if not one.is_flim and {"X", "Y"} <= set(one.sizes) and not one.memory_block.frames:
                found.append(image(one))
    return found


def image(one: Any) -> Recorded:
    """An image of the project."""
    names, shape = list(one.sizes), tuple(map(int, one.shape))
    array = Pieces.frames(names, shape, list(one.frames.frame_sizes), one.dtype, lambda at: np.asarray(one.frames[at]))
    channels = one.xml_element.findall("./Data/Image/ImageDescription/Channels/ChannelDescription")
    labels = [name_of(channel) for channel in channels]
    bits = max((int(channel.get("Resolution", 0)) for channel in channels), default=0)
    return Recorded(
        names, shape, one.dtype, array, scale(one.coords), labels if all(labels) else [], one.name, bits,
        acquisition(one),
    )  # fmt: skip


def name_of(channel: Any) -> str:
    """The dye of a channel, or what the file calls it."""
    properties = {entry.findtext("Key"): entry.findtext("Value") for entry in channel.iter("ChannelProperty")}
    return properties.get("DyeName") or channel.get("NameOfMeasuredQuantity") or channel.get("LUTName") or ""


def scale(coordinates: dict[str, Any]) -> dict[str, float]:
    """Pixel size, µm, and frame interval, s, from coordinates in m and s."""
    steps = {axis: abs(float(at[-1] - at[0])) / (len(at) - 1) for axis, at in coordinates.items() if len(at) > 1}
    return {axis: step * (1.0 if axis == "T" else 1e6) for axis, step in steps.items() if axis in "TZYX"}


def acquisition(one: Any) -> Acquisition:
    """When an image was recorded, as far as the file says."""
    with suppress(Exception):  # metadata are no reason to refuse the pixels
        stamps = one.timestamps
        times = (stamps - stamps[0]).astype("timedelta64[ms]").astype(float) / 1000
        return Acquisition(date=str(stamps[0].astype("datetime64[s]")), times_s=tuple(times.tolist()))
    return Acquisition()
