"""Prediction: a trained network over an image of any size, tile by tile, exactly as if it were done whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array, Layout, Region, region_shape
from noisewise.data.scene import fill
from noisewise.errors import UserError
from noisewise.io.base import Sink, Source
from noisewise.methods.base import Method
from noisewise.nets.blind import grid_coordinates
from noisewise.nets.standardized import Standardized
from noisewise.nets.unet import crop, pad_to_multiple
from noisewise.posterior import Normal, Point, Posterior
from noisewise.predict.fold import folded
from noisewise.predict.memory import free_bytes
from noisewise.predict.plan import Tile, plan_tiles, tile_within
from noisewise.predict.reach import bytes_per_pixel, receptive_radius

LARGEST_TILE = 1 << 20  # pixels: larger ones only make progress jumpy
MEMORY_SHARE = 0.5
SAMPLED_AT_ONCE = 1 << 20  # pixels of all samples that are drawn together
NO_STD = "{} gives one answer without a standard deviation; use hdn, simulated or pn2v, or care with --uncertainty"
NO_SAMPLES = "{} gives one answer, not samples; use {}"
Turn = Callable[[Tensor], Tensor]
Placing = Callable[[Region], Region]


@dataclass(frozen=True)
class Samples:
    """Samples that are asked for: their numbers, the seed, and where in which sink a region of each goes."""

    numbers: Sequence[int]
    seed: int
    sink: Sink
    place: Callable[..., Region]


@dataclass(frozen=True)
class Wanted:
    """Where mean, standard deviation and samples go; None: not wanted."""

    mean: Sink | None = None
    std: Sink | None = None
    samples: Samples | None = None

    @property
    def count(self) -> int:
        """Images that are made of one."""
        samples = 0 if self.samples is None else len(self.samples.numbers)
        return (self.mean is not None) + (self.std is not None) + samples


class Predictor:
    """A method and its network, ready to be run over images.

    tile: pixels along each spatial axis, or None for what fits into memory. average: the mean over the 8 flips and
    turns of YX. sampling: whether samples will be asked for. The result does not depend on the tile.
    """

    def __init__(
        self, method: Method, net: Standardized, *, tile: Sequence[int] | None = None, average: bool = False,
        sampling: bool = False,
    ) -> None:  # fmt: skip
        self.method, self.net, self.tile, self.average = method, folded(net), tile, average
        self.device = net.mean.device
        self.parts = [
            (self.net.backbone, 1),
            *([method.sampled_by(self.net)] if sampling or method.made_of_samples else []),
        ]
        most = max(bytes_per_pixel(self.net, part) for part, _ in self.parts)
        room = MEMORY_SHARE * free_bytes(self.device) / (most * self._channels)
        # What goes through again and again has a halo beside which no such tile is large.
        again = any(times > 1 for _, times in self.parts)
        self.pixels = max(prod(net.stride), room if again else min(room, LARGEST_TILE))

    @cached_property
    def halo(self) -> tuple[int, ...]:
        """What a tile needs around it; measured when the first image needs tiles."""
        beyond = self.method.margin(tuple(self.net.laws), self.net.dims)  # type: ignore[arg-type]
        radii = [[times * radius for radius in receptive_radius(self.net, part)] for part, times in self.parts]
        return tuple(max(radius) + beyond for radius in zip(*radii, strict=True))

    @property
    def _channels(self) -> int:
        return len(self.net.mean)

    def run(
        self, source: Source, layout: Layout, sink: Sink | None, report: Callable[[float], None] = lambda _: None,
        std: Sink | None = None, samples: Samples | None = None,
    ) -> None:  # fmt: skip
        """Denoise a source into a sink; `report` gets the fraction done. Pixels that are not finite are kept.

        std: gets the standard deviation of each pixel, NaN for those that are not finite. samples: get whole images.

        Errors: `UserError` if memory does not suffice for the smallest tile, or the method knows no deviation.
        """
        if std is not None and not self.method.gives_std:
            raise UserError(NO_STD.format(type(self.method).__name__))
        wanted = Wanted(sink, std, samples)
        size = tuple(source.size_of(axis) for axis in layout.spatial)
        images = list(layout.images(source.shape))
        done, queue = 0, iter(images)
        while batch := list(islice(queue, max(1, int(self.pixels // prod(size))))):
            while True:
                try:
                    for fraction in self._images(source, layout, wanted, batch, size):
                        report((done + fraction * len(batch)) / len(images))
                    break
                except (RuntimeError, MemoryError) as error:
                    self._shrink(error)
            done += len(batch)

    def _images(
        self, source: Source, layout: Layout, wanted: Wanted, batch: list[Region], size: tuple[int, ...]
    ) -> Iterator[float]:  # fmt: skip
        """Denoise single images of one size; yields the fraction done."""
        tiles = self._tiles(size, self.pixels / len(batch))
        for count, part in enumerate(tiles, 1):
            raws = [source.read(within(layout, image, part.read)) for image in batch]
            raw = np.stack([layout.to_network(raw)[0] for raw in raws])
            regions = [within(layout, image, part.write) for image in batch]
            shape, results = region_shape(regions[0]), self._results(raw, part, wanted)
            for written, (sink, place, estimates) in enumerate(results):
                for region, estimate in zip(map(place, regions), estimates, strict=True):
                    pixels = layout.from_network(estimate[None], shape)
                    sink.write(region, pixels.reshape(region_shape(region)))
                yield (count - 1 + min(1.0, written / wanted.count)) / len(tiles)
            yield count / len(tiles)

    def _tiles(self, size: tuple[int, ...], pixels: float) -> list[Tile]:
        """The image as one tile if it fits, else the largest tiles that do."""
        if self.tile is None and prod(size) <= pixels:
            return list(plan_tiles(size, size, (0,) * len(size), self.net.stride))
        tile = self.tile or tile_within(pixels, size, self.halo, self.net.stride)
        return list(plan_tiles(size, tile, self.halo, self.net.stride))

    def _results(self, raw: Array, tile: Tile, wanted: Wanted) -> Iterator[tuple[Sink, Placing, Array]]:
        """All that becomes of (N, C, *read) pixels: each (N, C, *write), with its sink and where it goes in it."""
        if wanted.mean is not None or wanted.std is not None:
            for sink, estimates in zip((wanted.mean, wanted.std), self._estimate(raw, tile), strict=True):
                if sink is not None and estimates is not None:
                    yield sink, in_place, estimates
        if wanted.samples is not None:
            for number, drawn in enumerate(self._draw(raw, tile, wanted.samples)):
                yield wanted.samples.sink, partial(wanted.samples.place, number=number), drawn

    def _estimate(self, raw: Array, tile: Tile) -> tuple[Array, Array | None]:
        """(N, C, *read) pixels as read -> (N, C, *write) means and, if the method knows them, standard deviations."""
        noisy, finite = self._filled(raw)
        origin = [part.start for part in tile.read]
        posterior = self.posterior(noisy, origin)
        kept = (slice(None), slice(None), *tile.keep)
        mean = np.where(finite, posterior.mean.cpu().numpy(), raw)[kept]
        if posterior.std is None:
            return mean, None
        return mean, np.where(finite, posterior.std.cpu().numpy(), np.nan)[kept]

    def _draw(self, raw: Array, tile: Tile, samples: Samples) -> Iterator[Array]:
        """(N, C, *read) pixels as read -> (N, C, *write) of one sample after the other."""
        noisy, finite = self._filled(raw)
        draw = self.sampler(noisy, [part.start for part in tile.read], samples.seed)
        together = max(1, SAMPLED_AT_ONCE // noisy.numel())
        for start in range(0, len(samples.numbers), together):
            for drawn in draw(samples.numbers[start : start + together]).cpu().numpy():
                yield np.where(finite, drawn, raw)[(slice(None), slice(None), *tile.keep)]

    def _filled(self, raw: Array) -> tuple[Tensor, Array]:
        """Pixels with something in place of those that are not finite, and which ones are."""
        noisy, finite = fill(raw.reshape(-1, *raw.shape[2:]))
        return torch.from_numpy(noisy.reshape(raw.shape)).to(self.device), finite.reshape(raw.shape)

    def sampler(self, noisy: Tensor, origin: Sequence[int] = (), seed: int = 0) -> Callable[[Sequence[int]], Tensor]:
        """Draws of p(s|x) of images (N, C, *spatial): numbers -> (len(numbers), N, C, *spatial)."""
        size, spread = noisy.shape[2:], self.net.spread
        padded, where = self._padded(noisy, origin)
        with torch.inference_mode():
            draw = self.method.sampler(self.net, padded, where, seed)
            middle = (
                self.method.posterior(self.net, padded, where).mean if (spread != 1).any() else padded.new_zeros(())
            )

        def cropped(numbers: Sequence[int]) -> Tensor:
            with torch.inference_mode():
                drawn = middle + spread * (draw(numbers) - middle)
                return crop(drawn.flatten(0, 1), size).reshape(*drawn.shape[:3], *size)

        return cropped

    def _padded(self, noisy: Tensor, origin: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images as large as the pooling wants them, and their coordinates."""
        # What repeats a pixel of the border has its coordinates too: it is hidden with it, and has its law.
        where = pad_to_multiple(grid_coordinates(noisy, origin).double(), self.net.stride).long()
        return pad_to_multiple(noisy, self.net.stride), where

    def posterior(self, noisy: Tensor, origin: Sequence[int] = ()) -> Posterior[Tensor]:
        """p(s|x) of images (N, C, *spatial), averaged over flips and turns if asked for.

        origin: coordinates of the first pixel. Of an average, the variance is the mean of the variances.
        """
        size = noisy.shape[2:]
        # Padded before it is turned, so that the pooling grid stays where it was.
        noisy, where = self._padded(noisy, origin)
        means, variances = [], []
        with torch.inference_mode():
            for turn, undo in self._turns():
                found = self.method.posterior(self.net, turn(noisy), turn(where))
                means.append(crop(undo(found.mean), size))
                if found.std is not None:
                    variances.append(crop(undo(found.std), size) ** 2)
            mean = torch.stack(means).mean(0)
            if not variances:
                return Point(mean)
            return Normal(mean, torch.stack(variances).mean(0).sqrt() * self.net.spread)

    def mean(self, noisy: Tensor) -> Tensor:
        """E[s|x] of images (N, C, *spatial)."""
        return self.posterior(noisy).mean

    def _turns(self) -> list[tuple[Turn, Turn]]:
        if not self.average:
            return [(unturned, unturned)]
        laws: Any = tuple(self.net.laws)
        swaps = (False,) if self.method.directional(laws, self.net.dims) else (False, True)
        return list(turns(swaps, self.method.one_way(laws)))

    def _shrink(self, error: Exception) -> None:
        """Smaller tiles after memory ran out; any other error goes on."""
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "alloc" in str(error)
        if not out_of_memory:
            raise error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.tile, self.pixels = None, self.pixels / 4
        if self.pixels < prod(self.net.stride):
            raise UserError(
                "memory ran out even with the smallest tile; close other programs or bin the image"
            ) from error


