"""The HTML page of a report: one file that holds its images and figures, and works without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from noisewise.errors import UserError
from noisewise.io.files import Draft, as_user_error
from noisewise.io.text import finite
from noisewise.plots.report import noise_figure, profile_figure, residual_figure
from noisewise.report.collect import Collected, Plane
from noisewise.report.pictures import as_png, as_signed_png, contrast
from noisewise.report.verdict import MARKED, table
from noisewise.version import __version__

SYMBOLS = {"believe": "✓", "look here": "!", "do not believe": "✗"}
SIDE, SIDE_OF_STACKS = 512, 256  # pixels of what is shown, of one plane and of several
CLASS_OF = {"believe": "good", "look here": "doubtful", "do not believe": "bad"}
RESIDUAL_STDS = 4.0  # standard deviations of the residual at full colour


def record_of(found: Collected) -> dict[str, Any]:
    """Everything that was found, as JSON values."""
    record: dict[str, Any] = finite({
        "image": found.name,
        "verdict": found.verdict.word,
        "reasons": list(found.verdict.reasons),
        "places": [list(place) for place in found.verdict.places],
        "checks": table(found.findings),
        "by_brightness": [vars(one) for one in found.classes],
        "noise": None if found.checkup is None else found.checkup.record(),
        "made": found.record,
    })  # fmt: skip
    return record


def render(found: Collected, command: str) -> str:
    """The page as text. command: that repeats the run."""
    environment = Environment(loader=PackageLoader("noisewise.report"), autoescape=select_autoescape(default=True))
    figures = {"Noise against signal": None if found.checkup is None else noise_figure(found.checkup)}
    if found.classes:
        parts = (
            np.array([getattr(one, name) for one in found.classes]) for name in ("signal", "mean", "error", "ratio")
        )
        figures["Residual by brightness"] = residual_figure(*parts)
    plane = found.planes[0]
    row = len(plane.noisy) // 2
    figures["Profile along the middle line"] = profile_figure(
        plane.noisy[row], plane.denoised[row], None if plane.std is None else plane.std[row]
    )
    record = record_of(found)
    side = SIDE if len(found.planes) == 1 else SIDE_OF_STACKS
    planes = [shown(plane, found.verdict.places, side) for plane in found.planes]
    without_pictures = {name: part for name, part in planes[0].items() if not str(part).startswith("data:")}
    return environment.get_template("page.html").render(
        found=found, symbol=SYMBOLS[found.verdict.word], colour=CLASS_OF[found.verdict.word],
        planes=planes, first=without_pictures,
        figures={name: figure for name, figure in figures.items() if figure}, checks=record["checks"],
        candidates=(found.record.get("choice") or {}).get("candidates", []),
        reason=(found.record.get("choice") or {}).get("reason", ""), command=command, version=__version__,
        data=json.dumps(record, ensure_ascii=False).replace("<", "\\u003c"),
    )  # fmt: skip


def shown(plane: Plane, places: tuple[tuple[int, int], ...], side: int) -> dict[str, Any]:
    """A plane as pictures: its middle at full resolution, with marked regions."""
    height, width = plane.noisy.shape
    top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
    cut = (slice(top, top + side), slice(left, left + side))
    noisy, denoised = plane.noisy[cut], plane.denoised[cut]
    low, high = contrast(denoised)
    residual = noisy - denoised
    limit = RESIDUAL_STDS * float(np.nanstd(residual)) or 1.0
    pictures = {
        "label": plane.label, "noisy": as_png(noisy, low, high), "denoised": as_png(denoised, low, high),
        "residual": as_signed_png(residual, limit), "width": noisy.shape[1], "height": noisy.shape[0],
        "marks": [
            {"x": x - left - MARKED // 2, "y": y - top - MARKED // 2, "side": MARKED}
            for y, x in places
            if 0 <= y - top < noisy.shape[0] and 0 <= x - left < noisy.shape[1]
        ],
    }  # fmt: skip
    if plane.std is not None:
        pictures["std"] = as_png(plane.std[cut], 0.0, float(np.nanquantile(plane.std, 0.998)) or 1.0)
    return pictures


def write_page(text: str, path: Path, overwrite: bool) -> None:
    """Write a page, complete or not at all. Errors: `UserError` if it cannot be written, or is not named as one."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{path}: a report is an HTML page; give a name with .html, such as {path.stem}.html")
    draft = Draft(path, overwrite)
    try:
        with as_user_error(path, "cannot be written"):
            draft.temporary.write_text(text, encoding="utf-8")
        draft.commit()
    except BaseException:
        draft.discard()
        raise
