"""CZI: recordings of Zeiss' ZEN, read by `czifile`; each scene is an image, tiles of a mosaic are put together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from noisewise.axes import Array
from noisewise.io.base import Acquisition, Source
from noisewise.io.pieces import Pieces
from noisewise.io.recording import Recorded, library, open_recording

SUFFIXES = (".czi",)
READ_ONLY = SUFFIXES
KIND = "CZI"
LZW, ZSTD, ZSTD_WITH_HEADER = 2, 5, 6  # compressions that `czifile` does not decode


def open_images(path: Path, axes: str | None = None, series: int | None = None) -> Sequence[Source]:
    """Open the scenes of a recording. Errors: `UserError` for what cannot be read."""
    czifile = library(path, "czifile", KIND)
    return open_recording(path, KIND, lambda: czifile.CziFile(str(path), detectmosaic=False), scenes, axes, series)


def scenes(file: Any) -> list[Recorded]:
    """The images of a file, one for each scene, without the coarser levels of pyramids."""
    blocks = [
        entry for entry in file.subblock_directory if not entry.pyramid_type and entry.stored_shape == entry.shape
    ]
    by_scene: dict[int, list[Any]] = {}
    for entry in blocks:
        place = dict(zip(entry.axes, entry.start, strict=True))
        by_scene.setdefault(place.get("S", 0), []).append(entry)
    document = ElementTree.Element("ImageDocument")
    with suppress(Exception):  # metadata are no reason to refuse the pixels
        document = ElementTree.fromstring(file.metadata())
    return [scene(by_scene[index], index, document) for index in sorted(by_scene)]


def scene(blocks: Sequence[Any], index: int, document: Any) -> Recorded:
    """An image made of its blocks."""
    letters = blocks[0].axes
    starts = np.array([entry.start for entry in blocks])
    sizes = np.array([entry.shape for entry in blocks])
    starts -= starts.min(0)
    extent = (starts + sizes).max(0)
    kept = [i for i, letter in enumerate(letters) if letter in "YX" or (letter != "S" and extent[i] > 1)]
    kinds = {np.dtype(entry.dtype).base for entry in blocks}
    dtype = np.result_type(*kinds)
    array = Pieces(
        tuple(map(int, extent[kept])), dtype, starts[:, kept], sizes[:, kept], lambda n: decoded(blocks[n])
    )  # fmt: skip
    names = ["S" if letters[i] == "0" else letters[i] for i in kept]
    text = partial(found, document)
    scale = {axis: 1e6 * number(text(f".//Scaling/Items/Distance[@Id='{axis}']/Value")) for axis in "XYZ"}
    scale["T"] = number(text(".//Dimensions/T/Positions/Interval/Increment"))
    channels = [one.get("Name", "") for one in document.findall(".//Dimensions/Channels/Channel")]
    bits = int(number(text(".//Image/ComponentBitCount")))
    label = document.find(f".//Dimensions/S/Scenes/Scene[@Index='{index}']")
    name = "" if label is None else label.get("Name", "")
    return Recorded(
        names, array.shape, dtype, array, scale, channels if all(channels) else [], name or f"series {index}", bits,
        Acquisition(date=(text(".//Image/AcquisitionDateAndTime") or "")[:19]),
    )  # fmt: skip


def found(document: Any, place: str) -> str:
    """The text of an element; empty if there is none."""
    return (document.findtext(place) or "").strip()


def number(text: str) -> float:
    """A number in the metadata; 0 if it is none."""
    with suppress(ValueError):
        return float(text)
    return 0.0


def decoded(entry: Any) -> Array:
    """The pixels of a block."""
    block = entry.data_segment()
    if entry.compression not in (LZW, ZSTD, ZSTD_WITH_HEADER):
        return np.asarray(block.data(resize=False))
    import imagecodecs

    data, halves = block.data(raw=True), False
    if entry.compression == ZSTD_WITH_HEADER:
        header = data[: data[0]]
        halves = len(header) > 2 and bool(header[2] & 1)
        data = data[data[0] :]
    decode = imagecodecs.lzw_decode if entry.compression == LZW else imagecodecs.zstd_decode
    pixels = np.frombuffer(decode(data), np.uint8)
    if halves:  # all low bytes, then all high bytes
        pixels = np.ascontiguousarray(pixels.reshape(2, -1).T)
    kind = np.dtype(entry.dtype)
    values: Array = pixels.ravel().view(kind.base).reshape(entry.stored_shape)
    return values[..., ::-1] if kind.shape == (3,) else values  # blue, green, red