def within(layout: Layout, image: Region, spatial: Region) -> Region:
    """A spatial region of one single image, as a region of the source."""
    parts = dict(zip(layout.spatial, spatial, strict=True))
    return tuple(parts.get(axis, part) for axis, part in zip(layout.axes, image, strict=True))


def in_place(region: Region) -> Region:
    """Where it was."""
    return region


def unturned(x: Tensor) -> Tensor:
    """The image itself."""
    return x


def turns(swaps: Sequence[bool] = (False, True), one_way: str = "") -> Iterator[tuple[Turn, Turn]]:
    """The eight flips and quarter turns of YX, or those without swaps of Y and X, or without flips along some axes.

    Each with the one that undoes it.
    """
    kept = [axis for axis, letter in ((-2, "Y"), (-1, "X")) if letter in one_way]
    for swap in swaps:
        for flips in ([], [-1], [-2], [-1, -2]):
            if not set(flips).isdisjoint(kept):
                continue

            def turn(x: Tensor, flips: list[int] = flips, swap: bool = swap) -> Tensor:
                return (x.transpose(-1, -2) if swap else x).flip(flips).contiguous()

            def undo(y: Tensor, flips: list[int] = flips, swap: bool = swap) -> Tensor:
                y = y.flip(flips)
                return y.transpose(-1, -2) if swap else y

            yield turn, undo
