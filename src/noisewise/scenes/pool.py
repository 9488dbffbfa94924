"""Fast patches of scenes: a scene is drawn once, or read from a file, and then cropped, flipped and rotated often."""

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
from noisewise.scenes.rng import Rng
from noisewise.scenes.sequences import sequence

SCENES = 100  # different scenes of one kind and size
TIMES = {2: 3, 3: 2}  # side of a scene along Y and X in patches, by number of dimensions
FILES = 8  # files that are kept open


def is_synthetic(kind: str) -> bool:
    """Whether a name is a kind of synthetic scene; otherwise it is a file of clean images."""
    return kind == "mixed" or kind in KINDS


def patches(kind: str, patch: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Draw patches (count, 1, *patch), each of a random scene, float32.

    Synthetic scenes have values from 0 to about 1, images from files keep their values. Three-dimensional patches are
    of volumes, or of sequences of planes (`sequences`), half of them each.

    Errors: `UserError` for a name that is neither a kind of scene nor a file, and for images smaller than a patch.
    """
    with torch.autocast("cpu", enabled=False):
        return torch.stack([one_patch(kind, patch, generator) for _ in range(count)])[:, None]


def one_patch(kind: str, patch: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw one patch."""
    if len(patch) == 2 or not moves(kind, patch[0], generator):
        return random_patch(random_scene(kind, patch, generator), patch, generator)
    dark = 0.0 if is_synthetic(kind) else float(clean_image(kind, 2, 0).amin())

    def still() -> Tensor:
        return (random_scene(kind, patch[1:], generator).float() - dark).clamp(min=0)

    scene = sequence(still, patch[0], patch[1:], Rng(generator))
    return scene / scene.amax().clamp(min=1e-6) if is_synthetic(kind) else scene + dark


def moves(kind: str, planes: int, generator: torch.Generator) -> bool:
    """Whether planes are a sequence: half of the time for synthetic scenes, always for files without such stacks."""
    if is_synthetic(kind):
        return bool(torch.randint(2, (), generator=generator))
    source, layout, _ = open_clean(kind, 3)
    return source.size_of(layout.spatial[0]) < planes


def random_scene(kind: str, patch: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw one scene, larger than a patch."""
    dims = len(patch)
    if is_synthetic(kind):
        shape = tuple(TIMES[dims] * side if axis >= dims - 2 else side for axis, side in enumerate(patch))
        return scene(kind, shape, int(torch.randint(SCENES, (), generator=generator)))
    count = len(open_clean(kind, dims)[2])
    image = clean_image(kind, dims, int(torch.randint(count, (), generator=generator)))
    if any(side < wanted for side, wanted in zip(image.shape, patch, strict=True)):
        sizes, wanted = (" x ".join(map(str, size)) for size in (image.shape, patch))
        raise UserError(f"{kind}: its images have {sizes} pixels, fewer than a patch ({wanted}); give larger images")
    return image


def random_patch(image: Tensor, patch: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw one patch of a scene, flipped and rotated at random."""
    dims = len(patch)
    corner = [
        int(torch.randint(n - side + 1, (), generator=generator)) for n, side in zip(image.shape, patch, strict=True)
    ]
    part = image[tuple(slice(c, c + side) for c, side in zip(corner, patch, strict=True))].float()
    bits = torch.randint(2, (dims + 1,), generator=generator).tolist()
    part = part.flip([axis for axis in range(dims) if bits[axis]])
    return part.mT if bits[-1] and patch[-1] == patch[-2] else part


@lru_cache(maxsize=SCENES)
def scene(kind: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """One synthetic scene, cached with 16 bits per pixel."""
    return draw(kind, shape, seed).half()


@lru_cache(maxsize=FILES)
def open_clean(path: str, dims: int) -> tuple[Source, Layout, list[tuple[Region, int]]]:
    """Open a file of clean images; also returns the region and channel of each single image."""
    try:
        source = open_source(path)
    except UserError as error:
        kinds = ", ".join(KINDS)
        raise UserError(f"scenes '{path}': neither a kind of scene ({kinds}, mixed) nor a file: {error}") from error
    stacked = next((axis for axis in "ZT" if source.size_of(axis) > 1), "Z")
    layout = Layout(source.axes, (stacked + "YX")[-dims:])
    regions = list(layout.images(source.shape))
    return source, layout, [(region, channel) for region in regions for channel in range(source.size_of("C"))]


@lru_cache(maxsize=SCENES)
def clean_image(path: str, dims: int, number: int) -> Tensor:
    """One clean image, cached. Errors: `UserError` for pixels that are not finite."""
    source, layout, single_images = open_clean(path, dims)
    region, channel = single_images[number]
    image = torch.from_numpy(layout.to_network(source.read(region))[0, channel].astype("float32"))
    if not image.isfinite().all():
        raise UserError(f"{path}: has pixels that are NaN or infinite; give clean images without such pixels")
    return image
