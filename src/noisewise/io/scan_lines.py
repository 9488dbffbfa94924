"""Bidirectional scans whose odd lines are displaced along X: found, aligned for denoising, and put back afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from noisewise.axes import Array, Region
from noisewise.io.base import Sink, Source

MOST = 8  # pixels: larger displacements are not searched
LEAST = 0.75  # pixels, from which lines are aligned, by whole pixels
CLEAR = 5.0  # standard errors by which the lines must fit better when they are displaced
BETTER = 0.01  # of the squared differences between the lines
FEWEST = 32  # pixels along each side


def line_displacement(planes: Sequence[Array]) -> float:
    """By how many pixels the odd lines of planes (Y, X) are displaced to the right of the even ones; 0 if not clearly.

    Odd lines are compared with the mean of the lines above and below, over which slanted edges average out.
    """
    found = [squared_differences(plane) for plane in planes if min(plane.shape) >= FEWEST]
    if not found:
        return 0.0
    by_line = np.concatenate(found, 1)  # (displacements, lines)
    by_line = by_line[:, np.isfinite(by_line).all(0)]
    if by_line.shape[1] < FEWEST // 2:
        return 0.0
    total = by_line.mean(1)
    best = int(total.argmin())
    if best in (0, len(total) - 1):
        return 0.0
    gain = by_line[MOST] - by_line[best]
    error = gain.std() / len(gain) ** 0.5
    if best == MOST or gain.mean() < max(CLEAR * error, BETTER * total[MOST]):
        return 0.0
    below, least, above = total[best - 1 : best + 2]
    return float(best - MOST + (below - above) / (2 * (below - 2 * least + above)))


def squared_differences(plane: Array) -> Array:
    """Mean squared difference of each odd line and its neighbours, (1 + 2 · MOST displacements, lines)."""
    values = plane.astype(np.float64)
    smooth = (values[:, :-2] + values[:, 1:-1] + values[:, 2:]) / 3
    odd, even = smooth[1::2], smooth[::2]
    lines = min(len(odd), len(even) - 1)
    around, odd = (even[:lines] + even[1 : lines + 1]) / 2, odd[:lines]
    middle = around[:, MOST:-MOST]
    width = middle.shape[1]
    return np.stack([((odd[:, d : d + width] - middle) ** 2).mean(1) for d in range(2 * MOST + 1)])


def aligned(source: Source) -> Source:
    """A source with aligned lines; the source itself where they are."""
    shift = round(source.line_displacement) if abs(source.line_displacement) > LEAST else 0
    return AlignedSource(source, shift) if shift else source


def put_back(sink: Sink, source: Source) -> Sink:
    """A sink that takes results of an aligned source and displaces the lines again; the sink itself for others."""
    return DisplacedSink(sink, source) if isinstance(source, AlignedSource) else sink


def line_stride(source: Source, stride: tuple[int, ...]) -> tuple[int, ...]:
    """Multiples of which tiles are: those of the network (..., X), and whole lines where they were aligned."""
    if not isinstance(source, AlignedSource):
        return stride
    return (*stride[:-1], -(-source.size_of("X") // stride[-1]) * stride[-1])


class AlignedSource(Source):
    """A source whose odd lines are displaced by some pixels, with aligned lines: that much wider.

    A pixel of the source is at the same place in even lines, and `shift` pixels farther to the left in odd ones. Beyond
    the ends of the lines their last pixels are repeated.
    """

    def __init__(self, source: Source, shift: int) -> None:
        super().__init__(**{part.name: getattr(source, part.name) for part in fields(Source) if part.init})
        self.source, self.shift = source, shift
        self.x, self.y = source.axes.index("X"), source.axes.index("Y")
        # In a wider image, even lines begin at `starts[0]` and odd ones at `starts[1]`.
        self.starts = (max(shift, 0), max(-shift, 0))
        self.shape = tuple(n + abs(shift) * (axis == self.x) for axis, n in enumerate(source.shape))
        self.line_displacement = 0.0
        if self.not_light is not None and self.not_light.mask is not None:
            self.not_light = replace(self.not_light, mask=AlignedSource(self.not_light.mask, shift))

    @property
    def saturation_level(self) -> object:
        return self.source.saturation_level

    def read(self, region: Region | None = None) -> Array:
        region = region or self.everything
        width, columns = self.source.shape[self.x], np.arange(region[self.x].start, region[self.x].stop)
        places = [np.clip(columns - start, 0, width - 1) for start in self.starts]
        first, last = min(place[0] for place in places), max(place[-1] for place in places)
        wide = tuple(slice(first, last + 1) if axis == self.x else part for axis, part in enumerate(region))
        pixels = np.moveaxis(self.source.read(wide), (self.y, self.x), (-2, -1))
        parity = np.arange(region[self.y].start, region[self.y].stop) % 2
        out = np.empty((*pixels.shape[:-1], len(columns)), pixels.dtype)
        for odd in (0, 1):
            out[..., parity == odd, :] = pixels[..., parity == odd, :][..., places[odd] - first]
        return np.moveaxis(out, (-2, -1), (self.y, self.x))

    def check_unchanged(self) -> None:
        self.source.check_unchanged()


class DisplacedSink(Sink):
    """Writes results of an aligned source into a sink for the source itself."""

    def __init__(self, sink: Sink, source: AlignedSource) -> None:
        self.sink, self.source, self.dtype = sink, source, sink.dtype

    def write(self, region: Region, pixels: Array) -> None:
        """Write a region of whole lines."""
        x = self.source.x - len(self.source.shape)  # samples have further axes, before those of the image
        y = self.source.y - len(self.source.shape)
        lines = np.moveaxis(pixels, (y, x), (-2, -1))
        width = self.source.source.shape[x]
        parity = np.arange(region[y].start, region[y].stop) % 2
        out = np.empty((*lines.shape[:-1], width), lines.dtype)
        for odd, start in enumerate(self.source.starts):
            out[..., parity == odd, :] = lines[..., parity == odd, start : start + width]
        whole_lines = list(region)
        whole_lines[x] = slice(0, width)
        self.sink.write(tuple(whole_lines), np.moveaxis(out, (-2, -1), (y, x)))

    def commit(self) -> None:
        self.sink.commit()

    def discard(self) -> None:
        self.sink.discard()
