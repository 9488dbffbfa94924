"""Posterior samples as an animation: structures that change between frames are uncertain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError
from noisewise.io.base import Source
from noisewise.io.files import Draft
from noisewise.io.stacked import Stacked

FRAME_MS = 150
DARK, BRIGHT = 0.5, 99.8  # percentiles of the first frame that become black and white


def write_animation(path: Path, samples: Source, stack: Stacked, overwrite: bool = False) -> None:
    """Write a GIF with one frame for each sample: the maximum along Z, the first position along other axes.

    samples: as they were written. stack: gives the region of each sample.

    Errors: `UserError` if the file cannot be written.
    """
    from PIL import Image

    draft = Draft(path, overwrite)
    try:
        frames = [Image.fromarray(frame) for frame in eight_bit(planes(samples, stack))]
        frames[0].save(
            draft.temporary, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0
        )  # fmt: skip
        draft.commit()
    except OSError as error:
        draft.discard()
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error
    except BaseException:
        draft.discard()
        raise


def planes(samples: Source, stack: Stacked) -> Iterator[Array]:
    """Yield a plane (Y, X) of each sample."""
    assert stack.source is not None
    axes = stack.source.axes
    region = tuple(slice(0, n if a in "ZYX" else 1) for a, n in zip(axes, stack.source.shape, strict=True))
    for number in range(stack.size_of(stack.along)):
        image = samples.read(stack.place(region, number))
        letters = stack.axes
        for letter in letters:
            if letter not in "ZYX":
                image, letters = image.take(0, letters.index(letter)), letters.replace(letter, "")
        image = np.nan_to_num(image.astype(np.float64))
        yield image.max(letters.index("Z")) if "Z" in letters else image


def eight_bit(frames: Iterator[Array]) -> Iterator[Array]:
    """Convert frames to 8 bits, all with the contrast range of the first."""
    low = high = None
    for frame in frames:
        if low is None or high is None:
            low, high = np.percentile(frame, [DARK, BRIGHT])
        yield (np.clip((frame - low) / max(high - low, 1e-12), 0, 1) * 255 + 0.5).astype(np.uint8)
