"""Prediction: a trained network over an image of any size, tile by tile, exactly as if it were done whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from math import prod

import numpy as np
import torch
from torch import Tensor

from noisewise.axes import Array, Layout, Region
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
NO_STD = "{} gives one answer without a standard deviation; use pn2v, or care with --uncertainty"
Turn = Callable[[Tensor], Tensor]


class Predictor:
    """A method and its network, ready to be run over images.

    tile: pixels along each spatial axis, or None for what fits into memory. average: the mean over the 8 flips and
    turns of YX. The result does not depend on the tile.
    """

    def __init__(
        self, method: Method, net: Standardized, *, tile: Sequence[int] | None = None, average: bool = False
    ) -> None:
        self.method, self.net, self.tile, self.average = method, folded(net), tile, average
        self.device = net.mean.device
        room = MEMORY_SHARE * free_bytes(self.device) / (bytes_per_pixel(net) * self._channels)
        self.pixels = max(prod(net.stride), min(room, LARGEST_TILE))

    @cached_property
    def halo(self) -> tuple[int, ...]:
        """What a tile needs around it; measured when the first image needs tiles."""
        beyond = self.method.margin(tuple(self.net.laws), self.net.dims)  # type: ignore[arg-type]
        return tuple(radius + beyond for radius in receptive_radius(self.net))

    @property
    def _channels(self) -> int:
        return len(self.net.mean)

    def run(
        self, source: Source, layout: Layout, sink: Sink, report: Callable[[float], None] = lambda _: None,
        std: Sink | None = None,
    ) -> None:  # fmt: skip
        """Denoise a source into a sink; `report` gets the fraction done. Pixels that are not finite are kept.

        std: gets the standard deviation of each pixel, NaN for those that are not finite.

        Errors: `UserError` if memory does not suffice for the smallest tile, or the method knows no deviation.
        """
        if std is not None and not self.method.gives_std:
            raise UserError(NO_STD.format(type(self.method).__name__))
        size = tuple(source.size_of(axis) for axis in layout.spatial)
        images = list(layout.images(source.shape))
        done, queue = 0, iter(images)
        while batch := list(islice(queue, max(1, int(self.pixels // prod(size))))):
            while True:
                try:
                    for fraction in self._images(source, layout, (sink, std), batch, size):
                        report((done + fraction * len(batch)) / len(images))
                    break
                except (RuntimeError, MemoryError) as error:
                    self._shrink(error)
            done += len(batch)

    def _images(
        self, source: Source, layout: Layout, sinks: tuple[Sink, Sink | None], batch: list[Region],
        size: tuple[int, ...],
    ) -> Iterator[float]:  # fmt: skip
        """Denoise single images of one size; yields the fraction done."""
        tiles = self._tiles(size, self.pixels / len(batch))
        for count, part in enumerate(tiles, 1):
            raws = [source.read(within(layout, image, part.read)) for image in batch]
            found = self._estimate(np.stack([layout.to_network(raw)[0] for raw in raws]), part)
            for sink, estimates in zip(sinks, found, strict=True):
                if sink is None or estimates is None:
                    continue
                for image, estimate in zip(batch, estimates, strict=True):
                    region = within(layout, image, part.write)
                    sink.write(region, layout.from_network(estimate[None], tuple(p.stop - p.start for p in region)))
            yield count / len(tiles)

    def _tiles(self, size: tuple[int, ...], pixels: float) -> list[Tile]:
        """The image as one tile if it fits, else the largest tiles that do."""
        if self.tile is None and prod(size) <= pixels:
            return list(plan_tiles(size, size, (0,) * len(size), self.net.stride))
        tile = self.tile or tile_within(pixels, size, self.halo, self.net.stride)
        return list(plan_tiles(size, tile, self.halo, self.net.stride))

    def _estimate(self, raw: Array, tile: Tile) -> tuple[Array, Array | None]:
        """(N, C, *read) pixels as read -> (N, C, *write) means and, if the method knows them, standard deviations."""
        noisy, finite = fill(raw.reshape(-1, *raw.shape[2:]))
        finite = finite.reshape(raw.shape)
        origin = [part.start for part in tile.read]
        posterior = self.posterior(torch.from_numpy(noisy.reshape(raw.shape)).to(self.device), origin)
        kept = (slice(None), slice(None), *tile.keep)
        mean = np.where(finite, posterior.mean.cpu().numpy(), raw)[kept]
        if posterior.std is None:
            return mean, None
        return mean, np.where(finite, posterior.std.cpu().numpy(), np.nan)[kept]

    def posterior(self, noisy: Tensor, origin: Sequence[int] = ()) -> Posterior[Tensor]:
        """p(s|x) of images (N, C, *spatial), averaged over flips and turns if asked for.

        origin: coordinates of the first pixel. Of an average, the variance is the mean of the variances.
        """
        size = noisy.shape[2:]
        # Padded before it is turned, so that the pooling grid stays where it was. What repeats a pixel of the border
        # has its coordinates too: it is hidden with it, and has its law.
        where = pad_to_multiple(grid_coordinates(noisy, origin).double(), self.net.stride).long()
        noisy = pad_to_multiple(noisy, self.net.stride)
        means, variances = [], []
        with torch.inference_mode():
            for turn, undo in self._turns():
                found = self.method.posterior(self.net, turn(noisy), turn(where))
                means.append(crop(undo(found.mean), size))
                if found.std is not None:
                    variances.append(crop(undo(found.std), size) ** 2)
            mean = torch.stack(means).mean(0)
            return Normal(mean, torch.stack(variances).mean(0).sqrt()) if variances else Point(mean)

    def mean(self, noisy: Tensor) -> Tensor:
        """E[s|x] of images (N, C, *spatial)."""
        return self.posterior(noisy).mean

    def _turns(self) -> list[tuple[Turn, Turn]]:
        if not self.average:
            return [(unturned, unturned)]
        directional = self.method.directional(tuple(self.net.laws), self.net.dims)  # type: ignore[arg-type]
        return list(turns(swaps=(False,) if directional else (False, True)))

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


def unturned(x: Tensor) -> Tensor:
    """The image itself."""
    return x


def turns(swaps: Sequence[bool] = (False, True)) -> Iterator[tuple[Turn, Turn]]:
    """The eight flips and quarter turns of YX (without swaps of Y and X, four), each with the one that undoes it."""
    for swap in swaps:
        for flips in ([], [-1], [-2], [-1, -2]):

            def turn(x: Tensor, flips: list[int] = flips, swap: bool = swap) -> Tensor:
                return (x.transpose(-1, -2) if swap else x).flip(flips).contiguous()

            def undo(y: Tensor, flips: list[int] = flips, swap: bool = swap) -> Tensor:
                y = y.flip(flips)
                return y.transpose(-1, -2) if swap else y

            yield turn, undo
