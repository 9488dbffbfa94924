"""Images of one call in groups of like noise: each group has a noise model and a training of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from noisewise import methods
from noisewise.errors import UserError, counted
from noisewise.estimate.measure import measure
from noisewise.estimate.report import NoiseReport
from noisewise.io.base import Source
from noisewise.io.inputs import Inputs
from noisewise.io.light import with_light
from noisewise.methods.base import Method

ALIKE = math.log(1.8)  # of the noise variance at equal signals: image texture makes it appear higher


def in_groups(inputs: Inputs, method: str | Method, noise: object) -> list[Inputs]:
    """The inputs in groups whose noise is alike, in the order of their first images; the images of a file together.

    One group if noise models are given, or if the method uses none.
    """
    files = [sources for _, sources in inputs.files()]
    found = groups(files, method, noise)
    if len(found) < 2:
        return [inputs]
    parts = [inputs.only([source for number in members for source in files[number]]) for members in found]
    note = f"{described(found, files)}: each kind is denoised by a model of its own"
    return [replace(parts[0], notes=[*inputs.notes, note]), *(replace(part, notes=[]) for part in parts[1:])]


def mixed_notes(sources: Sequence[Source], method: Method, noise: object) -> list[str]:
    """What is to be done about images with different kinds of noise that train one model."""
    files = [[source] for source in sources]
    found = groups(files, method, noise)
    if len(found) < 2:
        return []
    return [f"{described(found, files)}: one model suits none of them well; train a model for each kind"]


def groups(files: Sequence[Sequence[Source]], method: str | Method, noise: object) -> list[list[int]]:
    """Numbers of the files in each group; one group if noise models are given, or if the method uses none."""
    asked = methods.get(method)() if isinstance(method, str) and method != "auto" else method
    measured = noise is None and (isinstance(asked, str) or asked.traits.noise != "none")
    if not measured or len(files) < 2:
        return [list(range(len(files)))]
    return grouped([noise_of(sources[0]) for sources in files])


def described(found: Sequence[Sequence[int]], files: Sequence[Sequence[Source]]) -> str:
    """How many images have which kind of noise."""
    names = ", ".join(f"{counted(len(members), 'image')} like {name(files, members[0])}" for members in found)
    return f"the images have {len(found)} different kinds of noise ({names})"


def name(files: Sequence[Sequence[Source]], number: int) -> str:
    """What an image is called: its file; its number in the call, if it is an array."""
    first = files[number][0]
    return f"number {number}" if first.path is None else first.name


def noise_of(source: Source) -> NoiseReport | None:
    """The check-up of the first channel with light; None where there is no noise, or none that can be measured."""
    try:
        found = measure(source, channel=with_light(source)[0])
    except UserError:
        return None
    return None if found.kind == "none" else found


def grouped(found: Sequence[NoiseReport | None]) -> list[list[int]]:
    """Numbers of the images in each group. Those that could not be measured belong to the largest one."""
    groups: list[list[int]] = []
    for number, one in enumerate(found):
        if one is None:
            continue
        like = next((members for members in groups if alike(one, found[members[0]])), None)
        if like is None:
            groups.append([number])
        else:
            like.append(number)
    if not groups:
        return [list(range(len(found)))]
    max(groups, key=len).extend(number for number, one in enumerate(found) if one is None)
    return sorted(map(sorted, groups))


def alike(one: NoiseReport, other: NoiseReport | None) -> bool:
    """Whether the variance line of one of two images tells the variances measured in the other.

    The line of an image whose signals hardly differ tells little about brighter images: the other's line does.
    """
    return other is not None and (tells(one, other) or tells(other, one))


def tells(one: NoiseReport, other: NoiseReport) -> bool:
    """Whether the variance line of an image fits the variances of another one."""
    levels = other.levels
    expected = np.maximum(one.line(levels.signal), 1e-9 * levels.variance.max())
    return abs(float(np.median(np.log(levels.variance / expected)))) < ALIKE
