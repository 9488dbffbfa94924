"""What of an image is denoised, by the user's word: channels, frames, planes, and which pixels are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array, Region
from noisewise.errors import UserError, counted
from noisewise.io import open_source
from noisewise.io.base import NotLight, Source
from noisewise.io.files import as_user_error, user_path


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What of an image is denoised; the output has no other frames and planes, and all channels and pixels.

    channels: numbers, from 0, or names, as in "0,2"; the others stay as they are. frames, planes: a number, from 0, or
    a range such as "10:20" or ":5". ignore: pixels of exactly this value are left out. mask: an image or file that is
    zero where pixels are left out, in the shape of the image, or in that of its plane (Y, X).
    """

    channels: str | int | Sequence[int | str] | None = None
    frames: str | int | None = None
    planes: str | int | None = None
    ignore: float | None = None
    mask: Any = None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Selection:
        """Take the fields out of keyword arguments."""
        return cls(**{name: options.pop(name) for name in cls.__dataclass_fields__ if name in options})

    def part_of(self, source: Source) -> Source:
        """The chosen frames and planes of an image. Errors: `UserError` where there are none."""
        chosen = {"T": ("frames", self.frames), "Z": ("planes", self.planes)}
        region = list(source.everything)
        for axis, (name, wanted) in chosen.items():
            if wanted is not None:
                part = parsed_range(str(wanted), source.size_of(axis), name, source.name)
                if axis in source.axes:
                    region[source.axes.index(axis)] = part
        return source if tuple(region) == source.everything else Part.of(source, tuple(region))

    def not_light(self, source: Source) -> NotLight:
        """What is left out of an image. Errors: `UserError` for a mask or channels that do not fit."""
        mask = None if self.mask is None else open_mask(self.mask, source)
        for what, given in ((f"that are {self.ignore}", self.ignore), ("where the mask is zero", mask)):
            if given is not None:
                source.notes.append(f"pixels {what} are left out, and stay as they are")
        left_out = self.other_channels(source)
        if left_out:
            numbers = ", ".join(map(str, sorted(left_out)))
            source.notes.append(f"{counted(len(left_out), 'channel')} ({numbers}) not chosen: left as recorded")
        return NotLight(ignore=self.ignore, mask=mask, left_out=left_out)

    def other_channels(self, source: Source) -> frozenset[int]:
        """Numbers of the channels that are not chosen. Errors: `UserError` for channels that do not exist."""
        if self.channels is None:
            return frozenset()
        count, names = source.size_of("C"), source.channel_names
        given = [self.channels] if isinstance(self.channels, int) else self.channels
        wanted = given.split(",") if isinstance(given, str) else list(given)
        chosen = set()
        for one in (str(each).strip() for each in wanted):
            number = int(one) if one.isdecimal() else names.index(one) if one in names else count
            if number >= count:
                known = f" ({', '.join(names)})" if names else ""
                raise UserError(
                    f"{source.name}: has no channel '{one}'; it has {counted(count, 'channel')}{known}, numbered from 0"
                )
            chosen.add(number)
        return frozenset(range(count)) - chosen


def parsed_range(text: str, size: int, name: str, label: str) -> slice:
    """A number, or a range as in Python, of `size` positions. Errors: `UserError` if it names none."""
    try:
        ends = [int(end) if end.strip() else None for end in text.split(":")]
    except ValueError:
        ends = []
    if len(ends) == 1 and ends[0] is not None:
        ends = [ends[0], ends[0] + 1 or None]
    found = slice(*slice(*ends).indices(size)[:2]) if len(ends) == 2 else slice(0, 0)
    if found.stop <= found.start:
        raise UserError(
            f"{label}: {name} '{text}' is none of its {size}; give a number from 0, or a range such as 0:10"
        )
    return found


@dataclass
class Part(Source):
    """A region of another image, as an image of its own."""

    whole: Source | None = field(default=None, repr=False)
    region: Region = ()

    @classmethod
    def of(cls, source: Source, region: Region) -> Part:
        """A region of a source. It keeps what is known of the recording, except single planes that are missing."""
        times = source.acquisition.times_s
        along = region[source.axes.index("T")] if "T" in source.axes else slice(None)
        kept = times[along] if len(times) == source.size_of("T") else ()
        return cls(
            source.name, source.axes, tuple(part.stop - part.start for part in region), source.dtype, source.scale,
            source.channel_names, source.path, source.notes, source.series, source.in_file, source.root, source.files,
            opened=source.opened, acquisition=replace(source.acquisition, times_s=kept), whole=source, region=region,
        )  # fmt: skip

    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region of the part (default: all)."""
        assert self.whole is not None
        wanted = zip(region or self.everything, self.region, strict=True)
        return self.whole.read(tuple(slice(part.start + own.start, part.stop + own.start) for part, own in wanted))

    @property
    def saturation_level(self) -> Any:
        """The pixel value at which the camera saturates."""
        assert self.whole is not None
        return self.whole.saturation_level

    def release(self) -> None:
        """Release decoded pixels."""
        assert self.whole is not None
        self.whole.release()

    def close(self) -> None:
        """Close the files."""
        assert self.whole is not None
        self.whole.close()


def open_mask(mask: Any, source: Source) -> Source:
    """Open a mask with the axes of an image. Errors: `UserError` if it cannot be used, or has another size."""
    pixels, name = mask, "the mask"
    if isinstance(mask, str | Path):
        path = user_path(mask)
        name = str(path)
        pixels = path if path.suffix.lower() != ".npy" else load_array(path)
    if not isinstance(pixels, str | Path | Source):
        pixels = np.asarray(pixels)
        pixels = pixels.astype(np.uint8) if pixels.dtype.kind == "b" else pixels
    plain = open_source(pixels, name=name)
    axes = source.axes if len(plain.shape) == len(source.axes) else "YX"
    expected = tuple(source.size_of(axis) for axis in axes)
    if plain.shape != expected:
        raise UserError(
            f"{name}: has the shape {plain.shape}, {source.name} has {source.shape} (axes {source.axes}); give a mask "
            f"in the shape of the image, or of its plane (Y, X)"
        )
    plain.axes = axes
    return plain


def load_array(path: Path) -> Array:
    """Read an array, which may be Boolean. Errors: `UserError` for files that hold none."""
    try:
        with as_user_error(path, "cannot be read"):
            pixels: Array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: is not an array; give a mask as TIFF, PNG or NPY") from error
    return pixels


EVERYTHING = Selection()
