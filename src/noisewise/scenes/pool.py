"""Patches of scenes, quickly: a scene is drawn once, and cut, mirrored and turned many times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from noisewise.scenes import draw

SCENES = 100  # of one kind and size
TIMES = {2: 3, 3: 2}  # a scene is so many patches wide


@lru_cache(maxsize=SCENES)
def scene(kind: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """One scene, kept; two bytes a pixel."""
    return draw(kind, shape, seed).half()


def patches(kind: str, patch: Sequence[int], count: int, generator: torch.Generator) -> Tensor:
    """Patches (count, 1, *patch) of one scene, float32, from 0 to about 1."""
    dims = len(patch)
    shape = tuple(TIMES[dims] * side if axis >= dims - 2 else side for axis, side in enumerate(patch))
    whole = scene(kind, shape, int(torch.randint(SCENES, (), generator=generator)))
    found = []
    for _ in range(count):
        corner = [
            int(torch.randint(n - side + 1, (), generator=generator)) for n, side in zip(shape, patch, strict=True)
        ]
        part = whole[tuple(slice(c, c + side) for c, side in zip(corner, patch, strict=True))].float()
        coins = torch.randint(2, (dims + 1,), generator=generator).tolist()
        part = part.flip([axis for axis in range(dims) if coins[axis]])
        found.append(part.mT if coins[-1] and patch[-1] == patch[-2] else part)
    return torch.stack(found)[:, None]
