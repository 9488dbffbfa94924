"""What can be measured in regions: functions (scene, options) -> values by `Key`.

Each takes an image as a `Scene`, with all axes, and gives one value for each region, channel and frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import NamedTuple

import numpy as np

from noisewise.axes import Array
from noisewise.errors import UserError

EVERYWHERE = 0  # label of the whole image
SIGMA_RATIO = 1.6  # between the widths of the smallest and the largest spot that is searched
SPOT_RESPONSE = 0.5  # of the normalised Laplacian of a Gaussian to a spot of its width, over the amplitude


class Key(NamedTuple):
    """A quantity: what was measured, in which region (0: the whole image), channel and frame; position: on a line."""

    measurement: str
    label: int
    channel: int
    frame: int
    position: int = 0

    def __str__(self) -> str:
        where = "the whole image" if self.label == EVERYWHERE else f"label {self.label}"
        place = f", position {self.position}" if self.measurement == "profile" else ""
        return f"{self.measurement} of {where} (channel {self.channel}, frame {self.frame}{place})"


@dataclass(frozen=True)
class Options:
    """What the measurements need. threshold: of area and colocalisation, one per channel. background: signal per
    channel that counts as none, of integrated intensities, ratios and dF/F. line: (y, x, y, x), pixels. spot_sigma:
    width of spots, pixels. spot_amplitude: the least one, per channel. baseline: frames whose mean is F0.
    """

    threshold: tuple[float, ...]
    background: tuple[float, ...]
    line: tuple[float, float, float, float] | None = None
    spot_sigma: float = 1.5
    spot_amplitude: tuple[float, ...] = ()
    baseline: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Regions:
    """Regions of an image. names: their labels. indices (T or 1, Z, Y, X): i in the region names[i − 1], 0 in none."""

    names: Array
    indices: Array

    @classmethod
    def of_labels(cls, labels: Array) -> Regions:
        """From labels (T or 1, Z, Y, X): positive integers, not necessarily all of them; 0 is no region."""
        found, inverse = np.unique(labels, return_inverse=True)
        inverse = inverse.reshape(labels.shape)
        return cls(found[1:], inverse) if found[0] == 0 else cls(found, inverse + 1)

    def of(self, frame: int) -> Array:
        """The indices in a frame, (Z, Y, X)."""
        return np.asarray(self.indices[frame if len(self.indices) > 1 else 0])

    def pixels(self, frame: int) -> Array:
        """Number of pixels of each region in a frame."""
        return np.asarray(self.counts[frame if len(self.indices) > 1 else 0])

    @cached_property
    def counts(self) -> Array:
        """Number of pixels of each region, (T or 1, regions)."""
        return np.stack([self.sums_at(one) for one in self.indices])

    def sums_at(self, indices: Array, weights: Array | None = None) -> Array:
        """Sum of weights (default: 1) over the places in each region, given the indices at these places."""
        weights = None if weights is None else weights.ravel().astype(np.float64)
        return np.asarray(np.bincount(indices.ravel(), weights, minlength=len(self.names) + 1)[1:])


@dataclass(frozen=True)
class Scene:
    """An image (T, C, Z, Y, X), and its regions."""

    image: Array
    regions: Regions

    def planes(self) -> Iterator[tuple[int, int, Array]]:
        """Frame, channel and image (Z, Y, X) of each."""
        for frame, channels in enumerate(self.image):
            for channel, image in enumerate(channels):
                yield frame, channel, image

    def sums(self, image: Array, frame: int) -> Array:
        """Sum of an image (Z, Y, X) in each region of a frame."""
        return self.regions.sums_at(self.regions.of(frame), image)

    def means(self, image: Array, frame: int) -> Array:
        """Mean of an image in each region of a frame; not a number where a region has no pixels."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.sums(image, frame) / self.regions.pixels(frame))

    def keyed(self, name: str, frame: int, channel: int, values: Array) -> Values:
        """Values of the regions that the frame has, by `Key`."""
        parts = zip(self.regions.names, self.regions.pixels(frame), values, strict=True)
        return {Key(name, int(label), channel, frame): float(value) for label, count, value in parts if count}


