"""A figure of a result: noisy image, denoised image, standard deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.io.paths import companions
from noisewise.plots.images import SPREAD, plot_images
from noisewise.report.files import find_input


def write_figure(denoised: Path, noisy: Path | None, figure: Path, *, axes: str | None = None) -> None:
    """Plot a denoised image beside the noisy one, with a scale bar, and the standard deviation where there is a file.

    Of stacks and movies the middle plane, of several channels the first. noisy, axes: as for `report`. figure: .png,
    .pdf or .svg.

    Errors: `UserError` for images that cannot be read, and a figure that cannot be written.
    """
    with open_source(find_input(denoised, noisy), axes) as before, open_source(denoised, axes) as after:
        if before.shape != after.shape:
            raise UserError(f"{denoised}: is not a result of {before.name}: their shapes differ")
        images, pixel_um = {"noisy": middle_plane(before), "denoised": middle_plane(after)}, after.scale.get("X")
    std = companions(denoised)["std"]
    if std.exists():
        with open_source(std, axes) as deviation:
            if deviation.shape == after.shape:
                images[SPREAD] = middle_plane(deviation)
    plot_images(images, figure, pixel_um=pixel_um)


def middle_plane(source: Source) -> Array:
    """The middle plane (Y, X) of the first channel."""
    at = {"C": 0, **{axis: size // 2 for axis, size in zip(source.axes, source.shape, strict=True) if axis in "STZ"}}
    region = tuple(
        slice(at[axis], at[axis] + 1) if axis in at else slice(0, size)
        for axis, size in zip(source.axes, source.shape, strict=True)
    )
    plane = source.read(region)
    order = [source.axes.index(axis) for axis in "YX"]
    kept = [axis for axis in range(plane.ndim) if axis not in order]
    return np.asarray(plane.transpose(*kept, *order).reshape(plane.shape[order[0]], plane.shape[order[1]]), np.float32)
