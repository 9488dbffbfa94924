"""The images of a call: one or several, from paths, folders, patterns and arrays, and their output files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from noisewise.axes import Layout
from noisewise.errors import UserError
from noisewise.io import open_images
from noisewise.io.base import Source
from noisewise.io.files import user_path
from noisewise.io.light import inspect_pixels
from noisewise.io.paths import default_output
from noisewise.io.plan import find_images, folders_for, name_outputs, names_several, refuse_twice, without_existing
from noisewise.io.selection import EVERYTHING, Selection
from noisewise.io.write import WriteOptions


@dataclass(frozen=True)
class Inputs:
    """Opened images, the output file of each (None: the results stay in memory), and notes on what was left out.

    The images of one file follow each other and have the same output. several: whether the call names several images,
    so that its result is a list. failed: collects inputs that cannot be used, with the reason; None: these are errors.
    """

    sources: list[Source]
    outputs: list[Path] | None
    several: bool
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] | None = None

    def files(self) -> Iterator[tuple[Path | None, list[Source]]]:
        """Each output with its images; an image whose result stays in memory is by itself."""
        if self.outputs is None:
            yield from ((None, [source]) for source in self.sources)
            return
        for path, images in groupby(zip(self.outputs, self.sources, strict=True), key=lambda pair: pair[0]):
            yield path, [source for _, source in images]

    def all_notes(self) -> list[str]:
        """Notes on what was left out, and on each image."""
        return self.notes + [note for source in self.sources for note in source.notes]

    def usable(self, check: Callable[[Source], object]) -> Inputs:
        """The same inputs without files of which an image does not pass a check. Errors: see `attempt`."""
        kept = [images for _, images in self.files() if self.attempt(images, partial(checked, images, check))]
        found = self.only([source for images in kept for source in images])
        refuse_none(found.sources, self.failed)
        return found

    def only(self, sources: Sequence[Source]) -> Inputs:
        """The same inputs with some of the images, in their order."""
        kept = [number for number, source in enumerate(self.sources) if any(source is one for one in sources)]
        outputs = None if self.outputs is None else [self.outputs[number] for number in kept]
        return replace(self, sources=[self.sources[number] for number in kept], outputs=outputs)

    def attempt(self, images: Sequence[Source], work: Callable[[], object]) -> bool:
        """Work on the images of a file; whether it could be done. Errors: `UserError`, if these are not collected."""
        try:
            work()
        except UserError as error:
            if self.failed is None:
                raise
            self.failed[name_of(images)] = str(error)
            return False
        return True

    def collect(self, error: UserError) -> None:
        """Collect an error as the reason of all files that have none yet. Errors: the same, if these are errors."""
        if self.failed is None:
            raise error
        for _, images in self.files():
            self.failed.setdefault(name_of(images), str(error))


def name_of(images: Sequence[Source]) -> str:
    """The name under which a file is collected."""
    return str(images[0].root or images[0].path or images[0].name)


def checked(images: Sequence[Source], check: Callable[[Source], object]) -> None:
    """Check all images of a file."""
    for source in images:
        check(source)


def read_completely(source: Source) -> None:
    """Read all pixels, image by image. Errors: `UserError` if some cannot be read."""
    for region in Layout(source.axes, "YX").images(source.shape):
        source.read(region)


def refuse_none(sources: Sequence[Source], failed: dict[str, str] | None) -> None:
    """Errors: `UserError` if no input is left, since all have failed."""
    if failed and not sources:
        raise UserError("; ".join(failed.values()))


@contextmanager
def open_inputs(
    images: Any, axes: str | None, output: Any, write: WriteOptions, *, series: int | None = None,
    failed: dict[str, str] | None = None, selection: Selection = EVERYTHING,
) -> Iterator[Inputs]:  # fmt: skip
    """Open the images of a call and plan their outputs.

    images: a path, an array, a list of these, a folder, or a pattern. output: None, a file, a folder, or a list with a
    file for each image. series: number of the image, where a file contains several (default: all of them). failed:
    collects inputs that cannot be used, instead of errors.

    Errors: `UserError` for images that cannot be used, and for two outputs of the same name.
    """
    several, notes = is_several(images), list[str]()
    refuse_empty(images)
    given = list(images) if isinstance(images, list | tuple) and several else [images]
    outputs: list[Path] | None = None
    if output is None:
        given = expanded(given)
    elif isinstance(output, list | tuple) or not all(isinstance(image, str | Path) for image in given):
        given, outputs, notes = with_outputs(expanded(given), output, write)
    else:
        plan = write.plan(given, output, failed)
        several = several or names_several(given[0])
        given, outputs, notes = list(plan.inputs), plan.outputs, plan.notes
    with folders_for(outputs or []):
        found = without_members(open_each(given, axes, series, failed, selection), notes)
        if write.skip_existing and outputs is not None:
            found = [without_written(one, path, notes) for one, path in zip(found, outputs, strict=True)]
        sources = [source for one in found for source in one]
        refuse_none(sources, failed)
        if outputs is not None:
            outputs = [path for path, one in zip(outputs, found, strict=True) for _ in one]
        yield Inputs(sources, outputs, several or any(len(one) > 1 for one in found), notes, failed)


def with_outputs(images: list[Any], output: Any, write: WriteOptions) -> tuple[list[Any], list[Path], list[str]]:
    """Images with their output files, and notes. Errors: `UserError` as `outputs_of`, and for two of one name."""
    outputs = outputs_of(images, output)
    refuse_twice(outputs)
    return without_existing(images, outputs) if write.skip_existing else (images, outputs, [])


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


def open_each(
    images: Sequence[Any],
    axes: str | None,
    series: int | None = None,
    failed: dict[str, str] | None = None,
    selection: Selection = EVERYTHING,
) -> list[list[Source]]:
    """Open the images of each input, and find their pixels that are not light.

    series: number of the image, where a file contains several. selection: what of each is denoised.
    failed: collects inputs that cannot be used; these have no images then. Errors: `UserError` for such inputs, if
    they are not collected.
    """
    found: list[list[Source]] = []
    for image in images:
        try:
            opened = [selection.part_of(source) for source in open_images(image, axes, series=series)]
            for source in opened:
                inspect_pixels(source, selection.not_light(source))
        except UserError as error:
            if failed is None:
                raise
            failed[str(image)], opened = str(error), []
        found.append(opened)
    sources = [source for one in found for source in one]
    for source in sources if len(sources) > 1 else []:
        source.notes = [note if note.startswith(source.name) else f"{source.name}: {note}" for note in source.notes]
    return found


def without_members(found: list[list[Source]], notes: list[str]) -> list[list[Source]]:
    """Leave out files of an OME-TIFF set of which another file is given too: each names all images of the set."""
    sets = [{path.resolve() for path in one[0].files} if one else set() for one in found]
    kept: list[list[Source]] = []
    for number, one in enumerate(found):
        path = one[0].path if one else None
        others = [i for i, files in enumerate(sets) if path is not None and path.resolve() in files]
        first = next((i for i in others if (i < number and kept[i]) or not sets[number]), None)
        if path is not None and first is not None:
            notes.append(f"{path}: belongs to the same set of files as {found[first][0].path}, which is denoised")
        kept.append([] if first is not None else one)
    return kept


def without_written(images: list[Source], output: Path, notes: list[str]) -> list[Source]:
    """Leave out images of a set of files that was denoised under the name of another of its files."""
    for path in images[0].files if images else []:
        written = output.with_name(default_output(path).name)
        if written.exists():
            notes.append(f"{images[0].path}: its set of files was denoised as {written}, skipped")
            return []
    return images


def outputs_of(images: Sequence[Any], output: Any, suffix: str = "_denoised") -> list[Path]:
    """Output files of images that may be arrays: as given, or in a folder, where arrays are named by number.

    Errors: `UserError` for several images and one file, and for lists of different lengths.
    """
    if isinstance(output, list | tuple):
        if len(output) != len(images):
            raise UserError(f"{len(output)} outputs for {len(images)} images; give one for each")
        return [user_path(path) for path in output]
    paths = [(image.root or image.path) if isinstance(image, Source) else image for image in images]
    names = [
        user_path(one) if isinstance(one, str | Path) else Path(f"{number:03d}.tif") for number, one in enumerate(paths)
    ]
    return name_outputs(names, output, suffix)


def each(images: Any) -> list[Any]:
    """The images of a call: paths that name one, and arrays. Errors: `UserError` for an empty list."""
    refuse_empty(images)
    return expanded(list(images) if isinstance(images, list | tuple) and is_several(images) else [images])


def opened(images: Any, axes: str | None, files: ExitStack) -> list[Source]:
    """Open all images of one input or several, until `files` closes. Errors: `UserError` for an empty list."""
    found = []
    for image in each(images):
        found += [one if one is image else files.enter_context(one) for one in open_images(image, axes)]
    return found


def open_all(
    images: Sequence[Any], axes: str | None, series: int | None = None, selection: Selection = EVERYTHING
) -> list[Source]:
    """Open images, and find their pixels that are not light; selection: what is denoised of each.

    Errors: `UserError` for images that cannot be used: of several inputs, it names all of them.
    """
    failed: dict[str, str] = {}
    found = without_members(open_each(images, axes, series, failed, selection), [])
    if failed:
        raise UserError("; ".join(failed.values()))
    return [source for one in found for source in one]


def images_of(
    value: Any, axes: str | None, series: int | None = None, selection: Selection = EVERYTHING
) -> list[Source]:
    """Open one image, several, or none (None). Errors: `UserError` for an empty list."""
    return [] if value is None else open_all(each(value), axes, series, selection)
