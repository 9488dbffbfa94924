"""The images of one call, group after group: what fails in one does not stop the others, and each has its time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from typing import Any, TypeVar

from noisewise.errors import UserError, counted
from noisewise.io.base import Source
from noisewise.io.inputs import Inputs, read_completely, refuse_none
from noisewise.methods.base import Method
from noisewise.progress import Report
from noisewise.workflow.alike import in_groups
from noisewise.workflow.budget import DEFAULT_BUDGET, parse_budget
from noisewise.workflow.training import Interrupted

R = TypeVar("R")


def grouped(
    inputs: Inputs, method: str | Method, noise: Any, target: Any, path: Any, report: Report
) -> list[Inputs]:  # fmt: skip
    """The images that can be denoised together, in groups of like noise; in one with targets.

    path: for the model. Errors: `UserError` where one model file would have to hold several models.
    """
    usable = inputs.usable(like_most(inputs.sources)) if inputs.sources else inputs
    parts = [usable] if target is not None else in_groups(usable, method, noise, report)
    if path is not None and len(parts) > 1:
        first = ", ".join(str(part.sources[0].name) for part in parts)
        raise UserError(
            f"{path}: the images have {len(parts)} different kinds of noise (as in {first}) and need a model each; "
            f"denoise each kind separately, or leave out the model"
        )
    return parts


def by_groups(
    parts: Sequence[Inputs], sources: Sequence[Source], seconds: Iterator[float],
    work: Callable[..., list[tuple[Source, R]]],
) -> list[R]:  # fmt: skip
    """Work on each group of images, with its seconds of the budget; the results in the order of the images.

    Where errors are collected, one of a group does not stop the others. Errors: `UserError`, if it stops all.
    """
    found: list[tuple[Source, R]] = []
    for part, allotted in zip(parts, seconds, strict=True):
        if not part.sources:
            continue  # all were refused
        try:
            found += without_unreadable(part, partial(work, allotted=allotted))
        except Interrupted as stop:
            stop.groups = len(parts)
            raise
        except UserError as error:
            if len(parts) == 1:
                raise
            part.collect(error)
    refuse_none([source for source, _ in found], parts[0].failed)
    left, results = list(found), []
    for source in sources:  # which may be given twice
        number = next((number for number, (one, _) in enumerate(left) if one is source), None)
        if number is not None:
            results.append(left.pop(number)[1])
    return results


def without_unreadable(inputs: Inputs, work: Callable[[Inputs], list[tuple[Source, R]]]) -> list[tuple[Source, R]]:
    """Work on the inputs; if it fails, again without those whose pixels cannot all be read, if these are collected."""
    try:
        return work(inputs)
    except UserError:
        readable = inputs if inputs.failed is None else inputs.usable(read_completely)
        if len(readable.sources) == len(inputs.sources):
            raise
        return work(readable)


def allot(parts: Sequence[Inputs], budget: str | float | None, started: float) -> Iterator[float]:
    """For each group of images, its share by pixels of the seconds that are left of the budget; a tenth at least."""
    seconds = parse_budget(budget) or DEFAULT_BUDGET
    pixels = [sum(prod(source.shape) for source in part.sources) for part in parts]
    for number in range(len(parts)):
        left = max(seconds - (time.perf_counter() - started), 0.1 * seconds)
        yield left * pixels[number] / max(sum(pixels[number:]), 1)


def like_most(sources: Sequence[Source]) -> Callable[[Source], None]:
    """A check that an image has as many channels as most others, so that one model denoises them."""
    most = max(Counter(source.size_of("C") for source in sources).items(), key=lambda pair: pair[1], default=(1, 0))[0]

    def check(source: Source) -> None:
        if source.size_of("C") != most:
            raise UserError(
                f"{source.path or source.name}: has {counted(source.size_of('C'), 'channel')}, the others have {most}; "
                f"denoise them separately"
            )

    return check
