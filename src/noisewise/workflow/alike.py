"""Images of one call in groups of like noise: each group has a noise model and a training of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from noisewise import methods
from noisewise.errors import UserError, counted
from noisewise.estimate.measure import measure_levels
from noisewise.estimate.variance import NoiseLevels
from noisewise.io.base import Source
from noisewise.io.inputs import Inputs
from noisewise.io.light import with_light
from noisewise.methods.base import Method
from noisewise.noise.fit.variance_line import VarianceLine
from noisewise.progress import Report, Stage, quiet

ALIKE = math.log(1.8)  # of the noise variance at equal signals: image texture makes it appear higher


@dataclass(frozen=True)
class ChannelNoise:
    """Noise variance (ADU²) at several signals (ADU) of one channel, and the line through them."""

    signal: np.ndarray
    variance: np.ndarray
    line: VarianceLine

    @classmethod
    def of(cls, levels: NoiseLevels) -> ChannelNoise:
        """Errors: `UserError` where all signals are equal."""
        return cls(levels.signal, levels.variance, levels.fit())

    def fits(self, other: ChannelNoise) -> bool:
        """Whether the line fits the variances of another image."""
        expected = np.maximum(self.line(other.signal), 1e-9 * other.variance.max())
        return abs(float(np.median(np.log(other.variance / expected)))) < ALIKE


Channels = dict[int, ChannelNoise]  # of an image, by number; without those whose noise cannot be measured


def in_groups(inputs: Inputs, method: str | Method, noise: object, report: Report = quiet) -> list[Inputs]:
    """The inputs in groups whose noise is alike, in the order of their first images; the images of a file together.

    One group if noise models are given, or if the method uses none. report: called with the progress of measuring.
    """
    files = [sources for _, sources in inputs.files()]
    found = group_files(files, method, noise, report)
    if len(found) < 2:
        return [inputs]
    notes = [*inputs.notes, f"{described(found, files)}: each kind is denoised by a model of its own"]
    return [
        replace(inputs.only([source for number in members for source in files[number]]), notes=notes)
        for members in found
    ]


def mixed_notes(sources: Sequence[Source], method: Method, noise: object) -> list[str]:
    """What is to be done about images with different kinds of noise that train one model."""
    files = [[source] for source in sources]
    found = group_files(files, method, noise)
    if len(found) < 2:
        return []
    return [f"{described(found, files)}: one model suits none of them well; train a model for each kind"]


def group_files(
    files: Sequence[Sequence[Source]], method: str | Method, noise: object, report: Report = quiet
) -> list[list[int]]:
    """Numbers of the files in each group, by their first images."""
    asked = methods.get(method)() if isinstance(method, str) and method != "auto" else method
    measured = noise is None and (isinstance(asked, str) or asked.traits.noise != "none")
    if not measured or len(files) < 2:
        return [list(range(len(files)))]
    found = []
    for number, sources in enumerate(files):
        report(Stage("measure", number / len(files)))
        found.append(noise_of(sources[0]))
    return group_channels(found)


def noise_of(source: Source) -> Channels:
    """The noise of each channel with light; without those that have none, or none that can be measured."""
    found = {}
    for channel in with_light(source):
        try:
            found[channel] = ChannelNoise.of(measure_levels(source, channel))
        except UserError:  # constant, too small, saturated: as the others
            continue
    return found


def group_channels(found: Sequence[Channels]) -> list[list[int]]:
    """Numbers of the images in each group. Those that could not be measured belong to the largest one.

    An image joins the first group whose first image it is like. Images whose lines are most certain come first, so that
    the groups do not depend on the order of the images, and dark images, which are like many, found none.
    """
    groups: list[list[int]] = []
    for number in sorted((n for n, one in enumerate(found) if one), key=lambda n: uncertainty(found[n])):
        like = next((members for members in groups if alike(found[number], found[members[0]])), None)
        if like is None:
            groups.append([number])
        else:
            like.append(number)
    if not groups:
        return [list(range(len(found)))]
    max(groups, key=len).extend(number for number, one in enumerate(found) if not one)
    return sorted(map(sorted, groups))


def uncertainty(one: Channels) -> float:
    """Relative error of the slope, of the channel where it is largest."""
    return max(part.line.slope_error / max(abs(part.line.slope), 1e-30) for part in one.values())


def alike(one: Channels, other: Channels) -> bool:
    """Whether in each channel the line of one of two images fits the variances of the other.

    The line of an image whose signals hardly differ says little about brighter images: the other's line does.
    """
    return all(one[c].fits(other[c]) or other[c].fits(one[c]) for c in one.keys() & other.keys())


def described(found: Sequence[Sequence[int]], files: Sequence[Sequence[Source]]) -> str:
    """How many images have which kind of noise."""
    names = ", ".join(f"{counted(len(members), 'image')} like {name(files, members[0])}" for members in found)
    return f"the images have {len(found)} different kinds of noise ({names})"


def name(files: Sequence[Sequence[Source]], number: int) -> str:
    """What an image is called: its file; its number in the call, if it is an array."""
    first = files[number][0]
    return f"number {number}" if first.path is None else first.name
