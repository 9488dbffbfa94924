"""Blind spots: which pixels are hidden, what replaces them, and prediction without the pixel's own value.

A blind spot is a centre and a shape of further hidden pixels around it, for noise that is correlated between
neighbours. Only centres are scored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Literal

import torch
from torch import Tensor

from noisewise.nets.standardized import Standardized

Masking = Literal["uniform", "mean", "median"]
Offset = tuple[int, ...]
MAX_HIDDEN_PERCENT = 25.0  # of the pixels: with more, too little is left to predict from


def blind_centres(valid: Tensor, percent: float, generator: torch.Generator, shape: Sequence[Offset] = ()) -> Tensor:
    """Random centres of blind spots, about `percent` of the pixels, within a valid mask (N, C, *S): a Boolean mask."""
    sides = lattice_sides(percent, shape, valid.ndim - 2)
    return valid & draw_mask(valid.shape, sides, generator).to(valid.device)


def draw_mask(shape: torch.Size, sides: Sequence[int], generator: torch.Generator) -> Tensor:
    """Boolean mask (N, C, *S) with one centre in each cell of a lattice, at a random place for each N and C.

    On a lattice blind spots keep apart, so that the pixels around each are visible.
    """
    places = torch.zeros(shape[:2], dtype=torch.long)
    for side, size in zip(sides, shape[2:], strict=True):
        places = places * side + torch.randint(min(side, size), shape[:2], generator=generator)
    cells = place_in_cell(grid_coordinates(torch.empty(1, 1, *shape[2:])), sides)
    return cells[:, None] == places.reshape(*shape[:2], *[1] * len(sides))


def lattice_sides(percent: float, shape: Sequence[Offset], dims: int) -> list[int]:
    """Sides of the lattice's cells, nearly cubes of about 100/percent pixels, 2 or more a side; each has one centre.

    With a shape, blind spots neither touch each other nor hide more than `MAX_HIDDEN_PERCENT` of the pixels.
    """
    if not shape:
        side = max(2, round((100 / percent) ** (1 / dims)))
        return [side] * (dims - 1) + [max(2, round(100 / percent / side ** (dims - 1)))]
    sides = [2 * max(abs(offset[axis]) for offset in shape) + 2 for axis in range(dims)]
    while 100 / prod(sides) > min(percent, MAX_HIDDEN_PERCENT / (1 + len(shape))):
        sides[sides.index(min(sides))] += 1
    return sides


def place_in_cell(coordinates: Tensor, sides: Sequence[int]) -> Tensor:
    """Index of each pixel within its cell, (M, *S), from coordinates (M, dims, *S)."""
    place = torch.zeros_like(coordinates[:, 0])
    for axis, side in enumerate(sides):
        place = place * side + coordinates[:, axis] % side
    return place


def hide(
    x: Tensor, blind: Tensor, masking: Masking, radius: int, generator: torch.Generator,
    shape: Sequence[Offset] = (),
) -> Tensor:  # fmt: skip
    """Replace the blind spots of images x (N, C, *S) by a neighbour, or by the mean or median of the neighbours.

    blind: mask of the centres. Neighbours are the pixels of the window of this radius, cut at the border, that are not
    hidden themselves. A window that the shape fills is widened until a visible pixel is in it.
    """
    hidden = hidden_pixels(blind, shape)
    positions, radius, replaced = hidden.nonzero(), window_radius(shape, radius), x.clone()
    while len(positions):
        values, inside = neighbours(x, positions, radius)
        usable = inside & neighbours(~hidden, positions, radius)[0]
        seen = usable.any(1)
        replaced[tuple(positions[seen].T)] = replacement(values[seen], usable[seen], masking, generator)
        positions, radius = positions[~seen], radius + 1
        if radius > max(x.shape[2:]):  # the whole image is hidden
            replaced[tuple(positions.T)] = 0.0
            break
    return replaced


def replacement(values: Tensor, usable: Tensor, masking: Masking, generator: torch.Generator) -> Tensor:
    """One value (M,) of the usable ones among (M, K): a random one, the mean or the median."""
    if masking == "uniform":
        uniform = torch.rand(usable.shape, generator=generator).to(values.device)
        return values.gather(1, torch.where(usable, uniform, -1.0).argmax(1, keepdim=True))[:, 0]
    if masking == "mean":
        return (values * usable).sum(1) / usable.sum(1)
    return torch.where(usable, values, torch.nan).nanmedian(1).values


def neighbours(x: Tensor, positions: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Values (M, K) at the K window offsets around M positions, and which of these lie inside the image."""
    window = [o for o in product(range(-radius, radius + 1), repeat=x.ndim - 2) if any(o)]
    offsets = torch.tensor(window, device=x.device)
    size = torch.tensor(x.shape[2:], device=x.device)
    where = positions[:, None, 2:] + offsets
    inside = ((where >= 0) & (where < size)).all(-1)
    where = where.clamp(torch.zeros_like(size), size - 1)
    sample, channel = positions[:, :1], positions[:, 1:2]
    return x[(sample, channel, *where.unbind(-1))], inside


# -- shapes ----------------------------------------------------------------------------------------


