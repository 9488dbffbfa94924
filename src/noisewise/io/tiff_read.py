"""Read TIFF, OME-TIFF, ImageJ hyperstacks and BigTIFF by region, with all metadata that the output keeps."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from noisewise.axes import Array, Region, guess_notes
from noisewise.errors import UserError, counted, one_line
from noisewise.io import imagej, ome
from noisewise.io.base import JPEG_NOTE, Source, check_pixels, given_axes, letters_of, owned
from noisewise.io.decoded import Decoded
from noisewise.io.mapped import FileArray
from noisewise.io.several import release, share
from noisewise.io.tiff_check import (
    check_chain,
    check_codec,
    check_complete,
    check_set,
    is_open_end,
    metadata_of_set,
    offset_of,
    readable,
)
from noisewise.io.tiff_series import Recorded, chosen, recorded
from noisewise.io.units import micrometres

READ_WHOLE = 64 * 2**20  # bytes: smaller images are decoded once as a whole, which is faster than strip by strip
KINDS = {"ome": "ome", "imagej": "imagej", "shaped": "plain", "uniform": "plain", "generic": "plain"}
# Descriptive tags whose text also applies to the denoised image.
TEXT_TAGS = (269, 271, 272, 285, 306, 315, 316, 33432, 51123)
LOSSY = (6, 7, 34892, 33007)  # codes of JPEG compression
OPEN_END = (
    "the file announces a further plane where it ends: the recording was not closed, or the copy is not complete; the "
    "{} before it are denoised"
)
PRINT_UM = 50.0  # 508 dpi: coarser "pixel sizes" are print resolutions from image editors


@dataclass
class TiffMeta:
    """Metadata of a TIFF that its output keeps; axes and shapes as in tifffile."""

    kind: str  # ome, imagej, plain, or other (vendors' variants)
    number: int  # of the series in the file
    shape: tuple[int, ...]
    page_shape: tuple[int, ...]
    stored_axes: str
    description: str = ""
    image_index: int = 0
    imagej_tags: dict[str, Any] = field(default_factory=dict)
    layout: dict[str, Any] = field(default_factory=dict)  # photometric, planarconfig, ... as imwrite takes them
    texts: list[tuple[int, str]] = field(default_factory=list)
    bigtiff: bool = False
    levels: list[tuple[int, ...]] = field(default_factory=list)  # page shapes of the pyramid below full resolution
    subifds: bool = False  # whether these are within the page of the full resolution, not pages of their own
    changed: str = ""  # what the file says otherwise: its axes (`axes`), or its planes (`end`, `order`; see Recorded)


@dataclass
class TiffSource(Source):
    """A series of a TIFF file, or of the set of files that an OME-TIFF belongs to.

    users: the sources that share the open file; the last one closes it.
    """

    meta: TiffMeta | None = field(default=None, repr=False)
    file: Any = field(default=None, repr=False)
    stored: Any = field(default=None, repr=False)  # tifffile's series
    array: Any = field(default=None, repr=False)
    users: list[int] = field(default_factory=list, repr=False)

    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region (default: all). Errors: `UserError` if the file is damaged."""
        with readable(self.path or Path(self.name)):
            if self.array is None:
                self.array = _map(self.stored)
            return owned(self.array[region or self.everything], self.dtype)

    def close(self) -> None:
        """Close the file, if no other source uses it."""
        self.array = None
        release(self.users, id(self), self.file)


def open_tiff(path: Path, axes: str | None = None, series: int | None = None) -> list[TiffSource]:
    """Open the images of a TIFF file of any variant; previews are left out (see `tiff_series.chosen`).

    series: number of the only one to open.

    Errors: `UserError` for damaged or truncated files, missing codecs, and what is not an image.
    """
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes); copy or export it again")
    file = None
    try:
        with readable(path) as messages:
            check_chain(path)
            file = tifffile.TiffFile(path)
            if (xml := metadata_of_set(path, file)) is not None:
                file.close()
                file = tifffile.TiffFile(path, omexml=xml)
            others = check_set(path, file)
            numbers, notes = chosen(path, file.series, series)
            every = [recorded(file, number, messages) for number in numbers]
            _place(file, every)
            sources = [_open(path, file, one, axes, messages) for one in every]
            _share(file, sources, others)
            sources[0].notes += notes
            return sources
    except BaseException:
        if file is not None:
            with suppress(Exception):
                file.close()
        raise


def _place(file: Any, every: list[Recorded]) -> None:
    """Find the elements of images in OME-XML."""
    if any(one.kind == "ome" for one in file.series):
        places = ome.find_images(file.ome_metadata or "", file.series)
        for one in every:
            one.image_index = places[one.number]


