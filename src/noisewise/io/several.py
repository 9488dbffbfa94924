"""Files that contain several images: which number there is, and what is said of images that are left out."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

from noisewise.errors import UserError, counted


def check_number(path: Path, number: int, count: int) -> None:
    """Errors: `UserError` if a file has no image of this number."""
    if not 0 <= number < count:
        raise UserError(
            f"{path}: contains {counted(count, 'image')}, numbered from 0, and none with number {number}; "
            f"list them: noisewise info {quote(path.name)}"
        )


def left_out(path: Path, others: dict[int, str]) -> list[str]:
    """A note on the images of a file that are not denoised, by number."""
    if not others:
        return []
    listed = "; ".join(f"{number}: {text}" for number, text in list(others.items())[:3])
    more = f"; and {len(others) - 3} more" if len(others) > 3 else ""
    command = f"noisewise denoise {quote(path.name)} --series {next(iter(others))}"
    return [f"{counted(len(others), 'further image')} in the file left out ({listed}{more}); to denoise one: {command}"]


def release(users: list[int], user: int, file: Any) -> None:
    """Close a file when its last user is done."""
    if user in users:
        users.remove(user)
        if not users:
            file.close()
