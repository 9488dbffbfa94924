"""Reports of results in files: the pages beside them, and a page that summarises several."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from noisewise.errors import UserError, counted, one_line
from noisewise.io import open_source
from noisewise.io.files import is_zarr, user_path
from noisewise.io.paths import companions
from noisewise.io.plan import refuse_inputs, refuse_taken
from noisewise.io.provenance import read_provenance
from noisewise.model import Model
from noisewise.report.collect import Collected, collect
from noisewise.report.page import render, render_summary, write_page

SUMMARY = "noisewise_report.html"
FOR_SAMPLES = 5.0  # seconds that must be left for a report with samples


def find_input(denoised: Path, given: Path | None = None) -> Path:
    """The noisy image of an output. given: that image; or the folder of the one it names; None: that is beside it.

    Errors: `UserError` if it is not there.
    """
    if given is not None and not (given.is_dir() and not is_zarr(given)):
        return given
    name, folder = Path(named_input(denoised)).name, given or denoised.parent
    if name and (folder / name).exists():
        return folder / name
    missing = f"the noisy image {one_line(name)} is not in {folder}" if name else "names no noisy image"
    name = shlex.quote(str(denoised))
    raise UserError(f"{denoised}: {missing}; give it, or its folder: noisewise report {name} --input IMAGE")


def named_input(denoised: Path) -> str:
    """The noisy image that a result names; "" if it names none. Errors: `UserError` if it cannot be read."""
    with open_source(denoised) as source:
        record = read_provenance(source) or {}
    return str(record.get("input", "")) if "method" in record else ""


def results_of(paths: Sequence[Path]) -> list[Path]:
    """Those of some images that name the noisy image which they were made from; not what is beside another result."""
    found = list[Path]()
    beside = {one for path in paths for one in companions(path).values()}
    for path in paths:
        if path in beside:
            continue
        with suppress(UserError):
            found += [path] if named_input(path) else []
    return found


def report(
    denoised: str | Path, noisy: str | Path | None = None, *, axes: str | None = None, model: Model | None = None
) -> Collected:
    """Check a denoised image in a file against the noisy one, and collect what a report shows.

    denoised, noisy: files; the noisy one may be a folder that holds the file which the denoised one names (default: its
    own folder). axes: letters from
    `STCZYX`, one per dimension, if the files do not give them or they are wrong. model: that made the result, if it is
    at hand: then its losses are shown, and samples where it draws them.

    Returns a `Collected`: `verdict` (believe, look here, do not believe, and why), `findings`, `checkup`.

    Errors: `UserError` for files that cannot be read, or are not of the same shape.
    """
    denoised = user_path(denoised)
    noisy = find_input(denoised, None if noisy is None else user_path(noisy))
    std = companions(denoised)["std"]
    with open_source(noisy, axes) as before, open_source(denoised, axes) as after:
        record = read_provenance(after) or {}
        if std.exists():
            with open_source(std, axes) as deviation:
                same = (read_provenance(deviation) or {}) == record  # else it is of an earlier result
                return collect(before, after, deviation if same else None, record, model)
        return collect(before, after, None, record, model)


def write_report(
    denoised: Path, noisy: Path | None, page: Path, *, axes: str | None = None, overwrite: bool = False,
    model: Model | None = None,
) -> Collected:  # fmt: skip
    """Check a denoised image, and write the page.

    noisy: as for `report`. Errors: `UserError`, as `report`, or if the page is an image or cannot be written.
    """
    noisy = find_input(denoised, noisy)
    refuse_inputs([denoised, noisy], [page])
    refuse_taken(page, overwrite)
    found = report(denoised, noisy, axes=axes, model=model)
    write_page(render(found, repeat(found, noisy, denoised)), page, overwrite)
    return found


def write_reports(
    outputs: Mapping[Path, Path | None], *, axes: str | None = None, overwrite: bool = False,
    models: Mapping[Path, Model] | None = None, seconds: float = math.inf,
) -> tuple[dict[Path, Collected], dict[str, str], list[str]]:  # fmt: skip
    """Write a page beside each output, and one that lists several, worst first, in the folder of the first.

    outputs: with their noisy images, or folders of these, as for `report`. models: that made them, by output. seconds:
    no report but the first is begun later than this, and none has samples that has little time left.

    Returns what was found, by page; why there is no page, by output; and notes.
    """
    started, failed, late, notes = time.perf_counter(), dict[str, str](), list[str](), list[str]()
    found: dict[Path, Collected] = {}
    for denoised, noisy in outputs.items():
        if found and time.perf_counter() - started > seconds:
            late.append(str(denoised))
            continue
        left = seconds - (time.perf_counter() - started)
        page, model = companions(denoised)["report"], (models or {}).get(denoised) if left > FOR_SAMPLES else None
        try:
            found[page] = write_report(denoised, noisy, page, axes=axes, overwrite=overwrite, model=model)
        except UserError as error:
            failed[str(denoised)] = str(error)
    if late:
        command = shlex.join(["noisewise", "report", *late[:2]]) + (" ..." if len(late) > 2 else "")
        notes.append(f"no report of {counted(len(late), 'output')}, for lack of time; make them: {command}")
    if len(found) > 1:
        summary = next(iter(found)).with_name(SUMMARY)
        write_page(render_summary(found), summary, overwrite=True)
        notes.append(f"{summary}: all reports, worst first")
    return found, failed, notes


def repeat(found: Collected, noisy: Path, denoised: Path) -> str:
    """The command that makes the output again: with the same number of steps."""
    record = {"method": "auto"} | found.record | ({"method": "auto"} if found.record.get("choice") else {})
    words = ["noisewise", "denoise", str(noisy), "-o", str(denoised)]
    for name in ("method", "steps", "seed"):
        if name in record:
            words += [f"--{name}", str(record[name])]
    return shlex.join(words)