Values = dict[Key, float]
Measure = Callable[[Scene, Options], Values]


def area(scene: Scene, options: Options) -> Values:
    """Pixels above the threshold."""
    return by_region(scene, "area", lambda image, t, c: scene.sums(image > options.threshold[c], t))


def total(scene: Scene, options: Options) -> Values:  # noqa: ARG001
    """Sum of the signal."""
    return by_region(scene, "sum", lambda image, t, _: scene.sums(image, t))


def mean(scene: Scene, options: Options) -> Values:  # noqa: ARG001
    """Mean of the signal."""
    return by_region(scene, "mean", lambda image, t, _: scene.means(image, t))


def maximum(scene: Scene, options: Options) -> Values:  # noqa: ARG001
    """Largest signal."""

    def largest(image: Array, frame: int, channel: int) -> Array:  # noqa: ARG001
        found = np.full(len(scene.regions.names) + 1, -np.inf)
        np.maximum.at(found, scene.regions.of(frame).ravel(), image.ravel())
        return found[1:]

    return by_region(scene, "maximum", largest)


def integrated(scene: Scene, options: Options) -> Values:
    """Sum of the signal above the background."""
    return by_region(
        scene, "integrated", lambda image, t, c: scene.sums(image - options.background[c], t)
    )  # fmt: skip


