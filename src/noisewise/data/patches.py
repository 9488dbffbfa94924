"""Patches to learn from: drawn from memory, or from a pool that a background thread refills.

Everything random is a function of the seed and the step's number, so that a resumed run repeats an unbroken one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array, Region, Symmetry, whole
from noisewise.data.background import Background, backgrounds
from noisewise.data.images import PixelCounts, Pixels, TrainingImage, load, nbytes
from noisewise.errors import UserError

BLOCK = {2: (512, 512), 3: (32, 256, 256)}  # what is streamed at a time, pixels
STEPS_PER_BLOCK = 4  # the oldest block of a streamed pool is replaced after so many steps
COMPUTABLE = (1e-30, 1e30)  # standard deviations with room to compute in float32
HELD_OUT_PATCHES = 16  # at least
HELD_OUT_PIXELS = 1 << 16  # of these patches, where the images have so many
HELD_OUT_FRACTION = 0.03  # of the pixels of those patches


@dataclass(frozen=True)
class Patches:
    """N patches (N, C, *patch) in image units, where they may teach, and the randomness that goes with them.

    coordinates: (N, dims, *patch), of each pixel in its whole image. background: of each channel of the images.
    """

    noisy: Tensor
    valid: Tensor
    target: Tensor | None
    generator: torch.Generator
    coordinates: Tensor
    background: tuple[Background | None, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation a channel, over usable pixels, in image units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Place:
    """Where a block lies: which scene, which of its single images, which spatial region."""

    scene: int
    image: Region
    spatial: Region


class PatchSource:
    """Training patches from scenes, held whole in memory if they fit, streamed block by block if not.

    patch: spatial size; cut to the smallest image. count: patches a draw. memory_bytes: what the blocks may take.
    symmetry: the flips and rotations that patches get at random.
    Errors: `UserError` if there is nothing to learn from (no usable pixel, constant images).
    """

    def __init__(
        self,
        scenes: Sequence[TrainingImage],
        patch: Sequence[int],
        count: int,
        *,
        seed: int,
        memory_bytes: float,
        device: torch.device,
        symmetry: Symmetry = Symmetry(),
    ) -> None:
        self.symmetry = symmetry
        self.scenes, self.count, self.seed, self.device = list(scenes), count, seed, device
        self.dims = len(self.scenes[0].layout.spatial)
        self.patch = tuple(min(p, *(scene.size[a] for scene in scenes)) for a, p in enumerate(patch))
        self.images = [(i, image) for i, scene in enumerate(self.scenes) for image in scene.images()]
        self.streamed = sum(nbytes(scene) for scene in self.scenes) > memory_bytes
        self.pixel_counts = PixelCounts()
        self._pending: dict[int, Future[Pixels]] = {}
        self._pool: dict[int, Pixels] = {}
        self._first = -1  # number of the oldest block in the pool
        self._sizes = torch.zeros(0)
        self._thread = ThreadPoolExecutor(1) if self.streamed else None
        self._pool_size = self._plan_pool(memory_bytes)
        self._held: list[tuple[Place, Array]] = []
        self._fill_pool(0)
        self.noisy_statistics, self.target_statistics = self._statistics()
        self.background = backgrounds([(block.noisy, block.valid) for block in self._pool.values()], self.patch)
        self.held_out = self._hold_out()

    def draw(self, step: int) -> Patches:
        """Random patches for a step, mirrored and turned at random (the same way within a batch)."""
        generator = self._generator(step + 1)
        self._fill_pool(step)
        picks = torch.multinomial(self._sizes, self.count, replacement=True, generator=generator).tolist()
        crops, corners = zip(*(self._crop(self._pool[self._first + pick], generator) for pick in picks), strict=True)
        return self._collate(crops, corners, generator, self._symmetry(generator))

    def close(self) -> None:
        """Stop the background thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    # -- blocks ------------------------------------------------------------------------------------------------

    def _plan_pool(self, memory_bytes: float) -> int:
        """How many blocks are in memory at a time."""
        if not self.streamed:
            return len(self.images)
        channels = self.scenes[0].noisy.size_of("C")
        copies = 9 if self.scenes[0].target is not None else 5
        block_bytes = int(np.prod(BLOCK[self.dims])) * channels * copies
        return max(4, int(memory_bytes // (2 * block_bytes)))

    def _place(self, number: int) -> Place:
        """Where block `number` lies: the n-th image whole, or a random place of a random image."""
        if not self.streamed:
            scene, image = self.images[number]
            return Place(scene, image, whole(self.scenes[scene].size))
        generator = np.random.default_rng((self.seed, number))
        scene, image = self.images[generator.integers(len(self.images))]
        size = self.scenes[scene].size
        block = [min(b, n) for b, n in zip(BLOCK[self.dims], size, strict=True)]
        corner = [int(generator.integers(n - b + 1)) for b, n in zip(block, size, strict=True)]
        return Place(scene, image, tuple(slice(c, c + b) for c, b in zip(corner, block, strict=True)))

    def _load(self, number: int) -> Pixels:
        return self._read(self._place(number))

    def _read(self, place: Place) -> Pixels:
        scene = self.scenes[place.scene]
        parts = dict(zip(scene.layout.spatial, place.spatial, strict=True))
        region = tuple(parts.get(axis, part) for axis, part in zip(scene.noisy.axes, place.image, strict=True))
        return replace(load(scene, region), corner=tuple(part.start for part in place.spatial))

    def _fill_pool(self, step: int) -> None:
        """Bring the blocks of a step into memory; the next ones are read in the background."""
        first = step // STEPS_PER_BLOCK if self.streamed else 0
        if first == self._first:
            return
        wanted = range(first, first + self._pool_size)
        self._pool = {number: block for number, block in self._pool.items() if number in wanted}
        for number in wanted:
            if number not in self._pool:
                future = self._pending.pop(number, None)
                self._pool[number] = future.result() if future else self._load(number)
                self._withhold(number)
                self._count(self._pool[number].pixel_counts)
        if self._thread is not None:
            for number in range(wanted.stop, wanted.stop + 2):
                if number not in self._pending:
                    self._pending[number] = self._thread.submit(self._load, number)
        self._first = first
        self._sizes = torch.tensor([float(self._pool[number].valid.size) for number in wanted])

    def _count(self, pixel_counts: PixelCounts) -> None:
        self.pixel_counts.pixels += pixel_counts.pixels
        self.pixel_counts.not_finite += pixel_counts.not_finite
        self.pixel_counts.saturated += pixel_counts.saturated

    # -- patches -----------------------------------------------------------------------------------------------

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(hash((self.seed, number)) & 0x7FFFFFFFFFFFFFFF)

    def _crop(self, block: Pixels, generator: torch.Generator) -> tuple[Pixels, tuple[int, ...]]:
        """A random patch of a block, and its corner in the whole image."""
        region = [slice(None)]
        for size, patch in zip(block.valid.shape[1:], self.patch, strict=True):
            start = int(torch.randint(size - patch + 1, (), generator=generator))
            region.append(slice(start, start + patch))
        cut = tuple(region)
        target = None if block.target is None else block.target[cut]
        corner = tuple(first + part.start for first, part in zip(block.corner, cut[1:], strict=True))
        return Pixels(block.noisy[cut], block.valid[cut], target), corner

    def _collate(
        self, crops: Sequence[Pixels], corners: Sequence[tuple[int, ...]], generator: torch.Generator,
        axes: tuple[list[int], list[int]] = ([], []),
    ) -> Patches:  # fmt: skip
        flips, order = axes

        def stack(arrays: list[Array]) -> Tensor:
            batch = torch.from_numpy(np.stack(arrays)).flip(flips) if flips else torch.from_numpy(np.stack(arrays))
            return (batch.permute(order) if order else batch).contiguous().to(self.device, non_blocking=True)

        targets = [crop.target for crop in crops if crop.target is not None]
        return Patches(
            stack([crop.noisy for crop in crops]),
            stack([crop.valid for crop in crops]),
            stack(targets) if targets else None,
            generator,
            stack([np.indices(self.patch) + np.reshape(corner, (-1, *[1] * self.dims)) for corner in corners]),
            self.background,
        )

    def _symmetry(self, generator: torch.Generator) -> tuple[list[int], list[int]]:
        """A random mirroring of the spatial axes, and a swap of Y and X, where allowed (and the patch is square)."""
        coins = torch.randint(2, (self.dims + 1,), generator=generator).tolist()
        letters = self.scenes[0].layout.spatial
        flips = [
            2 + axis for axis in range(self.dims) if coins[axis] and letters[axis] not in self.symmetry.no_flip_axes
        ]
        order = list(range(2 + self.dims))
        if coins[-1] and self.symmetry.swap_yx and self.patch[-1] == self.patch[-2]:
            order[-1], order[-2] = order[-2], order[-1]
        return flips, order

    # -- what is known before the first step ----------------------------------------------------------------------

    def _statistics(self) -> tuple[Statistics, Statistics]:
        blocks = list(self._pool.values())
        noisy = moments([(block.noisy, block.valid) for block in blocks])
        names = ", ".join(sorted({scene.noisy.name for scene in self.scenes}))
        if not any(std > 0 for std in noisy.std):
            raise UserError(f"{names}: the image is constant or has no usable pixel; there is nothing to learn from")
        if not all(std == 0 or COMPUTABLE[0] < std < COMPUTABLE[1] for std in noisy.std):
            raise UserError(f"{names}: pixel values around {max(noisy.std):.0e} leave float32; rescale the image")
        pairs = [(block.target, block.valid) for block in blocks if block.target is not None]
        noisy = replace(noisy, std=tuple(std or 1.0 for std in noisy.std))
        if not pairs:
            return noisy, noisy
        target = moments(pairs)
        return noisy, replace(target, std=tuple(std or 1.0 for std in target.std))

    def _hold_out(self) -> Patches:
        """Fixed patches with fixed pixels that never teach: where they are predicted tells when to stop."""
        generator = self._generator(0)
        rng = np.random.default_rng((self.seed, 0))
        crops = []
        total = sum(int(np.prod(self.scenes[scene].size)) for scene, _ in self.images)
        for _ in range(max(HELD_OUT_PATCHES, min(HELD_OUT_PIXELS, total) // int(np.prod(self.patch)))):
            place = self._random_place(rng)
            pixels = self._read(place)
            mask = np.asarray(rng.random(pixels.valid.shape) < HELD_OUT_FRACTION)
            crops.append(replace(pixels, valid=pixels.valid & mask))
            self._held.append((place, mask))
        for number in self._pool:
            self._withhold(number)
        corners = [tuple(part.start for part in place.spatial) for place, _ in self._held]
        return self._collate(crops, corners, generator)

    def _withhold(self, number: int) -> None:
        for held, mask in self._held:
            withhold(self._pool[number].valid, self._place(number), held, mask)

    def _random_place(self, rng: np.random.Generator) -> Place:
        sizes = np.array([np.prod(self.scenes[scene].size, dtype=float) for scene, _ in self.images])
        scene, image = self.images[rng.choice(len(sizes), p=sizes / sizes.sum())]
        corner = [int(rng.integers(n - p + 1)) for n, p in zip(self.scenes[scene].size, self.patch, strict=True)]
        return Place(scene, image, tuple(slice(c, c + p) for c, p in zip(corner, self.patch, strict=True)))


def withhold(valid: Array, place: Place, held: Place, mask: Array) -> None:
    """Set usable (C, *block at `place`) to False where the mask of a held-out patch is True."""
    if (place.scene, place.image) != (held.scene, held.image):
        return
    inner, outer = [slice(None)], [slice(None)]
    for block, patch in zip(place.spatial, held.spatial, strict=True):
        start, stop = max(block.start, patch.start), min(block.stop, patch.stop)
        if start >= stop:
            return
        inner.append(slice(start - block.start, stop - block.start))
        outer.append(slice(start - patch.start, stop - patch.start))
    valid[tuple(inner)] &= ~mask[tuple(outer)]


def moments(pieces: Sequence[tuple[Array, Array]]) -> Statistics:
    """Mean and standard deviation a channel over the pixels that a mask selects, in float64."""
    channels = range(len(pieces[0][0]))

    def values(channel: int) -> Iterator[Array]:
        return (image[channel][valid[channel]] for image, valid in pieces)

    counts = [max(1, sum(v.size for v in values(c))) for c in channels]
    means = [sum(v.sum(dtype=np.float64) for v in values(c)) / counts[c] for c in channels]
    squares = [sum(np.square(v - means[c], dtype=np.float64).sum() for v in values(c)) for c in channels]
    return Statistics(
        tuple(float(m) for m in means),
        tuple(float(np.sqrt(s / n)) for s, n in zip(squares, counts, strict=True)),
    )
