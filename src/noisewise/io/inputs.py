"""The images of a call: one or several, from paths, folders, patterns and arrays, and their output files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisewise.errors import UserError
from noisewise.io import open_source
from noisewise.io.base import Source
from noisewise.io.files import user_path
from noisewise.io.light import inspect_pixels
from noisewise.io.plan import find_images, folders_for, name_outputs, names_several, refuse_twice, without_existing
from noisewise.io.write import WriteOptions


@dataclass(frozen=True)
class Inputs:
    """Opened images, the output file of each (None: the results stay in memory), and notes on what was left out.

    several: whether the call names several images, so that its result is a list.
    """

    sources: list[Source]
    outputs: list[Path] | None
    several: bool
    notes: list[str] = field(default_factory=list)


@contextmanager
def open_inputs(images: Any, axes: str | None, output: Any, write: WriteOptions) -> Iterator[Inputs]:
    """Open the images of a call and plan their outputs.

    images: a path, an array, a list of these, a folder, or a pattern. output: None, a file, a folder, or a list with a
    file for each image.

    Errors: `UserError` for images that cannot be used, and for two outputs of the same name.
    """
    several = is_several(images)
    refuse_empty(images)
    given = list(images) if isinstance(images, list | tuple) and several else [images]
    if output is None or isinstance(output, list | tuple):
        sources = open_all(expanded(given), axes)
        outputs = None if output is None else [user_path(path) for path in output]
        with folders_for(outputs or []):
            yield with_outputs(sources, outputs, several, write)
        return
    if not all(isinstance(image, str | Path) for image in given):
        sources = open_all(given, axes)
        outputs = outputs_of_arrays(sources, output)
        with folders_for(outputs):
            yield with_outputs(sources, outputs, several, write)
        return
    plan = write.plan(given, output)
    with folders_for(plan.outputs):
        yield Inputs(open_all(plan.inputs, axes), plan.outputs, several or names_several(given[0]), plan.notes)


def with_outputs(sources: list[Source], outputs: list[Path] | None, several: bool, write: WriteOptions) -> Inputs:
    """Images with the outputs that were given for them. Errors: `UserError` if there is not one for each."""
    if outputs is None:
        return Inputs(sources, None, several)
    if len(outputs) != len(sources):
        raise UserError(f"{len(outputs)} outputs for {len(sources)} images; give one for each")
    refuse_twice(outputs)
    if not write.skip_existing:
        return Inputs(sources, outputs, several)
    sources, outputs, notes = without_existing(sources, outputs)
    return Inputs(sources, outputs, several, notes)


def is_several(images: Any) -> bool:
    """Whether a call names several images: a list of paths or arrays, a folder, or a pattern."""
    if isinstance(images, list | tuple):
        return all(isinstance(image, str | Path | Source) or hasattr(image, "shape") for image in images)
    return isinstance(images, str | Path) and names_several(images)


def refuse_empty(images: Any) -> None:
    """Errors: `UserError` for a list without an image."""
    if isinstance(images, list | tuple) and not images:
        raise UserError("no image; give a path, an array, or a list of these")


def expanded(images: Sequence[Any]) -> list[Any]:
    """Replace folders and patterns by the images that they name."""
    found: list[Any] = []
    for image in images:
        found += find_images([image]) if isinstance(image, str | Path) and names_several(image) else [image]
    return found


def open_all(images: Sequence[Any], axes: str | None) -> list[Source]:
    """Open images, and find their pixels that are not light."""
    sources = [open_source(image, axes) for image in images]
    for source in sources:
        inspect_pixels(source)
    return sources


def outputs_of_arrays(sources: Sequence[Source], output: str | Path) -> list[Path]:
    """Output files of arrays: one file, or for several arrays files in a folder, named by number.

    Errors: `UserError` for several arrays and one file.
    """
    if len(sources) == 1:
        return [user_path(output)]
    names = [source.path or Path(f"{number:03d}.tif") for number, source in enumerate(sources)]
    return name_outputs(names, output, "_denoised")


def images_of(value: Any, axes: str | None) -> list[Source]:
    """Open one image, several, or none (None). Errors: `UserError` for an empty list."""
    if value is None:
        return []
    refuse_empty(value)
    given = list(value) if isinstance(value, list | tuple) and is_several(value) else [value]
    return open_all(expanded(given), axes)
