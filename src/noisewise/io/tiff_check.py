"""Check a TIFF before its pixels are read: its codecs, its completeness, the files of its set; errors of tifffile."""

from __future__ import annotations

import logging
import mmap
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import tifffile

from noisewise.errors import UserError, one_line
from noisewise.io.files import inside

DAMAGE = (
    "invalid page offset",
    "invalid offset to page",
    "corrupted tag list",
    "circular reference",
    "index out of range",
)
LONGEST_XML = 2**28  # characters of a file with the metadata of a set
PLANE_BYTES = 20  # in a file, at least: its metadata alone have more
# The highest ratios of these lossless codecs; a file that claims more is damaged.
MOST_COMPRESSED = {1: 1, 5: 1500, 8: 1100, 32946: 1100, 32773: 130}


class _Collector(logging.Filter):
    """Collects tifffile's messages about one file, from one thread, instead of logging them."""

    def __init__(self) -> None:
        super().__init__()
        self.thread, self.messages = threading.get_ident(), [""]

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() != self.thread:
            return True
        self.messages.append(record.getMessage())
        return False


@contextmanager
def readable(path: Path) -> Iterator[list[str]]:
    """Turn errors of tifffile and its codecs into a `UserError`; yields the messages that tifffile logs."""
    collector, logger = _Collector(), logging.getLogger("tifffile")
    logger.addFilter(collector)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield collector.messages
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: does not fit into memory, or is damaged; copy it again") from error
    except Exception as error:
        if "imagecodecs" in str(error):
            _missing_codec(path, str(error))
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(
            f"{path}: cannot be read as TIFF: it is truncated, damaged or of another format ({reason}); copy it again"
        ) from error
    finally:
        logger.removeFilter(collector)


def _missing_codec(path: Path, message: str) -> None:
    codec = one_line(message.split(" requires")[0], 60)
    raise UserError(f"{path}: its compression ({codec}) needs a package: pip install imagecodecs")


