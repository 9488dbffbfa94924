"""Apply a trained network to an image of any size, tile by tile, with the same result as for the whole image."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from copy import copy
from functools import cached_property, partial
from itertools import groupby, islice
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from noisewise import threads
from noisewise.axes import Array, Layout, Region, region_shape
from noisewise.data.images import fill
from noisewise.errors import UserError
from noisewise.io.base import Sink, Source
from noisewise.io.light import as_recorded, read_single, with_fill
from noisewise.io.scan_lines import aligned, line_stride
from noisewise.methods.base import Denoiser, Method
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.planes import EVERY, REACH, PlanesUNet
from noisewise.nets.unet import crop, pad_to_multiple
from noisewise.posterior import Normal, Point, Posterior
from noisewise.predict.flips import Transform, flips_and_rotations
from noisewise.predict.fold import fold_batch_norm
from noisewise.predict.mean import MeanCorrection, keep_mean
from noisewise.predict.memory import free_bytes
from noisewise.predict.outputs import Outputs, Placing, Samples, as_finite, seed_of_frame
from noisewise.predict.plan import Tile, plan_tiles, tile_within
from noisewise.predict.receptive_field import bytes_per_pixel, receptive_radius

LARGEST_TILE = 1 << 20  # pixels: larger ones are not faster, and update the progress less often; but
MANY_HALOS = 12  # halos are up to its side, so that at most a third of what is computed is halo
MEMORY_FRACTION = 0.5  # of the free memory
TILE_BYTES = 64  # of each pixel beside the network: as read, filled and padded, its coordinates, the results
SAMPLED_TOGETHER = 1 << 20  # pixels of all samples that are drawn together
T = TypeVar("T")
Estimates = tuple[Array, Array | None]  # mean, and standard deviation if there is one


class Predictor:
    """Applies a method's network to images tile by tile; the result does not depend on the tile.

    tile: pixels along each spatial axis, or None for what fits into memory. average: test-time augmentation, the mean
    over the 8 flips and rotations of YX (fewer where the method's symmetry forbids some). sampling: whether samples
    will be requested.
    """

    def __init__(
        self, method: Method, net: Denoiser, *, tile: Sequence[int] | None = None, average: bool = False,
        sampling: bool = False,
    ) -> None:  # fmt: skip
        self.method, self.net, self.tile, self.average = method, fold_batch_norm(net), tile, average
        self.device = net.mean.device
        self.correction = MeanCorrection.none(net)
        self.latest: tuple[Array, Posterior[Tensor]] | None = None
        self.pixels = float(LARGEST_TILE)  # that are denoised at once
        self.workers = threads.available() if self.device.type == "cpu" else 1
        passes = method.traits.sampling_passes
        sampled = [(self.net.sampled, passes)] if sampling or method.traits.mean_from_samples else []
        self.parts = [(self.net.backbone, 1), *sampled]

    @cached_property
    def bytes_per_pixel(self) -> float:
        """Memory that the network needs; measured when the first image is read."""
        return max(bytes_per_pixel(self.net, part) for part, _ in self.parts)

    def _most_pixels(self, size: Sequence[int]) -> float:
        """The most pixels of an image of this size that are read and denoised at once."""
        planes = min(size[0], 2 * REACH + 1) if self._by_plane else 1  # of which one is computed at a time
        needed = self.bytes_per_pixel / planes + TILE_BYTES + 4 * self.net.width
        fitting = MEMORY_FRACTION * free_bytes(self.device) / (needed * self._channels * self.workers)
        largest = planes * LARGEST_TILE
        if prod(size) > largest:
            largest = max(
                largest, planes * prod(min(n, MANY_HALOS * h) for n, h in list(zip(size, self.halo, strict=True))[-2:])
            )
        return max(prod(self.net.stride), min(fitting, largest))

    @cached_property
    def halo(self) -> tuple[int, ...]:
        """Pixels around a tile that affect its result; measured when the first image needs tiles."""
        of_method = self.method.traits.halo(self.net.noise, self.net.dims)
        radii = [[passes * radius for radius in receptive_radius(self.net, part)] for part, passes in self.parts]
        return tuple(max(radius) + more for *radius, more in zip(*radii, of_method, strict=True))

    @property
    def _channels(self) -> int:
        return len(self.net.mean)

    def predict_to(
        self, source: Source, layout: Layout, outputs: Outputs, report: Callable[[float], None] = lambda _: None
    ) -> None:
        """Denoise a source and write the results into sinks; `report` receives the fraction done.

        Pixels that are not finite are kept in mean and samples, and are NaN in the standard deviation. The mean over
        the image is that of the noisy image, for each channel: what the network changes is put right.

        Errors: `UserError` if memory is too small for the smallest tile, or the method gives no standard deviation.
        """
        if outputs.std is not None and not self.method.traits.std:
            raise UserError("this method gives the mean alone, without a standard deviation; leave out std")
        if self.method.traits.changes_nothing:
            source = as_recorded(source)
        elif self.method.traits.needs == "noisy":
            source = aligned(source)
            outputs = outputs.put_back(source)
        size = tuple(source.size_of(axis) for axis in layout.spatial)
        images = list(layout.images(source.shape))
        self.pixels = self._most_pixels(size)
        self.correction = self._surviving(lambda: self._keep_mean(source, layout))
        done, queue = 0, iter(images)
        while batch := list(islice(queue, max(1, int(self.pixels // prod(size))))):

            def predict(batch: list[Region] = batch, done: int = done) -> None:
                for fraction in self._images(source, layout, outputs, batch, size):
                    report((done + fraction * len(batch)) / len(images))

            self._surviving(predict)
            done += len(batch)

    def _surviving(self, work: Callable[[], T]) -> T:
        """Do some work, with smaller and smaller tiles if memory runs out."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                self._shrink(error)

    def _keep_mean(self, source: Source, layout: Layout) -> MeanCorrection:
        def denoise(raw: Array) -> Array:
            found = self.posterior(self._filled(raw)[0], transforms=1)
            if not self.average:
                self.latest = raw, found
            return as_finite(found.mean)

        return keep_mean(
            self.method, self.net, source, layout, together=self.workers, most=self.pixels, denoise=denoise
        )

    def _images(
        self, source: Source, layout: Layout, outputs: Outputs, batch: list[Region], size: tuple[int, ...]
    ) -> Iterator[float]:  # fmt: skip
        """Denoise single images of one size; yields the fraction done."""
        tiles = self._tiles(size, self.pixels / len(batch), line_stride(source, self.net.stride))

        light = partial(read_single, source, layout)
        read = ((part, np.stack([light(image, part.read) for image in batch])) for part in tiles)
        streams = [layout.frame(image, source.shape) for image in batch]
        for count, (part, results) in enumerate(self._results(read, len(tiles), outputs, streams), 1):
            regions = [layout.within(image, part.write) for image in batch]
            shape = region_shape(regions[0])
            for written, (sink, place, estimates) in enumerate(results):
                for image, region, estimate in zip(batch, map(place, regions), estimates, strict=True):
                    pixels = layout.from_network(estimate[None], shape)
                    if sink is not outputs.std:
                        pixels = with_fill(source, layout.within(image, part.write), pixels)
                    sink.write(region, pixels.reshape(region_shape(region)))
                yield (count - 1 + min(1.0, written / outputs.count)) / len(tiles)
            yield count / len(tiles)

    def _tiles(self, size: tuple[int, ...], pixels: float, stride: tuple[int, ...]) -> list[Tile]:
        """The whole image as one tile if it fits, otherwise the largest tiles that fit."""
        if self.tile is None and prod(size) <= pixels:
            return list(plan_tiles(size, size, (0,) * len(size), self.net.stride))
        tile = self.tile or tile_within(pixels, size, self.halo, stride, int(self._by_plane))
        return list(plan_tiles(size, tile, self.halo, stride))

    def _results(
        self, read: Iterator[tuple[Tile, Array]], count: int, outputs: Outputs, frames: Sequence[int]
    ) -> Iterator[tuple[Tile, Iterator[tuple[Sink, Placing, Array]]]]:
        """For each tile and its (N, C, *read) pixels, results (N, C, *write), with their sink and region there.

        Several tiles are computed side by side, unless the flips and rotations of one are, or samples are drawn.
        frames: of the images, whose samples are independent.
        """
        if count == 1 or self.average or self.workers == 1 or outputs.samples is not None:
            for tile, raw in read:
                yield tile, self._tile_results(tile, raw, outputs, frames)
            return
        pending: deque[tuple[Tile, Future[Estimates]]] = deque()
        with threads.pool(self.workers) as pool:
            for tile, raw in read:
                pending.append((tile, pool.submit(self._estimate, raw, tile)))
                if len(pending) == self.workers:
                    first, estimates = pending.popleft()
                    yield first, to_sinks(outputs, estimates.result())
            for tile, estimates in pending:
                yield tile, to_sinks(outputs, estimates.result())

    def _tile_results(
        self, tile: Tile, raw: Array, outputs: Outputs, frames: Sequence[int]
    ) -> Iterator[tuple[Sink, Placing, Array]]:
        if outputs.mean is not None or outputs.std is not None:
            yield from to_sinks(outputs, self._estimate(raw, tile))
        if outputs.samples is not None:
            for number, sample in enumerate(self._draw(raw, tile, outputs.samples, frames)):
                yield outputs.samples.sink, partial(outputs.samples.place, number=number), sample

    def _estimate(self, raw: Array, tile: Tile) -> Estimates:
        """(N, C, *read) pixels as read -> (N, C, *write) means, and standard deviations if the method gives them."""
        noisy, finite = self._filled(raw)
        origin = [part.start for part in tile.read]
        posterior = self._known(raw, origin) or self.posterior(noisy, origin, planes=tile.keep[0])
        kept = (slice(None), slice(None), *tile.keep)
        mean = np.where(finite, self.correction.mean(as_finite(posterior.mean)), raw)[kept]
        if posterior.std is None:
            return mean, None
        return mean, np.where(finite, as_finite(posterior.std) * self.correction.factor, np.nan)[kept]

    def _known(self, raw: Array, origin: Sequence[int]) -> Posterior[Tensor] | None:
        """The posterior of pixels that were denoised a moment ago: of a whole image, to keep its mean."""
        if self.latest is None or any(origin) or not np.array_equal(raw, self.latest[0], equal_nan=True):
            return None
        return self.latest[1]

    def _draw(self, raw: Array, tile: Tile, samples: Samples, frames: Sequence[int]) -> Iterator[Array]:
        """(N, C, *read) pixels as read -> (N, C, *write) for each sample."""
        noisy, finite = self._filled(raw)
        origin, draws = [part.start for part in tile.read], []
        for frame, part in groupby(zip(frames, noisy, strict=True), key=lambda pair: pair[0]):
            images = torch.stack([image for _, image in part])
            draws.append(self.sampler(images, origin, seed_of_frame(samples.seed, frame)))
        together = max(1, min(SAMPLED_TOGETHER, int(self.pixels)) // noisy.numel())
        for start in range(0, len(samples.numbers), together):
            numbers = samples.numbers[start : start + together]
            for sample in as_finite(torch.cat([draw(numbers) for draw in draws], 1)):
                yield np.where(finite, self.correction.mean(sample), raw)[(slice(None), slice(None), *tile.keep)]

    def _filled(self, raw: Array) -> tuple[Tensor, Array]:
        """Replace pixels that are not finite; also returns the mask of the finite ones."""
        noisy, finite = fill(raw.reshape(-1, *raw.shape[2:]))
        return torch.from_numpy(noisy.reshape(raw.shape)).to(self.device), finite.reshape(raw.shape)

    def sampler(self, noisy: Tensor, origin: Sequence[int] = (), seed: int = 0) -> Callable[[Sequence[int]], Tensor]:
        """Samples of p(s|x) for images (N, C, *spatial): numbers -> (len(numbers), N, C, *spatial)."""
        size, std_scale = noisy.shape[2:], self.net.std_scale
        padded, where = self._padded(noisy, origin)
        with torch.inference_mode():
            draw = self.method.sampler(self.net, padded, where, seed)
            mean = (
                self.method.posterior(self.net, padded, where).mean if (std_scale != 1).any() else padded.new_zeros(())
            )

        def cropped(numbers: Sequence[int]) -> Tensor:
            with torch.inference_mode():
                samples = mean + std_scale * (draw(numbers) - mean)
                return crop(samples.flatten(0, 1), size).reshape(*samples.shape[:3], *size)

        return cropped

    def _padded(self, noisy: Tensor, origin: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images padded to a multiple of the pooling factor, and their coordinates."""
        # A replicated border pixel keeps its coordinates, so that it has the same blind spot and noise model.
        where = pad_to_multiple(grid_coordinates(noisy, origin).double(), self.net.stride).long()
        return pad_to_multiple(noisy, self.net.stride), where

    def posterior(
        self, noisy: Tensor, origin: Sequence[int] = (), transforms: int | None = None, planes: slice = EVERY
    ) -> Posterior[Tensor]:  # fmt: skip
        """p(s|x) for images (N, C, *spatial), image units, averaged over flips and rotations if `average` is set.

        origin: coordinates of the first pixel. transforms: how many flips and rotations at most. planes: those needed
        of stacks. The variance of an average is the mean of the variances.
        """
        size = noisy.shape[2:]
        # Padded before it is transformed, so that the pooling grid does not move.
        noisy, where = self._padded(noisy, origin)
        chosen = self._transforms()[:transforms]
        parts = 1 if len(chosen) > 1 else min(len(noisy), self.workers)
        net = self._computing(planes)

        def estimate(work: tuple[Tensor, tuple[Transform, Transform]]) -> tuple[Tensor, Tensor | None]:
            part, (transform, undo) = work
            with torch.inference_mode():
                found = self.method.posterior(net, transform(part), transform(where))
                return crop(undo(found.mean), size), None if found.std is None else crop(undo(found.std), size) ** 2

        work = [(part, transform) for part in noisy.tensor_split(parts) for transform in chosen]
        estimates = threads.in_parallel(estimate, work) if self.workers > 1 else list(map(estimate, work))
        with torch.inference_mode():
            means, variances = zip(*estimates, strict=True)
            mean = combined(means, parts)
            if variances[0] is None:
                return Point(mean)
            return Normal(mean, combined(variances, parts).sqrt() * self.net.std_scale)

    @property
    def _by_plane(self) -> bool:
        """Whether the network computes planes of a stack one by one, of which it sees others too."""
        return self.net.dims == 3 and isinstance(self.net.backbone, PlanesUNet)

    def _computing(self, planes: slice) -> Denoiser:
        """The network, where only some planes are needed."""
        if not self._by_plane:
            return self.net
        net = copy(self.net)
        net._modules = net._modules | {"backbone": net.backbone.computing(planes)}  # type: ignore[operator]
        return net

    def mean(self, noisy: Tensor) -> Tensor:
        """E[s|x] of images (N, C, *spatial)."""
        return self.posterior(noisy).mean

    def _transforms(self) -> list[tuple[Transform, Transform]]:
        if not self.average:
            return [(unchanged, unchanged)]
        symmetry = self.method.traits.symmetry(self.net.noise, self.net.dims)
        swaps = (False, True) if symmetry.swap_yx else (False,)
        return list(flips_and_rotations(swaps, symmetry.no_flip_axes))

    def _shrink(self, error: Exception) -> None:
        """Use smaller tiles if memory ran out; raise any other error again."""
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "alloc" in str(error)
        if not out_of_memory:
            raise error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.tile, self.pixels = None, self.pixels / 4
        if self.pixels < prod(self.net.stride):
            raise UserError(
                "the memory is too small even for the smallest tile; close other programs or bin the image"
            ) from error


def to_sinks(outputs: Outputs, estimates: Estimates) -> Iterator[tuple[Sink, Placing, Array]]:
    """Mean and standard deviation, as far as they are there and wanted, with their sinks and regions there."""
    for sink, image in zip((outputs.mean, outputs.std), estimates, strict=True):
        if sink is not None and image is not None:
            yield sink, unchanged, image


def combined(images: Sequence[Tensor], parts: int) -> Tensor:
    """The mean over transformations, of which there is one for parts of a batch."""
    return torch.cat(list(images)) if parts > 1 else torch.stack(list(images)).mean(0)


def unchanged(x: T) -> T:
    """The identity."""
    return x
