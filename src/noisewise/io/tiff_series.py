"""The images in a TIFF: which of them are data, and what there is of those whose metadata state other planes."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from noisewise.axes import Region
from noisewise.errors import UserError, counted
from noisewise.io import several
from noisewise.io.several import check_number, left_out

COLOURS = (2, 3, 5, 6, 8)  # photometric: RGB, palette, CMYK, YCbCr, CIE L*a*b*
STOPPED = "the recording was stopped early, or files are missing"


@dataclass
class Recorded:
    """A series of tifffile with the planes that exist.

    number: of the series in the file. levels: shapes of the pages of its pyramid, without the full resolution. cut:
    whether the metadata state other planes: `end` if planes lack only at the end, `order` if others do. blank: for each
    channel, the region of a plane that does not exist, which is read as zeros.
    """

    number: int
    series: Any
    levels: list[tuple[int, ...]]
    cut: str = ""
    notes: list[str] = field(default_factory=list)
    blank: list[Region] = field(default_factory=list)
    image_index: int = 0  # of its element in OME-XML


def chosen(path: Path, every: list[Any], number: int | None) -> tuple[list[int], list[str]]:
    """Numbers of the series that are data, and a note on those that are left out.

    Left out are reduced images (thumbnails), colour pictures beside greyscale images, and images with another pixel
    type or another number of channels than the largest. number: of the one to read instead.

    Errors: `UserError` if there is no series of this number.
    """
    if number is not None:
        check_number(path, number, len(every))
        return [number], []
    full = [i for i, one in enumerate(every) if not one.keyframe.is_reduced] or list(range(len(every)))
    grey = [i for i in full if int(every[i].keyframe.photometric) not in COLOURS] or full
    largest = every[max(grey, key=lambda i: int(every[i].size))]
    data = [i for i in grey if likeness(every[i]) == likeness(largest)]
    return data, left_out(path, {i: described(every[i]) for i in range(len(every)) if i not in data})


def likeness(series: Any) -> tuple[Any, ...]:
    """What images share that one model denoises."""
    return several.likeness(series.axes, series.shape, series.dtype)


def described(series: Any) -> str:
    """Size and kind of a series, as in `256 x 256 uint16, reduced`."""
    kind = ", reduced" if series.keyframe.is_reduced else ""
    return several.described(series.shape, series.dtype) + kind


def recorded(file: Any, number: int, messages: list[str]) -> Recorded:
    """The planes of a series that exist, where the metadata state more or fewer."""
    series = file.series[number]
    levels = [tuple(map(int, level.keyframe.shape)) for level in series.levels[1:]]
    if any(len(level) != len(series) for level in series.levels[1:]):
        levels = []
    found = Recorded(number, series, levels)
    alone = sum(not one.keyframe.is_reduced for one in file.series) == 1
    if alone and (promise := stated(file, series)) is not None:
        return refitted(file, found, *promise)
    if alone and series.kind == "ome" and len(series._pages) == len(series):
        found = extended(file, found)
    pages = list(series._pages)
    if None in pages and not found.cut:
        found = without_missing(found, pages, any("failed to read" in message for message in messages))
    return found


def stated(file: Any, series: Any) -> tuple[str, list[int]] | None:
    """Axes and sizes of the planes that ImageJ's or tifffile's metadata state, outermost first; None without such."""
    page = file.pages.first
    if series.kind == "ome" or page.samplesperpixel != 1 or len(file.pages) == 1:
        return None
    with suppress(Exception):  # unusual metadata state nothing
        if file.is_imagej:
            meta = file.imagej_metadata
            sizes = {"T": meta.get("frames", 1), "Z": meta.get("slices", 1), "C": meta.get("channels", 1)}
            order = str(meta.get("order", "czt")).upper()
            axes = order[::-1] if sorted(order) == ["C", "T", "Z"] else "TZC"
            if prod(sizes.values()) == 1:
                axes, sizes = "I", {"I": meta.get("images", 1)}
            return checked(axes, [sizes[axis] for axis in axes])
        if page.is_shaped:
            record = json.loads(page.description)
            lead = len(record["shape"]) - len(page.shape)
            if lead > 0 and tuple(record["shape"][lead:]) == page.shape:
                return checked(str(record.get("axes", "QRTPA"[-lead:]))[:lead], record["shape"][:lead])
    return None


def checked(axes: str, sizes: list[Any]) -> tuple[str, list[int]]:
    """The same axes and sizes. Errors: `ValueError` if these are not sizes."""
    if len(axes) != len(sizes) or not all(type(size) is int and size >= 1 for size in sizes):
        raise ValueError("sizes")
    return axes, sizes


def fitted(sizes: list[int], count: int) -> list[int]:
    """Sizes for `count` planes, where others were stated: the outermost axis that is needed becomes as long as needed.

    sizes: outermost first. Their product is then less than twice the count, whatever was stated.
    """
    out = list(sizes)
    first = next((i for i, size in enumerate(sizes) if size > 1), len(sizes) - 1)
    for i in range(first, len(out)):
        inner = prod(out[i + 1 :])
        if i == len(out) - 1 or count > inner:
            out[i] = -(-count // inner)
            break
        out[i] = 1
    return out


def refitted(file: Any, found: Recorded, axes: str, sizes: list[int]) -> Recorded:
    """A series of all pages of a file, if these are more or fewer than ImageJ's or tifffile's metadata state."""
    series, first = found.series, file.pages.first
    promised, count = prod(sizes), len(file.pages)
    if promised == count or (promised > count and lies_before(series, int(file.pages[1].offset))):
        return found
    pages = [page for page in all_pages(file) if page.hash == first.hash]
    if len(pages) in (1, promised):
        return found
    shape = fitted(sizes, len(pages))
    pages += [None] * (prod(shape) - len(pages))
    kind = "imagej" if file.is_imagej else "shaped"
    return rebuilt(found, pages, axes, shape, kind, promised, "end")


def lies_before(series: Any, position: int) -> bool:
    """Whether all planes of a series are contiguous after its first page, and so need no pages of their own."""
    offset = series.dataoffset if len(series._pages) == 1 else None
    return offset is not None and offset + series.nbytes <= position


def extended(file: Any, found: Recorded) -> Recorded:
    """Add the pages of an OME-TIFF that its metadata do not state."""
    series = found.series
    if None in series._pages or {page.parent for page in series._pages} != {file} or "S" in series.axes:
        return found
    used = [page.index for page in series._pages]
    every, page = all_pages(file), series.keyframe
    if len(used) == len(every) or any(one.hash != page.hash for one in every):
        return found
    pages = [every[i] for i in used] + [one for i, one in enumerate(every) if i not in set(used)]
    axes, sizes = lead_of(series)
    shape = fitted(sizes, len(pages))
    pages += [None] * (prod(shape) - len(pages))
    return rebuilt(found, pages, axes, shape, series.kind, len(used), "end")


def all_pages(file: Any) -> list[Any]:
    """The pages of a file, each with its own tags: tifffile takes those of the first one for all."""
    file.pages.useframes = False
    file.pages._clear(fully=False)
    return list(file.pages)


def lead_of(series: Any) -> tuple[str, list[int]]:
    """Axes and sizes of the planes of a series, without those of a plane; singletons too."""
    axes, shape = series.get_axes(False), series.get_shape(False)
    count, lead = len(series._pages), 0
    while lead < len(shape) and prod(shape[:lead]) < count:
        lead += 1
    return axes[:lead], [int(size) for size in shape[:lead]]


def without_missing(found: Recorded, pages: list[Any], files: bool) -> Recorded:
    """Leave out the positions along each axis for which no plane exists."""
    axes, sizes = lead_of(found.series)
    present = np.array([page is not None for page in pages]).reshape(sizes)
    kept = [np.flatnonzero(present.any(tuple(a for a in range(len(sizes)) if a != axis))) for axis in range(len(sizes))]
    at_end = all(len(one) == one[-1] + 1 for one in kept)
    chosen_pages = [pages[i] for i in np.arange(len(pages)).reshape(sizes)[np.ix_(*kept)].ravel()]
    count = len(pages)
    what = "order" if not at_end else "end"
    out = rebuilt(found, chosen_pages, axes, list(map(len, kept)), found.series.kind, count, what)
    if files:
        out.notes[-1] = out.notes[-1].replace(STOPPED, "files of its OME-TIFF set are missing in the folder")
    return out


def rebuilt(
    found: Recorded, pages: list[Any], axes: str, shape: list[int], kind: str, promised: int, cut: str
) -> Recorded:
    """A series of these pages, where the metadata state another number. Errors: `UserError` if most do not exist."""
    old, page = found.series, found.series.keyframe
    count = sum(one is not None for one in pages)
    if 2 * count < len(pages):
        raise UserError(
            f"{old.parent.filehandle.path}: contains {count} of the {promised} planes that its metadata state, too few "
            f"to be a stack; copy it again, with all files of its set"
        )
    series = tifffile.TiffPageSeries(
        pages, (*shape, *page.shape), old.dtype, axes + page.axes, name=old.name, kind=kind, parent=old.parent,
        multifile=old.is_multifile,
    )  # fmt: skip
    why = f"{STOPPED}; what exists is denoised" if promised > count else "all of them are denoised"
    note = f"the file holds {counted(count, 'plane')}, its metadata state {promised}: {why}"
    return Recorded(found.number, series, found.levels, cut, [note], blank_regions(series, pages))


def blank_regions(series: Any, pages: list[Any]) -> list[Region]:
    """For each channel, the region of the first plane that does not exist, with all channels of that position."""
    lead = series.shape[: len(series.shape) - len(series.keyframe.shape)]
    if None not in pages or prod(lead) != len(pages):
        return []
    channel = series.axes.find("C")
    regions: dict[int, Region] = {}
    for position in zip(*np.unravel_index([i for i, one in enumerate(pages) if one is None], lead), strict=True):
        key = int(position[channel]) if 0 <= channel < len(lead) else 0
        parts = [slice(int(at), int(at) + 1) for at in position]
        if 0 <= channel < len(lead):
            parts[channel] = slice(0, lead[channel])
        regions.setdefault(key, (*parts, *(slice(0, size) for size in series.keyframe.shape)))
    return list(regions.values())
