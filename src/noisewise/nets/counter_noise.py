"""Counter-based Gaussian noise: the same seed, sample and coordinate give the same number in any tile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

BLOCK = {2: 64, 3: 16}  # positions along each side of a block, which is generated at once


class CounterNoise:
    """Counter-based standard normal noise for the levels of a ladder: overlapping tiles get the same numbers.

    Each level has an unbounded grid of positions. coordinates: (dims, *S) of each pixel in its whole image, in the
    orientation that the network sees; S are multiples of the coarsest stride. strides: of each level, finest first.
    keys: seed, sample and channel of each image.
    """

    def __init__(self, coordinates: Tensor, strides: Sequence[Sequence[int]], keys: Sequence[Sequence[int]]) -> None:
        self.coordinates, self.strides, self.keys = coordinates.cpu(), strides, [tuple(key) for key in keys]

    def __call__(self, level: int, shape: torch.Size) -> Tensor:
        """Noise (N, latent, *size) of a level, one image a key."""
        stride = self.strides[level]
        every = (slice(None), *(slice(None, None, s) for s in stride))
        places = self.coordinates[every] // torch.tensor(stride).reshape(-1, *[1] * len(stride))
        return drawn_at(places, [(*key, level) for key in self.keys], shape[1])


def drawn_at(
    places: Tensor, keys: Sequence[tuple[int, ...]], count: int, reach: Sequence[int] = (),
    change: Callable[[Tensor], Tensor] = lambda white: white,
) -> Tensor:  # fmt: skip
    """Noise (N, count, *S) of each key's unbounded grid at some positions (dims, *S), which may be flipped or rotated.

    change: of white noise, a filter that takes `reach` positions off at both ends of each axis.
    """
    low, high = (part.tolist() for part in (places.flatten(1).amin(1), places.flatten(1).amax(1) + 1))
    upright = torch.equal(places, torch.stack(torch.meshgrid(*map(torch.arange, low, high), indexing="ij")))
    index = (slice(None), *(place - first for place, first in zip(places, low, strict=True)))
    reach = reach or (0,) * len(low)
    wide = (
        [start - r for start, r in zip(low, reach, strict=True)],
        [end + r for end, r in zip(high, reach, strict=True)],
    )
    drawn = {key: change(window(key, count, *wide)) for key in dict.fromkeys(keys)}
    if not upright:
        drawn = {key: image[index] for key, image in drawn.items()}
    return torch.stack([drawn[key] for key in keys])


def window(key: Sequence[int], latent: int, low: Sequence[int], high: Sequence[int]) -> Tensor:
    """Noise (latent, *size) at the positions from low to high of a key's unbounded grid."""
    side = BLOCK[len(low)]
    first = [start // side for start in low]
    spans = [range(start // side, -(-stop // side)) for start, stop in zip(low, high, strict=True)]
    whole = torch.empty(latent, *(side * len(span) for span in spans))
    for block in product(*spans):
        digest = hashlib.blake2b(repr((*map(int, key), block)).encode(), digest_size=8).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest))
        at = [slice(side * (b - f), side * (b - f + 1)) for b, f in zip(block, first, strict=True)]
        whole[(slice(None), *at)] = torch.randn(latent, *[side] * len(block), generator=generator)
    return whole[(slice(None), *(slice(a - side * f, b - side * f) for a, b, f in zip(low, high, first, strict=True)))]
