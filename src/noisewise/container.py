"""One portable file: safetensors, with everything else as JSON in its header, and a checksum over both.

Header key `noisewise` holds the JSON: what the file holds, its format number, its content, and as its last entry a
SHA-256 over the text before and all tensors, so that a file that was damaged or edited is refused. No pickle, no code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from noisewise.errors import UserError
from noisewise.io.paths import Draft, as_user_error

KEY = "noisewise"
FORMAT = 3
SEAL = ', "sha256": '


def write_container(path: Path, holds: str, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write under a temporary name, then rename. holds: `model` or `noise`.

    Errors: `UserError` if the place cannot be written to.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"format": FORMAT, "holds": holds, **content})
    # In one entry with the text: the order of several is random, and equal models are to be equal files.
    data = save(dict(tensors), {KEY: sealed(text, tensors)})
    draft = Draft(path, overwrite=True)
    try:
        with as_user_error(path, "cannot be written"), draft.temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.commit()
    finally:
        draft.discard()


def read_text(path: Path, holds: str) -> str:
    """The text of the header. Errors: `UserError` if there is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such {holds} file")
    try:
        with safe_open(path, "pt") as file:
            text: str | None = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a noisewise {holds}, or truncated ({error}); it is a safetensors file written by noisewise"
        ) from error
    if text is None:
        raise UserError(f"{path}: a safetensors file, but not a noisewise {holds}")
    return text


def parsed(path: Path, holds: str, text: str) -> dict[str, Any]:
    """The header. Errors: `UserError` if it is none of this format that holds this."""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: the {holds}'s header is damaged; use an undamaged copy") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise UserError(f"{path}: {holds} format {found} is not {FORMAT}; update noisewise, or make the file again")
    if header.get("holds") != holds:
        raise UserError(f"{path}: holds a {header.get('holds')}, not a {holds}")
    return header


def holds_of(path: Path) -> str:
    """`model` or `noise`; `model` for whatever else, which is then refused as one."""
    try:
        with safe_open(path, "pt") as file:
            return str(json.loads((file.metadata() or {})[KEY])["holds"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return "model"


def read_container(path: Path, holds: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors, bit for bit. Errors: `UserError` if missing, truncated, edited or a pickle."""
    text = read_text(path, holds)
    header = parsed(path, holds, text)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if text != sealed(text.rpartition(SEAL)[0] + "}", tensors):
        raise UserError(f"{path}: the {holds} file was edited or damaged (its checksum differs); use the original")
    return header, tensors


def sealed(text: str, tensors: Mapping[str, Tensor]) -> str:
    """A JSON object with the SHA-256 over its text and all tensors as one more entry."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f'{text.removesuffix("}")}{SEAL}"{digest.hexdigest()}"}}'
