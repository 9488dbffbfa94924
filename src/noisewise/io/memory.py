"""Images in memory, and arrays that can be sliced lazily: numpy, dask, zarr, xarray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisewise.axes import Array, Region, guess_axes, guess_notes, parse_axes
from noisewise.errors import UserError
from noisewise.io.base import Sink, Source, check_pixels, naming, owned, to_dtype
from noisewise.io.labelled import axes_of_dims, channel_names_of, is_data_array, relabelled, scale_of


@dataclass
class MemorySource(Source):
    """An array; only requested slices are computed or copied."""

    array: Any = field(default=None, repr=False)

    def read(self, region: Region | None = None) -> Array:
        """Read the pixels of a region (default: all)."""
        return owned(self.array[region or self.everything], self.dtype)

    @property
    def has_labels(self) -> bool:
        """Whether the image is an xarray.DataArray."""
        return is_data_array(self.array)

    def labelled(self, pixels: Array, new: str = "sample") -> Any:
        """The result as an xarray.DataArray, if the image is one."""
        return relabelled(self.array, pixels, new) if self.has_labels else pixels


class MemorySink(Sink):
    """A result that stays in memory, in `array`."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.array: Array = np.zeros(shape, self.dtype)

    def write(self, region: Region, pixels: Array) -> None:
        """Write pixels into a region."""
        self.array[region] = to_dtype(pixels, self.dtype)

    def commit(self) -> None:
        """Nothing to finish."""

    def discard(self) -> None:
        """Nothing to remove: the array stays readable."""


def open_array(image: Any, axes: str | None = None, name: str | None = None) -> MemorySource:
    """Open an array, or an object with `shape`, `dtype` and slicing; xarray's `dims` give the axes.

    Errors: `UserError` for what is not an image.
    """
    label = name or "array"
    if is_data_array(image) and name is None and isinstance(image.name, str):
        label = image.name
    if is_data_array(image, "Dataset"):
        names = ", ".join(f"'{variable}'" for variable in image.data_vars)
        raise UserError(f"{label}: is an xarray.Dataset, not an image; give one of its variables ({names or 'none'})")
    if isinstance(image, np.ma.MaskedArray):
        raise UserError(f"{label}: is a masked array; give array.data, and mask=~array.mask (True where it is light)")
    array = image if _can_be_sliced(image) else _as_numpy(image, label)
    dtype, shape = np.dtype(array.dtype).newbyteorder("="), tuple(int(size) for size in array.shape)
    dims = getattr(array, "dims", None)
    check_pixels(label, shape, dtype)
    notes: list[str] = []
    with naming(label):
        if isinstance(dims, tuple) and len(dims) == len(shape):
            letters = axes_of_dims(dims, axes)
        elif axes is not None:
            letters = parse_axes(axes, len(shape))
        else:
            letters = guess_axes(shape)
            notes = guess_notes(shape, letters)
    source = MemorySource(name=label, axes=letters, shape=shape, dtype=dtype, notes=notes, array=array)
    if is_data_array(array):
        source.scale, source.channel_names = scale_of(array, letters), channel_names_of(array, letters)
    return source


def _can_be_sliced(image: Any) -> bool:
    if not all(hasattr(image, attribute) for attribute in ("shape", "dtype", "__getitem__")):
        return False
    try:
        np.dtype(image.dtype)
    except TypeError:  # such as the dtypes of torch
        return False
    return True


def _as_numpy(image: Any, label: str) -> Array:
    try:
        return np.asarray(image)
    except Exception as error:
        raise UserError(f"{label}: {type(image).__name__} is not an image; give a file name or an array") from error
