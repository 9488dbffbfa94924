"""Reports of results in files."""

from __future__ import annotations

from pathlib import Path

from noisewise.errors import UserError, one_line
from noisewise.io import open_source
from noisewise.io.files import user_path
from noisewise.io.paths import companions, split_extension
from noisewise.io.provenance import read_provenance
from noisewise.report.collect import Collected, collect


def page_beside(denoised: Path) -> Path:
    """The page of an output: its name with `_report.html`."""
    return denoised.with_name(f"{split_extension(denoised)[0]}_report.html")


def find_input(denoised: Path) -> Path:
    """The noisy image that an output names, beside it. Errors: `UserError` if it is not there."""
    with open_source(denoised) as source:
        record = read_provenance(source) or {}
    name = Path(str(record.get("input", ""))).name
    if name and denoised.with_name(name).exists():
        return denoised.with_name(name)
    what = f"the noisy image {one_line(name)} is not beside it" if name else "names no noisy image"
    raise UserError(f"{denoised}: {what}; give it: noisewise report {denoised.name} --input IMAGE")


def report(denoised: str | Path, noisy: str | Path | None = None, *, axes: str | None = None) -> Collected:
    """Check a denoised image in a file against the noisy one, and collect what a report shows.

    denoised, noisy: files; without `noisy`, the file that the denoised one names, beside it. axes: letters from
    `STCZYX`, one per dimension, if the files do not give them or they are wrong.

    Returns a `Collected`: `verdict` (believe, look here, do not believe, and why), `findings`, `checkup`.

    Errors: `UserError` for files that cannot be read, or are not of the same shape.
    """
    denoised = user_path(denoised)
    noisy = find_input(denoised) if noisy is None else user_path(noisy)
    std = companions(denoised)["std"]
    with open_source(noisy, axes) as before, open_source(denoised, axes) as after:
        record = read_provenance(after) or {}
        if std.exists():
            with open_source(std, axes) as deviation:
                return collect(before, after, deviation, record)
        return collect(before, after, None, record)