def parse_shape(text: str, dims: int) -> tuple[Offset, ...]:
    """Offsets of the pixels hidden with a centre, from `pixel` (none), a size such as `1x11`, or a pattern of 0 and 1.

    Sizes and patterns are odd along each axis, [Z], Y, X, with the centre in the middle; rows of a pattern are
    separated by `/`, slices by `|`, as in `010/111/010`. Missing leading axes have size 1. An asymmetric pattern is
    joined with its mirror images, because images are flipped in training.

    Errors: `ValueError` for anything else.
    """
    if text == "pixel":
        return ()
    if re.fullmatch(r"[0-9]+(x[0-9]+)+", text):
        marked = torch.ones([int(part) for part in text.split("x")], dtype=torch.bool)
    elif re.fullmatch(r"[01/|]+", text):
        slices = [[[c == "1" for c in row] for row in part.split("/")] for part in text.split("|")]
        marked = torch.tensor(slices)
        marked = marked[0] if len(slices) == 1 else marked
    else:
        raise ValueError("it is neither a size nor rows of 0 and 1")
    if any(n % 2 == 0 for n in marked.shape):
        raise ValueError("its sides are not odd")
    if marked.ndim > dims:
        raise ValueError(f"it has {marked.ndim} axes, the images have {dims}")
    marked = marked.reshape(*[1] * (dims - marked.ndim), *marked.shape)
    for axis in range(dims):
        marked = marked | marked.flip(axis)
    return offsets_of(marked)


def offsets_of(marked: Tensor) -> tuple[Offset, ...]:
    """Offsets of the True pixels of a Boolean mask with odd sides from its centre, without the centre."""
    centre = torch.tensor(marked.shape) // 2
    return tuple(tuple(offset) for offset in (marked.nonzero() - centre).tolist() if any(offset))


def hidden_pixels(blind: Tensor, shape: Sequence[Offset]) -> Tensor:
    """Mask (N, C, *S) of blind centres and of the pixels hidden with them."""
    hidden = blind.clone()
    size = blind.shape[2:]
    for offset in shape:
        if any(abs(o) >= n for o, n in zip(offset, size, strict=True)):
            continue  # as large as the image
        here = tuple(slice(max(0, o), n + min(0, o)) for o, n in zip(offset, size, strict=True))
        there = tuple(slice(max(0, -o), n + min(0, -o)) for o, n in zip(offset, size, strict=True))
        hidden[(slice(None), slice(None), *here)] |= blind[(slice(None), slice(None), *there)]
    return hidden


def window_radius(shape: Sequence[Offset], radius: int) -> int:
    """Smallest radius, at least this one, whose window has a pixel that the shape does not hide."""
    if not shape:
        return radius
    hidden = {(0,) * len(shape[0]), *shape}
    while set(product(range(-radius, radius + 1), repeat=len(shape[0]))) <= hidden:
        radius += 1
    return radius


def is_anisotropic(shape: Sequence[Offset]) -> bool:
    """Whether a shape changes when Y and X are swapped."""
    return {(*o[:-2], o[-1], o[-2]) for o in shape} != set(shape)


# -- prediction ------------------------------------------------------------------------------------


def predict_blind(
    net: Standardized, noisy: Tensor, coordinates: Tensor | None, percent: float, radius: int,
    shape: Sequence[Offset] = (),
) -> Tensor:  # fmt: skip
    """Predict each pixel of images (N, C, *S) with its own blind spot hidden.

    Centres lie on a lattice, which is shifted until each pixel of each channel was a centre; it is fixed to the
    coordinates (N, dims, *S), so that tiles agree (None: those of whole images). Hidden pixels are replaced by the
    mean of their neighbours. Returns the net's maps for the encoded images: (heads, N', C', *S).
    """
    if coordinates is None:
        coordinates = grid_coordinates(noisy)
    generator, x, result = torch.Generator(), net.encode(noisy), torch.zeros(())
    for centres in lattices(coordinates, lattice_sides(percent, shape, net.dims)):
        here = centres.expand(len(noisy), *centres.shape[1:]).repeat_interleave(len(x) // len(noisy), 0)
        for channel in range(x.shape[1]):
            mask = torch.zeros(x.shape, dtype=torch.bool, device=x.device)
            mask[:, channel] = here
            found = torch.stack(net.maps(net.backbone(hide(x, mask, "mean", radius, generator, shape))))
            result = torch.where(mask, found, result)
    return result


def lattices(coordinates: Tensor, sides: Sequence[int]) -> Iterator[Tensor]:
    """Boolean masks (M, *S) with one centre in each cell, for each place within it."""
    places = place_in_cell(coordinates, sides)
    for place in range(prod(sides)):
        yield places == place


def grid_coordinates(x: Tensor, origin: Sequence[int] = ()) -> Tensor:
    """Coordinates (1, dims, *S) of the pixels of x (N, C, *S); the first pixel is at `origin` (default: zero)."""
    size = x.shape[2:]
    starts = origin or (0,) * len(size)
    axes = [torch.arange(s, s + n, device=x.device) for s, n in zip(starts, size, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
