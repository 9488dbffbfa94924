"""A figure of a result: noisy image, denoised image, standard deviation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisewise.axes import Array, Layout
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
    first = {axis: size // 2 for axis, size in zip(source.axes, source.shape, strict=True)} | {"C": 0}
    region = tuple(
        slice(0, size) if axis in "YX" else slice(first[axis], first[axis] + 1)
        for axis, size in zip(source.axes, source.shape, strict=True)
    )
    return np.asarray(Layout(source.axes, "YX").to_network(source.read(region))[0, 0], np.float32)
