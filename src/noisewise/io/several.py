"""Files that contain several images: which number there is, and what is said of images that are left out."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
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


def likeness(axes: Iterable[str], shape: Iterable[int], dtype: Any) -> tuple[Any, ...]:
    """What images share that one model denoises: pixel type, and number of channels."""
    sizes = dict(zip(axes, shape, strict=True))
    return dtype, sizes.get("C", 1) * sizes.get("S", 1)


def described(shape: Iterable[int], dtype: Any) -> str:
    """Size and pixel type of an image, as in `256 x 256 uint16`."""
    return f"{' x '.join(map(str, shape))} {dtype}"


def share(file: Any, sources: Sequence[Any], readers: Sequence[Any]) -> None:
    """Let the last of the sources that read from a file close it; at once, if there are none."""
    users = [id(reader) for reader in readers]
    if not users:
        file.close()
    for source in sources:
        source.users = users
    for reader in readers:
        weakref.finalize(reader, release, users, id(reader), file)


def release(users: list[int], user: int, file: Any) -> None:
    """Close a file when its last user is done."""
    if user in users:
        users.remove(user)
        if not users:
            file.close()
