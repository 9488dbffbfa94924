"""Which file becomes which: the outputs of a list of inputs, decided before the work begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from noisewise.errors import UserError
from noisewise.io import default_output, find_inputs


@dataclass(frozen=True)
class Plan:
    """Inputs, the output of each, and what was left out."""

    inputs: list[Path]
    outputs: list[Path]
    notes: list[str]


def plan_files(
    patterns: Sequence[str],
    output: str | None,
    *,
    companions: Callable[[Path], Iterable[Path]],
    beside: Callable[[Path], Iterable[Path]],
    skip_existing: bool = False,
    suffix: str = "_denoised",
) -> Plan:
    """Find the inputs and name their outputs: beside each input, or in the folder or file `output`.

    companions: names what may be written beside an output. beside: what is, this time.
    suffix: ends the names of outputs that are not given.

    Errors: `UserError` for inputs that are not there, several inputs for one output file, or two of one name.
    """
    if not patterns:
        raise UserError("no input; give files, folders or patterns, such as cells.tif")

    found = find_images(patterns)
    made = [default_output(path, suffix) for path in found]
    inputs, notes = without_own_outputs(found, {*made, *chain.from_iterable(map(companions, made))})
    outputs = name_outputs(inputs, output, suffix)
    written = [*outputs, *chain.from_iterable(map(beside, outputs))]
    refuse_inputs(inputs, written)
    refuse_twice(written)
    if skip_existing:
        there = [path for path in outputs if os.path.lexists(path)]
        notes += [f"{path}: exists already, skipped" for path in there]
        pairs = [(i, o) for i, o in zip(inputs, outputs, strict=True) if o not in there]
        inputs, outputs = [i for i, _ in pairs], [o for _, o in pairs]
    return Plan(inputs, outputs, notes)


def without_own_outputs(inputs: list[Path], made: set[Path]) -> tuple[list[Path], list[str]]:
    """Leave out what an earlier run made of another input: a folder can be given again and again."""
    kept = [path for path in inputs if path not in made]
    return kept, [f"{path}: is the output of another input, left out" for path in inputs if path in made]


def refuse_inputs(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """No output may replace an input, its own or another's. Errors: `UserError`."""
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in taken:
            raise UserError(f"{path}: is the input itself; choose another name for the output")


def refuse_taken(output: str | None, overwrite: bool) -> None:
    """Before the work, not after it. Errors: `UserError`."""
    if output is None:
        return
    path = Path(output).expanduser()
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; choose another name or allow it with --overwrite")
    if not path.parent.is_dir():
        raise UserError(f"{path}: the folder {path.parent} does not exist; create it first")


def refuse_twice(outputs: Sequence[Path]) -> None:
    """No two outputs may have one name. Errors: `UserError`."""
    seen: set[Path] = set()
    for path in outputs:
        if path in seen:
            raise UserError(f"{path}: two inputs would get this name; give their folders one at a time")
        seen.add(path)


def name_outputs(inputs: Sequence[Path], output: str | None, suffix: str) -> list[Path]:
    """The output of each input."""
    if output is None:
        return [default_output(path, suffix) for path in inputs]
    place = Path(output).expanduser()
    folder = len(inputs) > 1 or output.endswith(("/", os.sep)) or (place.is_dir() and not is_image(place))
    if not folder:
        return [place]
    if len(inputs) > 1 and (place.suffix and not place.is_dir()):
        raise UserError(f"{place}: is one file, but there are {len(inputs)} inputs; give a folder")
    return [place / default_output(path, suffix).name for path in inputs]


def is_image(folder: Path) -> bool:
    """Whether a folder is an image, as those of Zarr are."""
    return folder.suffix.lower() == ".zarr"


def find_images(patterns: Sequence[str]) -> list[Path]:
    """Images named by files, folders and patterns, in order. Errors: `UserError` for what is not there."""
    found = find_inputs(patterns)
    allow_open_files(2 * len(found) + 100)
    return found


def allow_open_files(count: int) -> None:
    """All images of a run stay open; many systems begin with a low limit that a program may raise."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < count:
            most = count if hard == resource.RLIM_INFINITY else min(count, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


@contextmanager
def folders_for(outputs: Sequence[Path], asked: str | None) -> Iterator[None]:
    """Create the output folder if it was asked for; take it away again if nothing came of it."""
    made = None
    if asked is not None and outputs and outputs[0] != Path(asked).expanduser() and not outputs[0].parent.exists():
        made = outputs[0].parent
        try:
            made.mkdir()
        except OSError as error:
            raise UserError(f"{made}: the folder cannot be created ({error.strerror})") from error
    try:
        yield
    finally:
        if made is not None:
            with suppress(OSError):  # not empty: the outputs are in it
                made.rmdir()