def centroid(scene: Scene, options: Options) -> Values:
    """Centre of the signal above the background, pixels, along each axis."""
    found: Values = {}
    for number, axis in enumerate("ZYX"):
        size = scene.image.shape[2 + number]
        if axis == "Z" and size == 1:
            continue
        shape = [1, 1, 1]
        shape[number] = size
        places = np.arange(size, dtype=np.float64).reshape(shape)

        def centre(image: Array, frame: int, channel: int, places: Array = places) -> Array:
            light = np.maximum(image - options.background[channel], 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                return scene.sums(light * places, frame) / scene.sums(light, frame)

        found |= by_region(scene, f"centroid {axis.lower()}", centre)
    return found


def ratio(scene: Scene, options: Options) -> Values:
    """Mean of the first channel over that of the second, both above the background."""
    refuse_one_channel(scene, "ratio")
    found: Values = {}
    for frame, image in enumerate(scene.image):
        over, under = (scene.means(image[c], frame) - options.background[c] for c in (0, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            found |= scene.keyed("ratio", frame, 0, over / under)
    return found


def colocalisation(scene: Scene, options: Options) -> Values:
    """Pearson's correlation of the first two channels, and Manders' M1 and M2: the fraction of the signal of the one
    channel, above the background, that lies where the other one is above its threshold.

    Source: Manders et al. 1993, doi:10.1111/j.1365-2818.1993.tb03313.x.
    """
    refuse_one_channel(scene, "colocalisation")
    found: Values = {}
    for frame, image in enumerate(scene.image):
        where = scene.regions.of(frame)
        parts = [part.astype(np.float64) for part in image[:2]]
        a, b = (part - np.concatenate([[0.0], scene.means(part, frame)])[where] for part in parts)
        squares = scene.sums(a**2, frame) * scene.sums(b**2, frame)
        with np.errstate(invalid="ignore", divide="ignore"):
            found |= scene.keyed("pearson", frame, 0, scene.sums(a * b, frame) / np.sqrt(squares))
            for name, one, other in (("manders m1", 0, 1), ("manders m2", 1, 0)):
                light = np.maximum(image[one] - options.background[one], 0)
                both = scene.sums(light * (image[other] > options.threshold[other]), frame)
                found |= scene.keyed(name, frame, 0, both / scene.sums(light, frame))
    return found


def trace(scene: Scene, options: Options) -> Values:
    """dF/F of each frame: (F − F0) / F0, with F the mean above the background, F0 its mean over the baseline.

    Not a number where a region is not in the baseline.
    """
    if len(scene.image) < 2:
        raise UserError("dF/F needs a time axis, and the image has one frame; give axes such as TYX if they are wrong")
    found: Values = {}
    for channel in range(scene.image.shape[1]):
        light = np.stack([scene.means(image[channel], t) for t, image in enumerate(scene.image)])
        light -= options.background[channel]
        baseline = light[slice(*options.baseline)]
        seen = np.isfinite(baseline)
        with np.errstate(invalid="ignore", divide="ignore"):
            rest = np.where(seen, baseline, 0).sum(0) / seen.sum(0)
            for frame, part in enumerate(light / rest - 1):
                found |= scene.keyed("dF/F", frame, channel, part)
    return found


def profile(scene: Scene, options: Options) -> Values:
    """The signal along a line, at steps of about a pixel, by linear interpolation; of stacks, in the middle slice."""
    if options.line is None:
        raise UserError("a profile needs a line; give its ends y, x, y, x in pixels, such as 10 20 80 90")
    height, width = scene.image.shape[-2:]
    y0, x0, y1, x1 = options.line
    if not (0 <= min(y0, y1) <= max(y0, y1) <= height - 1 and 0 <= min(x0, x1) <= max(x0, x1) <= width - 1):
        raise UserError(f"the line {options.line} leaves the image of {height} x {width} pixels; give points inside")
    count = int(np.hypot(y1 - y0, x1 - x0)) + 1
    y, x = np.linspace(y0, y1, count), np.linspace(x0, x1, count)
    low_y, low_x = np.minimum(y.astype(int), max(height - 2, 0)), np.minimum(x.astype(int), max(width - 2, 0))
    b, a = y - low_y, x - low_x
    found: Values = {}
    for frame, channel, image in scene.planes():
        plane = image[len(image) // 2]
        upper, lower = (
            (1 - a) * plane[row, low_x] + a * plane[row, np.minimum(low_x + 1, width - 1)]
            for row in (low_y, np.minimum(low_y + 1, height - 1))
        )
        values = (1 - b) * upper + b * lower
        found |= {Key("profile", EVERYWHERE, channel, frame, i): float(v) for i, v in enumerate(values)}
    return found


def spots(scene: Scene, options: Options) -> Values:
    """Number of spots whose centres lie in a region: maxima of Laplacians of Gaussians (scikit-image's `blob_log`).

    Errors: `UserError` where scikit-image is not installed.
    """
    try:
        blob_log = import_module("skimage.feature").blob_log
    except ImportError as error:
        raise UserError('counting spots needs scikit-image; install it: pip install "noisewise[quantify]"') from error
    narrow, wide = options.spot_sigma / SIGMA_RATIO**0.5, options.spot_sigma * SIGMA_RATIO**0.5
    found: Values = {}
    for frame, channel, image in scene.planes():
        where = scene.regions.of(frame)
        flat, marks = (image[0], where[0]) if len(image) == 1 else (image, where)
        threshold = SPOT_RESPONSE * options.spot_amplitude[channel]
        blobs = blob_log(flat.astype(np.float64), narrow, wide, num_sigma=4, threshold=threshold, threshold_rel=None)
        at = marks[tuple(blobs[:, : flat.ndim].astype(int).T)]
        found |= scene.keyed("spots", frame, channel, scene.regions.sums_at(at))
    return found


MEASUREMENTS: dict[str, Measure] = {
    "mean": mean, "sum": total, "integrated": integrated, "maximum": maximum, "area": area, "centroid": centroid,
    "ratio": ratio, "colocalisation": colocalisation, "trace": trace, "profile": profile, "spots": spots,
}  # fmt: skip
USES: dict[str, tuple[Measure, ...]] = {  # options that are found in the image where they are not given
    "background": (integrated, centroid, ratio, colocalisation, trace), "threshold": (area, colocalisation),
    "spot_amplitude": (spots,),
}  # fmt: skip


# -- pieces ------------------------------------------------------------------------------------------


def by_region(scene: Scene, name: str, values: Callable[[Array, int, int], Array]) -> Values:
    """One value for each region, channel and frame. values: (image, frame, channel) -> one for each region."""
    found: Values = {}
    for frame, channel, image in scene.planes():
        found |= scene.keyed(name, frame, channel, values(image, frame, channel))
    return found


def refuse_one_channel(scene: Scene, name: str) -> None:
    """Errors: `UserError` for fewer than two channels."""
    if scene.image.shape[1] < 2:
        raise UserError(f"{name} compares two channels, and the image has one; give axes with C if they are wrong")
