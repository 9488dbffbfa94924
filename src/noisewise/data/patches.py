"""Training patches, from images in memory or from a pool of blocks that a background thread refills.

All random numbers are a function of the seed and the step, so that a resumed training equals an uninterrupted one.
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
from noisewise.data.images import PixelCounts, Pixels, TrainingImage, bands, load, nbytes
from noisewise.errors import UserError

BLOCK = {2: (512, 512), 3: (32, 256, 256)}  # size of streamed blocks, pixels
STEPS_PER_BLOCK = 4  # steps after which the oldest block of a streamed pool is replaced
COMPUTABLE = (1e-30, 1e30)  # standard deviations that float32 can compute with
HELD_OUT_PATCHES = 16  # smallest number of patches with held-out pixels
HELD_OUT_PIXELS = 1 << 16  # pixels of these patches, if the images have that many
HELD_OUT_FRACTION = 0.03  # fraction of their pixels that is held out
ALL_SYMMETRIES = Symmetry()


@dataclass(frozen=True)
class Patches:
    """N patches (N, C, *patch) in image units, with the mask of valid pixels and a generator for further randomness.

    coordinates: (N, dims, *patch), of each pixel in the whole image. background: of each channel of all images.
    """

    noisy: Tensor
    valid: Tensor
    target: Tensor | None
    generator: torch.Generator
    coordinates: Tensor
    background: tuple[Background | None, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel over valid pixels, in image units."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Place:
    """Position of a block: index of the training image, region of the single image, spatial region in it."""

    index: int
    image: Region
    spatial: Region


class PatchSource:
    """Training patches from images, held in memory as a whole if they fit, otherwise streamed block by block.

    patch: spatial size; reduced to the smallest image. count: patches in a batch. memory_bytes: limit for the blocks.
    symmetry: flips and rotations that are applied at random.
    Errors: `UserError` if there is no training signal (no valid pixel, constant images).
    """

    def __init__(
        self, training_images: Sequence[TrainingImage], patch: Sequence[int], count: int, *, seed: int,
        memory_bytes: float, device: torch.device, symmetry: Symmetry = ALL_SYMMETRIES,
    ) -> None:  # fmt: skip
        self.symmetry = symmetry
        self.training_images, self.count, self.seed, self.device = list(training_images), count, seed, device
        self.dims = len(self.training_images[0].layout.spatial)
        self.patch = tuple(min(p, *(image.size[a] for image in training_images)) for a, p in enumerate(patch))
        self.single_images = [(i, region) for i, image in enumerate(self.training_images) for region in image.images()]
        self.streamed = sum(nbytes(image) for image in self.training_images) > memory_bytes
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
        """Random patches for a step, flipped and rotated at random (the same way within a batch)."""
        generator = self._generator(step + 1)
        self._fill_pool(step)
        picks = torch.multinomial(self._sizes, self.count, replacement=True, generator=generator).tolist()
        crops, corners = zip(*(self._crop(self._pool[self._first + pick], generator) for pick in picks), strict=True)
        return self._collate(crops, corners, generator, self._symmetry(generator))

    def close(self) -> None:
        """Stop the background thread and release the images."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._pool.clear()
        self._pending.clear()
        self._first = -1  # they are read again if another step is drawn

    # -- blocks ------------------------------------------------------------------------------------------------

    def _plan_pool(self, memory_bytes: float) -> int:
        """Number of blocks in memory at a time."""
        if not self.streamed:
            return len(self.single_images)
        channels = self.training_images[0].noisy.size_of("C")
        bytes_per_pixel = 9 if self.training_images[0].target is not None else 5
        block_bytes = int(np.prod(BLOCK[self.dims])) * channels * bytes_per_pixel
        return max(4, int(memory_bytes // (2 * block_bytes)))

    def _place(self, number: int) -> Place:
        """Position of block `number`: the whole single image of this number, or a random position if streamed."""
        if not self.streamed:
            index, image = self.single_images[number]
            return Place(index, image, whole(self.training_images[index].size))
        rng = np.random.default_rng((self.seed, number))
        index, image = self.single_images[rng.integers(len(self.single_images))]
        size = self.training_images[index].size
        block = [min(b, n) for b, n in zip(BLOCK[self.dims], size, strict=True)]
        return Place(index, image, random_region(size, block, rng))

    def _load(self, number: int) -> Pixels:
        return self._read(self._place(number))

    def _read(self, place: Place) -> Pixels:
        image = self.training_images[place.index]
        parts = dict(zip(image.layout.spatial, place.spatial, strict=True))
        region = tuple(parts.get(axis, part) for axis, part in zip(image.noisy.axes, place.image, strict=True))
        return replace(load(image, region), corner=tuple(part.start for part in place.spatial))

    def _fill_pool(self, step: int) -> None:
        """Load the blocks of a step; the next ones are read in the background."""
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
        """Generator of the patches of a step, seeded by NumPy's `SeedSequence`."""
        (state,) = np.random.SeedSequence(self.seed, spawn_key=(number,)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state))

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
            batch = torch.from_numpy(np.stack(arrays))
            batch = batch.flip(flips) if flips else batch
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
        """Random flips of the spatial axes, and a swap of Y and X, where allowed (and the patch is square)."""
        bits = torch.randint(2, (self.dims + 1,), generator=generator).tolist()
        letters = self.training_images[0].layout.spatial
        flips = [
            2 + axis for axis in range(self.dims) if bits[axis] and letters[axis] not in self.symmetry.no_flip_axes
        ]
        order = list(range(2 + self.dims))
        if bits[-1] and self.symmetry.swap_yx and self.patch[-1] == self.patch[-2]:
            order[-1], order[-2] = order[-2], order[-1]
        return flips, order

    # -- statistics and held-out pixels, before the first step -----------------------------------------------------

    def _statistics(self) -> tuple[Statistics, Statistics]:
        blocks = list(self._pool.values())
        noisy = moments([(block.noisy, block.valid) for block in blocks])
        names = ", ".join(sorted({image.noisy.name for image in self.training_images}))
        if not any(std > 0 for std in noisy.std):
            raise UserError(
                f"{names}: the image is constant or has no valid pixel (all are NaN, infinite or saturated); there is "
                "nothing to learn from: give another image"
            )
        if not all(std == 0 or COMPUTABLE[0] < std < COMPUTABLE[1] for std in noisy.std):
            raise UserError(
                f"{names}: pixel values around {max(noisy.std):.0e} are too small or too large for 32-bit floats; "
                "rescale the image"
            )
        pairs = [(block.target, block.valid) for block in blocks if block.target is not None]
        noisy = of_light(noisy)
        return noisy, of_light(moments(pairs)) if pairs else noisy

    def _hold_out(self) -> Patches:
        """Fixed patches with fixed pixels that are excluded from training, for the validation loss."""
        generator = self._generator(0)
        rng = np.random.default_rng((self.seed, 0))
        crops = []
        total = sum(int(np.prod(self.training_images[index].size)) for index, _ in self.single_images)
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
        sizes = np.array([np.prod(self.training_images[index].size, dtype=float) for index, _ in self.single_images])
        index, image = self.single_images[rng.choice(len(sizes), p=sizes / sizes.sum())]
        return Place(index, image, random_region(self.training_images[index].size, self.patch, rng))


def random_region(size: Sequence[int], part: Sequence[int], rng: np.random.Generator) -> Region:
    """A region of size `part` at a random position inside `size`."""
    corner = [int(rng.integers(n - p + 1)) for n, p in zip(size, part, strict=True)]
    return tuple(slice(c, c + p) for c, p in zip(corner, part, strict=True))


def withhold(valid: Array, place: Place, held: Place, mask: Array) -> None:
    """Set the mask `valid` (C, *block at `place`) to False where the mask of a held-out patch is True."""
    if (place.index, place.image) != (held.index, held.image):
        return
    inner, outer = [slice(None)], [slice(None)]
    for block, patch in zip(place.spatial, held.spatial, strict=True):
        start, stop = max(block.start, patch.start), min(block.stop, patch.stop)
        if start >= stop:
            return
        inner.append(slice(start - block.start, stop - block.start))
        outer.append(slice(start - patch.start, stop - patch.start))
    valid[tuple(inner)] &= ~mask[tuple(outer)]


def of_light(found: Statistics) -> Statistics:
    """Statistics in which channels without any variation, which hold no light, are like the first that has some."""
    first = next((c for c, std in enumerate(found.std) if std), 0)
    alike = [c if std else first for c, std in enumerate(found.std)]
    return Statistics(tuple(found.mean[c] for c in alike), tuple(found.std[c] or 1.0 for c in alike))


def moments(pieces: Sequence[tuple[Array, Array]]) -> Statistics:
    """Mean and standard deviation of each channel over the pixels in a mask, computed in float64, band by band."""
    channels = range(len(pieces[0][0]))

    def values(channel: int) -> Iterator[Array]:
        for image, valid in pieces:
            for rows in bands(image.shape, most=image.shape[1]):
                yield image[channel, rows][valid[channel, rows]]

    means, stds = [], []
    for channel in channels:
        count = max(1, sum(v.size for v in values(channel)))
        mean = np.float64(sum(v.sum(dtype=np.float64) for v in values(channel)) / count)
        squares = sum(np.square(deviation, out=deviation).sum() for deviation in (v - mean for v in values(channel)))
        means.append(float(mean))
        stds.append(float(np.sqrt(squares / count)))
    return Statistics(tuple(means), tuple(stds))
