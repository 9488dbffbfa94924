"""Read TIFF, OME-TIFF, ImageJ hyperstacks and BigTIFF by region, with all metadata that the output keeps."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from noisewise.axes import Array, Region, guess_notes
from noisewise.errors import UserError, one_line
from noisewise.io import imagej, ome
from noisewise.io.base import JPEG_NOTE, Source, check_pixels, given_axes, owned, unique_axes
from noisewise.io.decoded import Decoded
from noisewise.io.mapped import FileArray
from noisewise.io.tiff_check import check_chain, check_codec, check_complete, check_set, readable
from noisewise.io.units import micrometres

READ_WHOLE = 64 * 2**20  # bytes: smaller images are decoded once as a whole, which is faster than strip by strip
KINDS = {"ome": "ome", "imagej": "imagej", "shaped": "plain", "uniform": "plain", "generic": "plain"}
# Descriptive tags whose text also applies to the denoised image.
TEXT_TAGS = (269, 271, 272, 285, 306, 315, 316, 33432, 51123)
LOSSY = (6, 7, 34892, 33007)  # codes of JPEG compression
PRINT_UM = 50.0  # 508 dpi: coarser "pixel sizes" are print resolutions from image editors


@dataclass
class TiffMeta:
    """Metadata of a TIFF that its output keeps; axes and shapes as in tifffile."""

    kind: str  # ome, imagej, plain, or other (vendors' variants)
    shape: tuple[int, ...]
    page_shape: tuple[int, ...]
    stored_axes: str
    description: str = ""
    image_index: int = 0
    imagej_tags: dict[str, Any] = field(default_factory=dict)
    layout: dict[str, Any] = field(default_factory=dict)  # photometric, planarconfig, ... as imwrite takes them
    texts: list[tuple[int, str]] = field(default_factory=list)
    bigtiff: bool = False


@dataclass
class TiffSource(Source):
    """The first series of a TIFF file, or of the set of files that an OME-TIFF belongs to."""

    meta: TiffMeta | None = field(default=None, repr=False)
    file: Any = field(default=None, repr=False)
    array: Any = field(default=None, repr=False)

    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region (default: all). Errors: `UserError` if the file is damaged."""
        with readable(self.path or Path(self.name)):
            if self.array is None:
                self.array = _map(self.file, self.file.series[0])
            return owned(self.array[region or self.everything], self.dtype)

    def close(self) -> None:
        """Close the file."""
        self.array = None
        self.file.close()


def open_tiff(path: Path, axes: str | None = None) -> TiffSource:
    """Open a TIFF file of any variant.

    Errors: `UserError` for damaged or truncated files, missing codecs, and what is not an image.
    """
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes); copy or export it again")
    file = None
    try:
        with readable(path) as messages:
            check_chain(path)
            file = tifffile.TiffFile(path)
            check_set(path, file)
            return _open(path, file, axes, messages)
    except BaseException:
        if file is not None:
            with suppress(Exception):
                file.close()
        raise


def _open(path: Path, file: Any, axes: str | None, messages: list[str]) -> TiffSource:
    series = file.series[0]
    if series.dtype is None:
        raise UserError(f"{path}: has pixels of an unknown type; export it as plain or OME-TIFF")
    shape, dtype = tuple(map(int, series.shape)), np.dtype(series.dtype).newbyteorder("=")
    if series.keyframe.bitspersample == 1:
        dtype = np.dtype(bool)
    check_pixels(str(path), shape, dtype, series.axes)
    check_codec(path, series.keyframe)
    check_complete(path, file, series, messages)
    meta = _meta(file, series)
    letters = given_axes(str(path), axes, len(shape)) if axes is not None else _letters(series.axes)
    scale, channels = _scale(file, meta), _channels(meta, letters, shape)
    source = TiffSource(path.name, letters, shape, dtype, scale, channels, path, meta=meta, file=file)
    source.notes = _notes(file, messages)
    if axes is None and meta.kind == "plain" and any(letter not in "TCZYXS" for letter in meta.stored_axes):
        source.notes += guess_notes(shape, letters)
    _check_palette(path, source)
    if series.dataoffset is not None:
        source.array = _map(file, series)
        file.close()
    else:
        weakref.finalize(source, file.close)
    return source


def _letters(stored: str) -> str:
    """Samples of a pixel become channels, unless there are channels already; unknown axes are batch axes."""
    names = stored.upper()
    if "C" not in names and names.count("S") == 1:
        names = names.replace("S", "C")
    names = "".join(a if a in "TCZYX" else "?" for a in names)
    if not {"Y", "X"} <= set(names):
        names = names[:-2].replace("Y", "?").replace("X", "?") + "YX"
    return unique_axes(names)


def _notes(file: Any, messages: list[str]) -> list[str]:
    notes = []
    if len(file.series) > 1:
        notes.append(f"the file contains {len(file.series)} image series; only the first is used")
    if len(file.series[0].levels) > 1:
        notes.append("the file contains a resolution pyramid; only the full resolution is used")
    if int(file.series[0].keyframe.compression) in LOSSY:
        notes.append(JPEG_NOTE)
    if any("OME series" in message for message in messages):
        notes.append("the OME metadata does not match the file: " + one_line(messages[-1]))
    return notes


