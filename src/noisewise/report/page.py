"""The HTML page of a report: one file that holds its images and figures, and works without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, Template, select_autoescape

from noisewise.errors import UserError
from noisewise.evaluate.finished import Finding
from noisewise.io.files import drafted
from noisewise.io.text import finite
from noisewise.plots.report import losses_figure, noise_figure, profile_figure, residual_figure
from noisewise.report.collect import Collected, Plane
from noisewise.report.pictures import as_png, as_signed_png, contrast
from noisewise.report.verdict import MARKED, table
from noisewise.version import __version__

SYMBOLS = {"believe": "✓", "look here": "!", "do not believe": "✗"}
SIDE, SIDE_OF_STACKS = 512, 256  # pixels of what is shown, of one plane and of several
CLASS_OF = {"believe": "good", "look here": "doubtful", "do not believe": "bad"}
THUMBNAIL = 96  # pixels
RESIDUAL_STDS = 4.0  # standard deviations of the residual at full colour


def record_of(found: Collected) -> dict[str, Any]:
    """Everything that was found, as JSON values."""
    record: dict[str, Any] = finite({
        "image": found.name,
        "verdict": found.verdict.word,
        "reasons": list(found.verdict.reasons),
        "places": [{"plane": one.plane, "y_x": list(one.place or ())} for one in found.verdict.places],
        "checked_fraction": found.seen,
        "checks": table(found.findings),
        "by_brightness": [vars(one) for one in found.classes],
        "noise": None if found.checkup is None else found.checkup.record(),
        "made": found.record,
    })  # fmt: skip
    return record


def render(found: Collected, command: str) -> str:
    """The page as text. command: that repeats the run."""
    record, choice = record_of(found), found.record.get("choice") or {}
    several = len(found.planes) > 1
    side = SIDE_OF_STACKS if several else SIDE
    planes = [shown(plane, found.verdict.places, side) for plane in found.planes]
    if found.projection is not None:
        planes.append(shown(found.projection, (), side))
    without_pictures = {name: part for name, part in planes[0].items() if not str(part).startswith("data:")}
    return template("page.html").render(
        found=found, symbol=SYMBOLS[found.verdict.word], colour=CLASS_OF[found.verdict.word],
        planes=planes, first=without_pictures, samples=samples_shown(found), figures=figures_of(found),
        checks=record["checks"], made=found.record.get("checks") or {},
        candidates=choice.get("candidates", []), reason=choice.get("reason", ""),
        command=command, version=__version__, data=as_script(record),
    )  # fmt: skip


def render_summary(found: Mapping[Path, Collected]) -> str:
    """A page that lists the reports of several outputs, worst first. found: by the page of each."""
    order = ("do not believe", "look here", "believe")
    rows = sorted(found.items(), key=lambda pair: (order.index(pair[1].verdict.word), -largest_excess(pair[1])))
    counts = {word: sum(one.verdict.word == word for one in found.values()) for word in order}
    records = [record_of(one) | {"page": page.name} for page, one in rows]
    return template("summary.html").render(
        counts=counts, version=__version__, data=as_script(records), rows=[
            {
                "page": quote(page.name), "name": one.name, "word": one.verdict.word,
                "symbol": SYMBOLS[one.verdict.word], "colour": CLASS_OF[one.verdict.word],
                "reasons": one.verdict.reasons, "picture": thumbnail(one.planes[0]),
            }
            for page, one in rows
        ],
    )  # fmt: skip


def largest_excess(found: Collected) -> float:
    """Of all checks, over their limits."""
    return max((one.excess for one in found.findings), default=0.0)


def template(name: str) -> Template:
    """A template of this package."""
    environment = Environment(loader=PackageLoader("noisewise.report"), autoescape=select_autoescape(default=True))
    return environment.get_template(name)


def as_script(record: Any) -> str:
    """JSON that cannot end the element it is in."""
    return json.dumps(record, ensure_ascii=False).replace("<", "\\u003c")


def figures_of(found: Collected) -> dict[str, str]:
    """All figures as SVG, by caption."""
    plane = found.planes[0]
    row = len(plane.noisy) // 2
    figures = {
        "Profile along the middle line": profile_figure(
            plane.noisy[row], plane.denoised[row], None if plane.std is None else plane.std[row]
        )
    }
    if found.checkup is not None:
        figures["Noise against signal"] = noise_figure(found.checkup)
    if found.classes:
        parts = (
            np.array([getattr(one, name) for one in found.classes]) for name in ("signal", "mean", "error", "ratio")
        )
        figures["Residual by brightness"] = residual_figure(*parts)
    if found.trained is not None and len(found.trained.losses) > 1:
        figures["Validation loss"] = losses_figure(found.trained.losses)
    return figures


def samples_shown(found: Collected) -> list[str]:
    """Samples as pictures, in the same contrast."""
    if found.trained is None or found.trained.samples is None:
        return []
    low, high = contrast(found.trained.samples)
    return [as_png(one, low, high) for one in found.trained.samples]


def thumbnail(plane: Plane) -> str:
    """A small picture of the middle of a denoised plane."""
    cut = tuple(
        slice(max(size - THUMBNAIL, 0) // 2, max(size - THUMBNAIL, 0) // 2 + THUMBNAIL) for size in plane.denoised.shape
    )
    return as_png(plane.denoised[cut], *contrast(plane.denoised))


def shown(plane: Plane, findings: tuple[Finding, ...], side: int) -> dict[str, Any]:
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
            {"x": x - MARKED // 2, "y": y - MARKED // 2, "side": MARKED}
            for y, x in seen_at(plane, findings, (top, left))
            if 0 <= y < noisy.shape[0] and 0 <= x < noisy.shape[1]
        ],
    }  # fmt: skip
    if plane.std is not None:
        pictures["std"] = as_png(plane.std[cut], 0.0, float(np.nanquantile(plane.std, 0.998)) or 1.0)
    return pictures


def seen_at(plane: Plane, findings: tuple[Finding, ...], first: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Where the findings of a plane are in a picture of it. first: (Y, X) of the picture in what was read.

    What concerns a whole line is marked where that enters the picture.
    """
    for one in findings:
        if one.place is not None and one.plane == plane.label:
            y, x = (at - start - begin for at, start, begin in zip(one.place, plane.start, first, strict=True))
            yield (max(y, 0), max(x, 0)) if one.check in ("seam", "stripe") else (y, x)


def write_page(text: str, path: Path, overwrite: bool) -> None:
    """Write a page, complete or not at all. Errors: `UserError` if it cannot be written, or is not named as one."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{path}: a report is an HTML page; give a name with .html, such as {path.stem}.html")
    with drafted(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
