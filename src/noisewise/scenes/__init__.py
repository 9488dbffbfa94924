"""Synthetic scenes of fluorescence, light and electron microscopy, in 2D, 3D and time, from a random seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.scenes.cells import membranes, nuclei
from noisewise.scenes.fields import grains, regions, smooth_field, texture
from noisewise.scenes.leaves import dead_leaves
from noisewise.scenes.movies import movie
from noisewise.scenes.optics import apply_optics
from noisewise.scenes.rng import Rng
from noisewise.scenes.strokes import filaments, puncta, tubes, vesicles

Draw = Callable[[Sequence[int], Rng], Tensor]

# For each kind: the function that draws it, its weight in a mixture, the smallest blur (standard deviation, pixels).
KINDS: dict[str, tuple[Draw, float, float]] = {
    "leaves": (dead_leaves, 7.0, 0.2),
    "regions": (regions, 1.0, 0.3),
    "texture": (texture, 1.5, 0.2),
    "grains": (grains, 1.0, 0.2),
    "filaments": (filaments, 2.0, 0.7),
    "tubes": (tubes, 1.5, 0.5),
    "membranes": (membranes, 1.0, 0.5),
    "nuclei": (nuclei, 1.0, 0.5),
    "puncta": (puncta, 0.7, 0.7),
    "vesicles": (vesicles, 0.7, 0.7),
}


def draw(kind: str, shape: Sequence[int], seed: int = 0) -> Tensor:
    """Draw a synthetic scene (Y, X) or (Z, Y, X), float32, from 0 to about 1.

    kind: one of `KINDS`, or `mixed`: one to three of them together. shape: pixels along the axes. seed: the scene is a
    function of kind, shape and seed.

    Errors: `UserError` for an unknown kind.
    """
    return draw_with(kind, shape, Rng.from_seed(seed))


def draw_movie(kind: str, frames: int, shape: Sequence[int], seed: int = 0) -> Tensor:
    """Draw a moving scene (T, Y, X), float32, from 0 to 1: two layers of one kind that drift, jitter and bleach.

    kind: one of `KINDS`, or `mixed`. frames: number of frames. shape: pixels along Y and X. seed: the movie is a
    function of kind, frames, shape and seed.

    Errors: `UserError` for an unknown kind.
    """
    rng = Rng.from_seed(seed)
    return movie(lambda size: draw_with(kind, size, rng), frames, shape, rng)


def draw_with(kind: str, shape: Sequence[int], rng: Rng) -> Tensor:
    """Draw a scene with a random generator; `mixed` is a sum of one to three scenes with random contrast."""
    if kind != "mixed":
        if kind not in KINDS:
            raise UserError(f"there is no scene '{kind}'; there are: {', '.join(KINDS)}, mixed")
        make, _, sharpest = KINDS[kind]
        return apply_optics(make(shape, rng), sharpest, rng)
    weights = {name: weight for name, (_, weight, _) in KINDS.items()}
    scene = draw_with(rng.choice(weights), shape, rng)
    for _ in range(rng.integer(-2, 2)):
        scene = combined(scene, draw_with(rng.choice(weights), shape, rng), rng)
    scene = scene / scene.amax().clamp(min=1e-6)
    return scene ** rng.log_uniform(0.6, 2.0)


def combined(scene: Tensor, other: Tensor, rng: Rng) -> Tensor:
    """The sum of two scenes, their product, or one in some regions and the other elsewhere."""
    kind = rng.uniform(0, 1)
    if kind < 0.6:
        return scene + rng.uniform(0.1, 1.0) * other
    if kind < 0.75:
        return scene * (rng.uniform(0, 0.5) + other)
    where = smooth_field(scene.shape, rng.log_uniform(8, max(scene.shape)), rng) + rng.uniform(-1, 1)
    return torch.lerp(scene, rng.log_uniform(0.2, 2) * other, torch.sigmoid(rng.log_uniform(2, 50) * where))
