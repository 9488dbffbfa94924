"""Name the outputs of a list of inputs before the work begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

from noisewise.errors import UserError, counted
from noisewise.io.files import is_zarr, user_path
from noisewise.io.paths import companions as beside_result
from noisewise.io.paths import default_output, find_inputs, truth_of

T = TypeVar("T")
SPARE_FILES = 100  # open files in addition to two for each image


@dataclass(frozen=True)
class Plan:
    """Inputs, the output of each, and notes on what was left out."""

    inputs: list[Path]
    outputs: list[Path]
    notes: list[str]

    def done(self, failed: Mapping[str, str]) -> Plan:
        """The same plan without inputs that could not be used, and without those that are part of another."""
        kept = [(one, path) for one, path in zip(self.inputs, self.outputs, strict=True) if str(one) not in failed]
        kept = [(one, path) for one, path in kept if os.path.lexists(path)]
        return Plan([one for one, _ in kept], [path for _, path in kept], self.notes)


def plan_files(
    patterns: Sequence[str | Path],
    output: str | Path | None,
    *,
    companions: Callable[[Path], Iterable[Path]],
    beside: Callable[[Path], Iterable[Path]],
    skip_existing: bool = False,
    suffix: str = "_denoised",
    failed: dict[str, str] | None = None,
) -> Plan:
    """Find the inputs and name their outputs: beside each input, or in the folder or file `output`.

    companions: output -> files that may be written beside it. beside: output -> those that are written this time.
    suffix: end of the names of outputs that are not given. failed: collects inputs that do not exist, as long as others
    do.

    Errors: `UserError` for inputs that do not exist, several inputs for one output file, or two of one name.
    """
    if not patterns:
        raise UserError("no input; give files, folders or patterns, such as cells.tif")
    found = find_images(patterns, failed)
    inputs, notes = without_results(found, suffix, companions)
    outputs = name_outputs(inputs, output, suffix)
    written = [*outputs, *chain.from_iterable(map(beside, outputs))]
    refuse_inputs(inputs, written)
    refuse_twice(written)
    if skip_existing:
        inputs, outputs, skipped = without_existing(inputs, outputs)
        notes += skipped
    return Plan(inputs, outputs, notes)


def without_existing(inputs: Sequence[T], outputs: Sequence[Path]) -> tuple[list[T], list[Path], list[str]]:
    """The inputs whose output does not exist, these outputs, and a note on each of the others."""
    kept = [(one, path) for one, path in zip(inputs, outputs, strict=True) if not os.path.lexists(path)]
    missing = [path for _, path in kept]
    return [one for one, _ in kept], missing, [f"{p}: exists already, skipped" for p in outputs if p not in missing]


def without_results(
    inputs: list[Path], suffix: str = "_denoised",
    companions: Callable[[Path], Iterable[Path]] = lambda output: beside_result(output).values(),
) -> tuple[list[Path], list[str]]:  # fmt: skip
    """Leave out the outputs of other inputs, so that the same folder can be given again, and the truths of simulated
    ones; and notes on these. suffix, companions: as for `plan_files`.
    """
    results = [default_output(path, suffix) for path in inputs]
    made = {*results, *chain.from_iterable(map(companions, results))}
    kept, notes = left_out(inputs, made, "is the output of another input", "are outputs of other inputs")
    truths = set(map(truth_of, kept))
    kept, others = left_out(kept, truths, "is the truth of another input", "are truths of other inputs")
    return kept, notes + others


def left_out(inputs: list[Path], these: set[Path], one: str, several: str) -> tuple[list[Path], list[str]]:
    """The inputs without some of them, and a note on these. one, several: what they are."""
    gone = [path for path in inputs if path in these]
    what = f"{gone[0]}: {one}, left out" if len(gone) == 1 else ""
    if len(gone) > 1:
        what = f"{counted(len(gone), 'file')} left out, which {several}: {', '.join(path.name for path in gone[:3])}"
        what += ", ..." if len(gone) > 3 else ""
    return [path for path in inputs if path not in these], [what] if what else []


def refuse_inputs(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Errors: `UserError` if an output would replace an input."""
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise UserError(f"{path}: is the input itself; choose another name for the output")


def refuse_taken(output: str | Path | None, overwrite: bool) -> None:
    """Errors: `UserError` if a file exists already (unless `overwrite`), is a folder, or its folder does not exist."""
    if output is None:
        return
    path = user_path(output)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; choose another name, or replace it with the option overwrite")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; create it first")


def refuse_twice(outputs: Sequence[Path]) -> None:
    """Errors: `UserError` if two outputs have the same name."""
    seen: set[Path] = set()
    for path in outputs:
        if path in seen:
            raise UserError(f"{path}: two inputs would get this name; give their folders one at a time")
        seen.add(path)


def name_outputs(inputs: Sequence[Path], output: str | Path | None, suffix: str) -> list[Path]:
    """Name the output of each input. Errors: `UserError` for one output file of several inputs."""
    if output is None:
        return [default_output(path, suffix) for path in inputs]
    place = user_path(output)
    named_folder = str(output).endswith(("/", os.sep))
    if not (len(inputs) > 1 or named_folder or (place.is_dir() and place.suffix.lower() != ".zarr")):
        return [place]
    if len(inputs) > 1 and place.suffix and not place.is_dir():
        raise UserError(f"{place}: is one file, but there are {len(inputs)} inputs; give a folder")
    return [place / default_output(path, suffix).name for path in inputs]


def find_images(patterns: Sequence[str | Path], failed: dict[str, str] | None = None) -> list[Path]:
    """Find the images that files, folders and patterns name, as `find_inputs`, and allow them all to be open."""
    found = find_inputs(patterns, failed)
    allow_open_files(2 * len(found) + SPARE_FILES)
    return found


def names_several(image: str | Path) -> bool:
    """Whether a name stands for several images: a folder that is not itself an image, or a pattern."""
    path = user_path(image)
    if path.exists():
        return path.is_dir() and not is_zarr(path)
    return any(mark in str(image) for mark in "*?[")


def allow_open_files(count: int) -> None:
    """Raise the limit of open files, which is low on many systems: all images stay open."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < count:
            most = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


@contextmanager
def folders_for(outputs: Iterable[Path]) -> Iterator[None]:
    """Create the folders of outputs; remove those again that stay empty."""
    made: list[Path] = []
    for folder in dict.fromkeys(path.parent for path in outputs):
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: the folder cannot be created ({error.strerror}); choose another one") from error
        made += missing
    try:
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # not empty: the outputs are in it
                folder.rmdir()
