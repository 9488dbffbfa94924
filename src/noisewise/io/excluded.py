"""Pixels that the user excludes: those of a value, and those where a mask is zero."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.io import open_source
from noisewise.io.base import NotLight, Source
from noisewise.io.files import as_user_error, user_path


@dataclass(frozen=True)
class Excluded:
    """What is not light, by the user's word.

    ignore: pixels of exactly this value. mask: an image or file that is zero where pixels are excluded, in the shape of
    the image, or in that of its plane (Y, X).
    """

    ignore: float | None = None
    mask: Any = None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Excluded:
        """Take `ignore` and `mask` out of keyword arguments."""
        return cls(options.pop("ignore", None), options.pop("mask", None))

    def of(self, source: Source) -> NotLight:
        """What this means for an image. Errors: `UserError` for a mask that cannot be used, or does not fit."""
        mask = None if self.mask is None else open_mask(self.mask, source)
        for what, given in ((f"that are {self.ignore}", self.ignore), ("where the mask is zero", mask)):
            if given is not None:
                source.notes.append(f"pixels {what} are left out, and stay as they are")
        return NotLight(ignore=self.ignore, mask=mask)


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


NOTHING = Excluded()