def check_chain(path: Path) -> None:
    """Refuse a file whose list of pages leads back to an earlier page: it would be read for ever."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        order, big = ">" if data[:2] == b"MM" else "<", data[2:4] in (b"+\0", b"\0+")
        count_at, entry, offset_at = ("Q", 20, "Q") if big else ("H", 12, "I")
        seen: set[int] = set()
        with suppress(struct.error):  # the end of the file
            (page,) = struct.unpack_from(order + offset_at, data, 8 if big else 4)
            while page:
                if page in seen:
                    raise UserError(f"{path}: is damaged: its list of pages has no end; copy or export it again")
                seen.add(page)
                (count,) = struct.unpack_from(order + count_at, data, page)
                at = page + struct.calcsize(count_at) + entry * count
                (page,) = struct.unpack_from(order + offset_at, data, at)


def metadata_of_set(path: Path, file: Any) -> str | None:
    """OME-XML of a file that only names another file of its set which has the metadata; None for other files.

    Errors: `UserError` if that file lies outside the folder.
    """
    text = str(file.pages.first.description)
    if "BinaryOnly" not in text or not file.is_ome:
        return None
    with suppress(ElementTree.ParseError, tifffile.TiffFileError, OSError, UnicodeDecodeError):
        own = ElementTree.fromstring(text)
        links = [link for link in own.iter() if str(link.tag).endswith("BinaryOnly")]
        named = links[0].get("MetadataFile", "") if links else ""
        other = inside(path.parent, named)
        if not named or not other.is_file() or other.stat().st_size == 0:
            return None
        if other.suffix.lower() in (".tif", ".tiff", ".btf", ".tf8"):
            check_chain(other)
            with tifffile.TiffFile(other) as master:
                xml = str(master.pages.first.description)
        else:
            with other.open(encoding="utf-8") as stream:
                xml = stream.read(LONGEST_XML)
        root = ElementTree.fromstring(xml)
        root.attrib.pop("UUID", None)  # that of the other file
        root.attrib |= {"UUID": own.attrib["UUID"]} if "UUID" in own.attrib else {}
        return ElementTree.tostring(root, encoding="unicode")
    return None


def check_set(path: Path, file: Any) -> list[Path]:
    """Refuse an OME-TIFF whose metadata name files outside its folder, or state far more planes than files can hold.

    Returns the other files of its set.
    """
    try:
        root = ElementTree.fromstring(file.ome_metadata or "<none/>")
    except ElementTree.ParseError:
        return []  # tifffile ignores such metadata
    sizes = {path.resolve(): path.stat().st_size}
    others: dict[Path, None] = {}
    for element in root.iter():
        name = element.get("FileName", "")
        own = element.text == root.get("UUID") if "UUID" in root.attrib else name.lower() == path.name.lower()
        if not name or own or not (other := inside(path.parent, name)).exists():
            continue
        if not other.is_file():
            raise UserError(f"{path}: its metadata name '{one_line(name)}', which is not a file; use the original data")
        sizes[other.resolve()] = other.stat().st_size
        others[other] = None
    for element in root.iter():
        planes = prod(int(element.get(f"Size{axis}", 1)) for axis in "TCZ")
        if PLANE_BYTES * planes > sum(sizes.values()):
            raise UserError(f"{path}: is damaged: it states {planes} planes, far more than it can hold; copy it again")
    return list(others)


def check_codec(path: Path, page: Any) -> None:
    """Refuse a compression that cannot be decoded here."""
    for table, code in ((tifffile.TIFF.DECOMPRESSORS, page.compression), (tifffile.TIFF.UNPREDICTORS, page.predictor)):
        if code == 1:
            continue
        try:
            table[code]
        except Exception as error:
            name = one_line(getattr(code, "name", str(code)), 60)
            if "imagecodecs" in str(error):
                _missing_codec(path, name)
            raise UserError(f"{path}: its compression ({name}) is unknown; export it uncompressed") from error


def offset_of(series: Any) -> int | None:
    """Position of the pixels of a series in its file, in bytes; None if they are not contiguous."""
    return None if series.is_multifile else series.dataoffset


def check_complete(path: Path, series: Any, messages: list[str]) -> None:
    """Refuse files in which strips or tiles are missing: tifffile itself would read them as zeros.

    Whole planes that the metadata state and that do not exist are None in the pages (see `tiff_series`).
    """
    damage = [message for message in messages if any(mark in message.lower() for mark in DAMAGE)]
    damage = [message for message in damage if not is_open_end(message, series.keyframe.parent)]
    if any("OME series" not in message for message in damage):
        raise UserError(f"{path}: is truncated or damaged: some of its planes are missing; copy it again")
    expected = prod(series.shape) * series.dtype.itemsize
    if (offset := offset_of(series)) is not None:
        complete, pages = offset + expected <= series.keyframe.parent.filehandle.size, []
    else:
        every = list(series.pages)
        pages = [page for page in every if page is not None]
        expected = expected * len(pages) // len(every)
        complete = all(_lies_inside(page) for page in pages)
    if not complete:
        raise UserError(f"{path}: is truncated: some of its pixels are missing; copy it again")
    stored, page = sum(sum(page.databytecounts) for page in pages), series.keyframe
    most = MOST_COMPRESSED.get(int(page.compression), 10**9) * _packing(page)
    if pages and expected > most * max(stored, 1):
        raise UserError(f"{path}: is damaged: it contains fewer pixels than its header states; copy it again")


def is_open_end(message: str, file: Any) -> bool:
    """Whether a message of tifffile says that the next page would begin where the file ends.

    So a file ends whose recording was killed: a page is announced before it is written.
    """
    return message.endswith(f"invalid page offset {file.filehandle.size}")


def _lies_inside(page: Any) -> bool:
    size, counts = page.parent.filehandle.size, page.databytecounts
    # Sparse files leave out tiles on purpose, but never strips.
    if not page.keyframe.is_tiled and 0 in counts:
        return False
    return all(offset + count <= size for offset, count in zip(page.dataoffsets, counts, strict=True))


def _packing(page: Any) -> float:
    """Bytes in memory for each byte in the file: pixels of 12 bits become 16."""
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 1
    return max(1.0, 8 * int(page.dtype.itemsize) / max(bits, 1))