def _share(file: Any, sources: list[TiffSource], others: list[Path]) -> None:
    """Let the last source close the file; at once, if all pixels are read by other means."""
    share(file, sources, [source for source in sources if source.array is None])
    for source in sources:
        source.files = others
        if len(file.series) > 1 and source.meta is not None:
            source.series, source.in_file = source.meta.number, len(file.series)
            source.name += f", series {source.series}" if len(sources) > 1 else ""


def _open(path: Path, file: Any, found: Recorded, axes: str | None, messages: list[str]) -> TiffSource:
    series = found.series
    if series.dtype is None:
        raise UserError(f"{path}: has pixels of an unknown type; export it as plain or OME-TIFF")
    shape, dtype = tuple(map(int, series.shape)), np.dtype(series.dtype).newbyteorder("=")
    if series.keyframe.bitspersample == 1:
        dtype = np.dtype(bool)
    check_pixels(str(path), shape, dtype, series.axes)
    check_codec(path, series.keyframe)
    check_complete(path, series, messages)
    meta = _meta(file, found)
    stated = letters_of(series.axes)
    letters = given_axes(str(path), axes, len(shape)) if axes is not None else stated
    if letters != stated and set(letters) <= set("TCZYX"):  # "separate images" have no name in these formats
        meta.changed = "axes"
    scale = {a: size for a, size in _scale(file, meta).items() if letters == stated or a in letters}
    channels = _channels(meta, letters, shape) if letters.find("C") == stated.find("C") else []
    source = TiffSource(path.name, letters, shape, dtype, scale, channels, path, meta=meta, file=file, stored=series)
    source.notes, source.blank = found.notes + _notes(series, messages), found.blank
    if not found.notes and any(is_open_end(message, file) for message in messages):
        source.notes.insert(0, OPEN_END.format(counted(len(series), "plane")))
    if axes is None and any(letter not in "TCZYXS" for letter in meta.stored_axes):
        source.notes += guess_notes(shape, letters, path.name)
    _check_palette(path, source)
    if offset_of(series) is not None:
        source.array = _map(series)
    return source


def _notes(series: Any, messages: list[str]) -> list[str]:
    notes = []
    if int(series.keyframe.compression) in LOSSY:
        notes.append(JPEG_NOTE)
    if any("OME series" in message for message in messages) and series.kind != "ome":
        notes.append("the OME metadata does not match the file: " + one_line(messages[-1]))
    return notes


def _map(series: Any) -> Any:
    """An array to slice: read from the file if the pixels are contiguous, decoded as a whole if small, else lazy."""
    file = series.keyframe.parent
    if (offset := offset_of(series)) is not None:
        dtype = np.dtype(file.byteorder + series.dtype.char)
        return FileArray(Path(file.filehandle.path), dtype, offset, tuple(map(int, series.shape)))
    if series.size * series.dtype.itemsize <= READ_WHOLE:
        return Decoded(Path(file.filehandle.path), lambda: series.asarray(maxworkers=1).reshape(series.shape))
    import zarr

    return zarr.open(series.aszarr(level=0), mode="r")


def _meta(file: Any, found: Recorded) -> TiffMeta:
    series = found.series
    page = series.keyframe
    first = page if series.kind in ("generic", "shaped") else file.pages.first
    meta = TiffMeta(
        kind=KINDS.get(series.kind, "other"),
        number=found.number,
        shape=tuple(map(int, series.shape)),
        page_shape=tuple(map(int, page.shape)),
        stored_axes=series.axes,
        description=_text(first.description),
        bigtiff=file.is_bigtiff,
        layout=_layout(page, first),
        levels=[level for level in found.levels if len(level) == len(page.shape)],
        subifds=bool(page.subifds),
        changed=found.cut,
    )
    if meta.kind == "ome":
        meta.description = file.ome_metadata or ""
        meta.image_index = found.image_index
    if meta.kind == "imagej" and "IJMetadata" in page.tags:
        meta.imagej_tags = dict(page.tags["IJMetadata"].value)
    for code in TEXT_TAGS:
        tag = first.tags.get(code)
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
    if photometric == 3 and page.colormap is not None:
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
    if source.meta.kind in ("ome", "imagej") or is_ramp(source.meta.layout.get("colormap")):
        return
    raise UserError(f"{path}: is a picture with a colour palette; save it as greyscale or RGB")


def is_ramp(colormap: Array | None) -> bool:
    """Whether the brightness of a (3, n) look-up table is monotonic, so that its indices are intensities."""
    if colormap is None:
        return False
    brightness = np.asarray(colormap, np.float64).sum(axis=0)
    steps = np.diff(brightness)
    return bool((steps >= 0).all() or (steps <= 0).all())
