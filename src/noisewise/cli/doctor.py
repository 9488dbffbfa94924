"""`noisewise doctor`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from noisewise.cli._display import print_json
from noisewise.cli._exit import OK, USER_ERROR
from noisewise.cli._options import Axes, Switch, check
from noisewise.cli._print import say
from noisewise.errors import UserError
from noisewise.io.files import check_regular, user_path
from noisewise.io.paths import file_of

if TYPE_CHECKING:
    from noisewise.io.base import Source

SENTENCES = {"problems", "warnings", "notes"}
Files = Positional[Annotated[list[str], arg(metavar="FILE...", help_behavior_hint="")]]


@dataclass(kw_only=True)
class Doctor:
    """Say what is wrong with the installation, the graphics card or a file, and which method to take.

    Without files: versions, processor, memory, speed, optional packages. With files: what each image is, what was found
    in its noise, and the command to denoise it.
    """

    files: Files = field(default_factory=list)
    """images to look at instead of the installation"""
    axes: Axes = None
    """dimensions of the images, letters out of STCZYX, if the file does not give them or they are wrong"""
    json: Switch = False
    """print one JSON object on stdout and nothing else"""

    def run(self) -> int:
        """Print the findings, problems, and how to start."""
        from noisewise.cli._installation import examine
        from noisewise.cli.info import lines

        check(self)
        record = {"files": [examine_file(name, self.axes) for name in self.files]} if self.files else examine()
        if self.json:
            print_json(record)
        else:
            say("\n\n".join("\n".join(lines(numbered(one))) for one in record.get("files", [record])))
        return USER_ERROR if any("error" in one for one in record.get("files", ())) else OK


def numbered(record: dict[str, Any]) -> dict[str, Any]:
    """A record in which lists of sentences have a line for each."""
    return {
        key: dict(zip(map(str, range(1, len(value) + 1)), value, strict=True)) if key in SENTENCES else value
        for key, value in record.items()
    }  # fmt: skip


def examine_file(name: str, axes: str | None) -> dict[str, Any]:
    """What an image is, what its noise is, and the command that denoises it; or why it cannot be used."""
    from noisewise.cli.info import image_record
    from noisewise.io import open_images

    try:
        path = user_path(name)
        check_regular(file_of(path))
        record = image_record(path, axes, None)
        with open_images(path, axes)[0] as source:
            channels = {str(channel): noise_record(source, channel) for channel in range(source.size_of("C"))}
    except UserError as error:
        return {"file": name, "error": str(error)}
    kept = ("file", "format", "axes", "shape", "pixels", "pixel size", "notes")
    noise = channels["0"] if len(channels) == 1 else {"channels": channels}
    again = "method" in (record["made by noisewise"] or {})
    words = ["noisewise", "denoise", str(path), *(["--axes", axes] if axes else [])]
    start = "nothing: noisewise made this image; denoise the noisy one" if again else shlex.join(words)
    return {key: record[key] for key in kept} | noise | {"start with": start}


def noise_record(source: Source, channel: int) -> dict[str, Any]:
    """The noise of a channel in words: the verdict, warnings, and the methods that fit."""
    from noisewise.estimate.measure import measure
    from noisewise.workflow.choose import choose_method, suited_methods

    found = measure(source, channel=channel)
    return {
        "noise": found.verdict,
        "warnings": found.warnings,
        "methods that fit": suited_methods(found) or "none",
        "denoise takes": f"{choose_method('auto', found)}, unless another result is better for this image",
    }