def _map(file: Any, series: Any) -> Any:
    """An array to slice: memory-mapped if the pixels are contiguous, decoded as a whole if small, else lazy."""
    if series.dataoffset is not None:
        dtype = np.dtype(file.byteorder + series.dtype.char)
        return FileArray(Path(file.filehandle.path), dtype, series.dataoffset, tuple(map(int, series.shape)))
    if series.size * series.dtype.itemsize <= READ_WHOLE:
        return Decoded(Path(file.filehandle.path), lambda: series.asarray(maxworkers=1).reshape(series.shape))
    import zarr

    return zarr.open(series.aszarr(level=0), mode="r")


def _meta(file: Any, series: Any) -> TiffMeta:
    page = series.keyframe
    meta = TiffMeta(
        kind=KINDS.get(series.kind, "other"),
        shape=tuple(map(int, series.shape)),
        page_shape=tuple(map(int, page.shape)),
        stored_axes=series.axes,
        description=_text(file.pages.first.description),
        bigtiff=file.is_bigtiff,
        layout=_layout(page, file.pages.first),
    )
    if meta.kind == "ome":
        meta.description = file.ome_metadata or ""
        meta.image_index = ome.find_image(meta.description, series)
    if meta.kind == "imagej" and "IJMetadata" in page.tags:
        meta.imagej_tags = dict(page.tags["IJMetadata"].value)
    for code in TEXT_TAGS:
        tag = file.pages.first.tags.get(code)
        if tag is not None and isinstance(tag.value, str) and tag.value:
            meta.texts.append((code, tag.value))
    return meta


def _text(description: Any) -> str:
    return str(description).split("\0", 1)[0]


def _layout(page: Any, first: Any) -> dict[str, Any]:
    photometric = int(page.photometric)
    if photometric == 6:  # JPEG's YCbCr is decoded to RGB
        photometric = 2
    samples = int(page.samplesperpixel)
    layout: dict[str, Any] = {"photometric": photometric if photometric in (0, 1, 2, 3) else 1}
    if samples > 1:
        layout["planarconfig"] = int(page.planarconfig)
        extras = tuple(int(e) for e in page.extrasamples or ())
        if extras and len(extras) == samples - (3 if photometric == 2 else 1):
            layout["extrasamples"] = extras
    if photometric == 3:
        layout["colormap"] = page.colormap
    tags = first.tags
    if "XResolution" in tags and "YResolution" in tags:
        layout["resolution"] = (tags["XResolution"].value, tags["YResolution"].value)
        unit = tags["ResolutionUnit"].value if "ResolutionUnit" in tags else 2
        layout["resolutionunit"] = int(unit) if unit in (1, 2, 3) else 1
        if not all(len(r) == 2 and r[0] > 0 and r[1] > 0 for r in layout["resolution"]):
            del layout["resolution"], layout["resolutionunit"]
    if "InterColorProfile" in tags:
        layout["iccprofile"] = bytes(tags["InterColorProfile"].value)
    return layout


def _scale(file: Any, meta: TiffMeta) -> Mapping[str, float]:
    """Pixel size in µm and frame interval in s, as far as the file states them."""
    with suppress(Exception):  # invalid metadata is no reason to refuse the pixels
        if meta.kind == "ome":
            return ome.scale(meta.description, meta.image_index)
        resolution = [r[0] / r[1] for r in meta.layout["resolution"]] if "resolution" in meta.layout else []
        if meta.kind == "imagej":
            return imagej.scale(dict(file.imagej_metadata or {}), resolution)
        unit = {2: "inch", 3: "cm"}.get(meta.layout.get("resolutionunit", 1), "")
        sizes = [micrometres(1 / r, unit) for r in resolution]
        if len(sizes) == 2 and sizes[0] and sizes[1] and max(sizes[0], sizes[1]) < PRINT_UM:
            return {"X": sizes[0], "Y": sizes[1]}
    return {}


def _channels(meta: TiffMeta, letters: str, shape: tuple[int, ...]) -> list[str]:
    count = shape[letters.index("C")] if "C" in letters else 1
    names: list[str] = []
    with suppress(Exception):
        if meta.kind == "ome":
            names = ome.channel_names(meta.description, meta.image_index)
        elif meta.kind == "imagej" and count > 1:
            names = [str(label) for label in meta.imagej_tags.get("Labels", [])][:count]
    return names if len(names) == count and all(names) else []


def _check_palette(path: Path, source: TiffSource) -> None:
    """Refuse pictures with a colour palette: indices into a look-up table are intensities only if it is a ramp."""
    if source.meta is None or source.meta.layout["photometric"] != 3:
        return
    if source.meta.kind in ("ome", "imagej") or is_ramp(source.meta.layout["colormap"]):
        return
    raise UserError(f"{path}: is a picture with a colour palette; save it as greyscale or RGB")


def is_ramp(colormap: Array | None) -> bool:
    """Whether the brightness of a (3, n) look-up table is monotonic, so that its indices are intensities."""
    if colormap is None:
        return False
    brightness = np.asarray(colormap, np.float64).sum(axis=0)
    steps = np.diff(brightness)
    return bool((steps >= 0).all() or (steps <= 0).all())
