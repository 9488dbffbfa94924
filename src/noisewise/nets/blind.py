"""Blind spots: which pixels are hidden, what stands in their place, and the prediction of pixels never seen.

A blind spot is a centre, and around it a shape of further hidden pixels, for noise that its neighbours share. Only
centres are scored.
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
MOST_HIDDEN = 25.0  # percent of the pixels: with more, too little is left to predict from


def some_of(valid: Tensor, percent: float, generator: torch.Generator, shape: Sequence[Offset] = ()) -> Tensor:
    """Of the pixels (N, C, *S) that may teach, about so many percent as the centres of blind spots."""
    sides = lattice_sides(percent, shape, valid.ndim - 2)
    return valid & draw_mask(valid.shape, sides, generator).to(valid.device)


def draw_mask(shape: torch.Size, sides: Sequence[int], generator: torch.Generator) -> Tensor:
    """Boolean mask (N, C, *S) with one centre in each cell of a lattice, for each N and C at a place drawn anew.

    On a lattice blind spots keep away from each other: all that is around them is seen.
    """
    places = torch.zeros(shape[:2], dtype=torch.long)
    for side, size in zip(sides, shape[2:], strict=True):
        places = places * side + torch.randint(min(side, size), shape[:2], generator=generator)
    cells = place_in_cell(grid_coordinates(torch.empty(1, 1, *shape[2:])), sides)
    return cells[:, None] == places.reshape(*shape[:2], *[1] * len(sides))


def lattice_sides(percent: float, shape: Sequence[Offset], dims: int) -> list[int]:
    """Sides of the cells that hold one centre each: near cubes of about 100/percent pixels, 2 or more a side.

    With a shape, blind spots neither touch each other nor hide more than `MOST_HIDDEN` percent.
    """
    if not shape:
        side = max(2, round((100 / percent) ** (1 / dims)))
        return [side] * (dims - 1) + [max(2, round(100 / percent / side ** (dims - 1)))]
    sides = [2 * max(abs(offset[axis]) for offset in shape) + 2 for axis in range(dims)]
    while 100 / prod(sides) > min(percent, MOST_HIDDEN / (1 + len(shape))):
        sides[sides.index(min(sides))] += 1
    return sides


def place_in_cell(coordinates: Tensor, sides: Sequence[int]) -> Tensor:
    """Number of the place that coordinates (M, dims, *S) have in their cells: (M, *S)."""
    place = torch.zeros_like(coordinates[:, 0])
    for axis, side in enumerate(sides):
        place = place * side + coordinates[:, axis] % side
    return place


def hide(
    x: Tensor, blind: Tensor, masking: Masking, radius: int, generator: torch.Generator,
    shape: Sequence[Offset] = (),
) -> Tensor:  # fmt: skip
    """x (N, C, *S) with its blind spots replaced by a neighbour, or by the neighbours' mean or median.

    Neighbours are the window of this radius, cut at the border, without pixels that are hidden themselves: none can
    stand for itself. A window that a shape fills is widened until something is left of it.
    """
    hidden = spread(blind, shape)
    positions, reach, replaced = hidden.nonzero(), window_radius(shape, radius), x.clone()
    while len(positions):
        values, inside = neighbours(x, positions, reach)
        usable = inside & neighbours(~hidden, positions, reach)[0]
        seen = usable.any(1)
        replaced[tuple(positions[seen].T)] = stand_in(values[seen], usable[seen], masking, generator)
        positions, reach = positions[~seen], reach + 1
        if reach > max(x.shape[2:]):  # all of the image is hidden
            replaced[tuple(positions.T)] = 0.0
            break
    return replaced


def stand_in(values: Tensor, usable: Tensor, masking: Masking, generator: torch.Generator) -> Tensor:
    """One value (M,) out of those (M, K) that are usable: a random one, the mean or the median."""
    if masking == "uniform":
        lots = torch.rand(usable.shape, generator=generator).to(values.device)
        return values.gather(1, torch.where(usable, lots, -1.0).argmax(1, keepdim=True))[:, 0]
    if masking == "mean":
        return (values * usable).sum(1) / usable.sum(1)
    return torch.where(usable, values, torch.nan).nanmedian(1).values


def neighbours(x: Tensor, positions: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Values (M, K) of the K window offsets around M positions, and which of them lie inside the image."""
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
    """Offsets that are hidden with a centre, from `pixel` (none), a size such as `1x11`, or a pattern of 0 and 1.

    Sizes and patterns are odd along each axis, [Z], Y, X, with the centre in the middle; rows of a pattern are
    separated by `/`, slices by `|`, as in `010/111/010`. Missing leading axes have size 1. An asymmetric pattern is
    joined with its mirror images, since images are mirrored in training.

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
    """Offsets from the centre of a Boolean mask with odd sides, without the centre."""
    centre = torch.tensor(marked.shape) // 2
    return tuple(tuple(offset) for offset in (marked.nonzero() - centre).tolist() if any(offset))


def spread(blind: Tensor, shape: Sequence[Offset]) -> Tensor:
    """Blind centres (N, C, *S) and all that is hidden with them."""
    hidden = blind.clone()
    size = blind.shape[2:]
    for offset in shape:
        if any(abs(o) >= n for o, n in zip(offset, size, strict=True)):
            continue  # reaches out of the image
        here = tuple(slice(max(0, o), n + min(0, o)) for o, n in zip(offset, size, strict=True))
        there = tuple(slice(max(0, -o), n + min(0, -o)) for o, n in zip(offset, size, strict=True))
        hidden[(slice(None), slice(None), *here)] |= blind[(slice(None), slice(None), *there)]
    return hidden


def window_radius(shape: Sequence[Offset], radius: int) -> int:
    """The least radius, not below this one, whose window holds something that the shape does not hide."""
    if not shape:
        return radius
    hidden = {(0,) * len(shape[0]), *shape}
    while set(product(range(-radius, radius + 1), repeat=len(shape[0]))) <= hidden:
        radius += 1
    return radius


def turned(shape: Sequence[Offset]) -> bool:
    """Whether a shape changes when Y and X are swapped."""
    return {(*o[:-2], o[-1], o[-2]) for o in shape} != set(shape)


# -- prediction ------------------------------------------------------------------------------------


def predict_blind(
    net: Standardized, noisy: Tensor, coordinates: Tensor | None, percent: float, radius: int,
    shape: Sequence[Offset] = (),
) -> Tensor:  # fmt: skip
    """What a network puts out for each pixel of images (N, C, *S) in which the pixel's own blind spot is hidden.

    Centres lie on a lattice that is shifted until each pixel of each channel had its turn; it is tied to the
    coordinates (N, dims, *S), so that tiles agree (None: those of whole images). Neighbours' means replace what is
    hidden. The result has the net's `heads` maps of encoded images in front: (heads, N', C', *S).
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
    """Boolean masks (M, *S) of one centre in each cell, for each place in it."""
    places = place_in_cell(coordinates, sides)
    for place in range(prod(sides)):
        yield places == place


def grid_coordinates(x: Tensor, origin: Sequence[int] = ()) -> Tensor:
    """Coordinates (1, dims, *S) of the pixels of x (N, C, *S), whose first pixel lies at `origin`."""
    size = x.shape[2:]
    starts = origin or (0,) * len(size)
    axes = [torch.arange(s, s + n, device=x.device) for s, n in zip(starts, size, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
