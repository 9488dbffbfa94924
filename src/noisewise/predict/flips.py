"""The flips and rotations of test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

Transform = Callable[[Tensor], Tensor]


def flips_and_rotations(
    swaps: Sequence[bool] = (False, True), no_flip_axes: str = ""
) -> Iterator[tuple[Transform, Transform]]:
    """Yield the eight flips and rotations by 90° of YX, each with its inverse.

    swaps: whether Y and X are exchanged. no_flip_axes: axes along which images are not flipped.
    """
    kept = [axis for axis, letter in ((-2, "Y"), (-1, "X")) if letter in no_flip_axes]
    for swap in swaps:
        for flips in ([], [-1], [-2], [-1, -2]):
            if not set(flips).isdisjoint(kept):
                continue

            def transform(x: Tensor, flips: list[int] = flips, swap: bool = swap) -> Tensor:
                return (x.transpose(-1, -2) if swap else x).flip(flips).contiguous()

            def undo(y: Tensor, flips: list[int] = flips, swap: bool = swap) -> Tensor:
                y = y.flip(flips)
                return y.transpose(-1, -2) if swap else y

            yield transform, undo
