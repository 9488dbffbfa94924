"""Where results are written: sinks of mean, standard deviation and samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from noisewise.axes import Array, Region
from noisewise.errors import UserError
from noisewise.io.base import Sink, Source
from noisewise.io.scan_lines import put_back

Placing = Callable[[Region], Region]


@dataclass(frozen=True)
class Samples:
    """Requested samples: their numbers, the seed, the sink, and (region, number) -> the region in that sink."""

    numbers: Sequence[int]
    seed: int
    sink: Sink
    place: Callable[..., Region]


@dataclass(frozen=True)
class Outputs:
    """Where mean, standard deviation and samples are written; None: not wanted."""

    mean: Sink | None = None
    std: Sink | None = None
    samples: Samples | None = None

    @property
    def count(self) -> int:
        """Number of images written for each input image."""
        samples = 0 if self.samples is None else len(self.samples.numbers)
        return (self.mean is not None) + (self.std is not None) + samples

    def put_back(self, source: Source) -> Outputs:
        """The same for an image whose lines were aligned."""
        mean, std = (None if sink is None else put_back(sink, source) for sink in (self.mean, self.std))
        samples = self.samples and replace(self.samples, sink=put_back(self.samples.sink, source))
        return Outputs(mean, std, samples)


def seed_of_frame(seed: int, frame: int) -> int:
    """The seed of a frame: the samples of frames are independent, as their noise is; slices share random numbers."""
    if frame == 0:
        return seed
    return int.from_bytes(hashlib.blake2b(repr((seed, frame)).encode(), digest_size=7).digest())


def as_finite(values: Tensor) -> Array:
    """The values as an array. Errors: `UserError` if the network computed values that are not finite."""
    array: Array = values.cpu().numpy()
    if not np.isfinite(array).all():
        raise UserError(
            "the model gives values that are not finite for this image: its weights are damaged, or the image is too "
            "unlike those it was trained on; train it again"
        )
    return array
