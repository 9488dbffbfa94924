"""Synthetic scenes as images of `noisewise simulate`."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.io import Source, open_source

MAX_PIXELS = 1 << 28


def scene_source(kind: str, size: str, axes: str | None, seed: int) -> Source:
    """A synthetic scene as an image in memory. Errors: `UserError` for an impossible size or axes."""
    shape = parse_size(size)
    letters = axes or "ZYX"[-len(shape) :]
    if letters not in ("YX", "ZYX", "TYX") or len(letters) != len(shape):
        raise UserError(f"a scene of --size {size} cannot have the axes {letters}; give --axes YX, ZYX or TYX")
    return open_source(pixels(kind, shape, letters, seed), letters, f"scene {kind} {size}, seed {seed}")


def parse_size(size: str) -> tuple[int, ...]:
    """`512x512` -> (512, 512). Errors: `UserError`."""
    parts = size.lower().split("x")
    if len(parts) not in (2, 3) or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise UserError(f"--size {size} is not a size; write YxX or ZxYxX in pixels, such as 512x512")
    shape = tuple(int(part) for part in parts)
    if prod(shape) > MAX_PIXELS or min(shape[-2:]) < 16:
        raise UserError(f"--size {size}: give 16 pixels or more along Y and X, and up to {MAX_PIXELS} in all")
    return shape


@lru_cache(maxsize=1)  # a scene is opened twice: to check the outputs, and to expose it
def pixels(kind: str, shape: tuple[int, ...], axes: str, seed: int) -> Array:
    """The pixel values of a scene, float32."""
    from noisewise.scenes import draw, draw_movie

    scene = draw_movie(kind, shape[0], shape[1:], seed) if axes[0] == "T" else draw(kind, shape, seed)
    found: Array = scene.numpy()
    return found
