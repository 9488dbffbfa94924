"""Patches of scenes, quickly: a scene is drawn once, or read from a file, and cut, mirrored and turned many times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from noisewise.axes import Layout, Region
from noisewise.errors import UserError
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.scenes import KINDS, draw

SCENES = 100  # of one kind and size
TIMES = {2: 3, 3: 2}  # a scene is so many patches wide
FILES = 8  # are held open


def is_synthetic(kind: str) -> bool:
    """Whether a name is that of a kind of scene; else it is that of a file of clean images."""
    return kind == "mixed" or kind in KINDS


def patches(kind: str, patch: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Patches (count, 1, *patch) of as many scenes, float32: drawn ones from 0 to about 1, those of files as they are.

    Errors: `UserError` for a name that is neither a kind of scene nor a file, and for images smaller than a patch.
    """
    return torch.stack([random_patch(whole(kind, patch, generator), patch, generator) for _ in range(count)])[:, None]


def whole(kind: str, patch: Sequence[int], generator: torch.Generator) -> Tensor:
    """One scene, larger than a patch."""
    dims = len(patch)
    if is_synthetic(kind):
        shape = tuple(TIMES[dims] * side if axis >= dims - 2 else side for axis, side in enumerate(patch))
        return scene(kind, shape, int(torch.randint(SCENES, (), generator=generator)))
    image = recorded(kind, dims, int(torch.randint(len(recording(kind, dims)[2]), (), generator=generator)))
    if any(side < wanted for side, wanted in zip(image.shape, patch, strict=True)):
        raise UserError(f"{kind}: its images have {' x '.join(map(str, image.shape))} pixels, fewer than a patch")
    return image


def random_patch(image: Tensor, patch: Sequence[int], generator: torch.Generator) -> Tensor:
    """One patch of a scene, mirrored and turned by chance."""
    dims = len(patch)
    corner = [
        int(torch.randint(n - side + 1, (), generator=generator)) for n, side in zip(image.shape, patch, strict=True)
    ]
    part = image[tuple(slice(c, c + side) for c, side in zip(corner, patch, strict=True))].float()
    coins = torch.randint(2, (dims + 1,), generator=generator).tolist()
    part = part.flip([axis for axis in range(dims) if coins[axis]])
    return part.mT if coins[-1] and patch[-1] == patch[-2] else part


@lru_cache(maxsize=SCENES)
def scene(kind: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """One drawn scene, kept; two bytes a pixel."""
    return draw(kind, shape, seed).half()


@lru_cache(maxsize=FILES)
def recording(path: str, dims: int) -> tuple[Source, Layout, list[tuple[Region, int]]]:
    """A file of clean images, and where its single images lie, each channel for itself."""
    try:
        source = open_source(path)
    except UserError as error:
        kinds = ", ".join(KINDS)
        raise UserError(f"scenes '{path}': neither a kind of scene ({kinds}, mixed) nor a file: {error}") from error
    layout = Layout(source.axes, "ZYX"[-dims:])
    if not set(layout.spatial) <= set(source.axes):
        raise UserError(f"{path}: has axes {source.axes}; scenes for {layout.spatial} images need {layout.spatial}")
    regions = list(layout.images(source.shape))
    return source, layout, [(region, channel) for region in regions for channel in range(source.size_of("C"))]


@lru_cache(maxsize=SCENES)
def recorded(path: str, dims: int, number: int) -> Tensor:
    """One clean image, kept. Errors: `UserError` if pixels are missing."""
    source, layout, places = recording(path, dims)
    region, channel = places[number]
    image = torch.from_numpy(layout.to_network(source.read(region))[0, channel].astype("float32"))
    if not image.isfinite().all():
        raise UserError(f"{path}: has pixels that are not finite; clean images must be whole")
    return image
