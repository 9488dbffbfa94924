"""Portable files: safetensors with a JSON header, and a checksum over both. They contain no pickle and no code.

The header's key `noisewise` contains the JSON: the format number, what the file holds ("noise", "model" or "pretrained
network"), its content, and as last entry a SHA-256 of the preceding text and all tensors, so that a damaged or edited
file is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from noisewise.errors import UserError
from noisewise.io.files import drafted

KEY = "noisewise"
FORMAT = 3
CHECKSUM = ', "sha256": '
NAMES = {"noise": "noise model"}  # of what a file holds, in messages
SOURCES = {"noise": "noisewise calibrate FRAMES -o NOISE", "model": "noisewise train METHOD IMAGE -o MODEL"}


def write_container(path: Path, holds: str, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file under a temporary name, then rename it. holds: "noise", "model" or "pretrained network".

    Errors: `UserError` if the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"format": FORMAT, "holds": holds, **content})
    # One header entry, as the order of several is random, and equal models must give equal files.
    data = save(tensors, {KEY: with_checksum(text, tensors)})
    with drafted(path, overwrite=True) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_text(path: Path, holds: str) -> str:
    """Read the text of the header. Errors: `UserError` if there is none."""
    what = NAMES.get(holds, holds)
    if not path.is_file():
        raise UserError(f"{path}: no such {what} file; check its name")
    try:
        with safe_open(path, "pt") as file:
            text: str | None = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a noisewise {what}, or truncated ({error}); give a safetensors file written by noisewise"
        ) from error
    if text is None:
        raise UserError(f"{path}: a safetensors file, but not a noisewise {what}; give a file written by noisewise")
    return text


def parse_header(path: Path, holds: str, text: str) -> dict[str, Any]:
    """Parse the header. Errors: `UserError` for another format, or a file that holds something else."""
    what = NAMES.get(holds, holds)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: the {what}'s header is damaged; use an undamaged copy") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise UserError(
            f"{path}: has {what} format {found}, but this version of noisewise reads format {FORMAT}; update "
            "noisewise, or create the file again"
        )
    if header.get("holds") != holds:
        found = NAMES.get(str(header.get("holds")), header.get("holds"))
        advice = f"; make one: {SOURCES[holds]}" if holds in SOURCES else "; use the original file"
        raise UserError(f"{path}: holds a {found}, not a {what}{advice}")
    return header


def holds_of(path: Path) -> str:
    """What a file holds; "model" for a file that is not a noisewise file, which is then refused as a model."""
    try:
        with safe_open(path, "pt") as file:
            return str(json.loads((file.metadata() or {})[KEY])["holds"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return "model"


def read_container(path: Path, holds: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors. Errors: `UserError` for a file that is missing, truncated, edited, or foreign."""
    text = read_text(path, holds)
    header = parse_header(path, holds, text)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if text != with_checksum(text.rpartition(CHECKSUM)[0] + "}", tensors):
        raise UserError(
            f"{path}: the {NAMES.get(holds, holds)} file was edited or damaged (its checksum differs); use the original"
        )
    if any(tensor.is_complex() for tensor in tensors.values()):
        raise UserError(f"{path}: holds complex numbers, which no {NAMES.get(holds, holds)} file does; make it again")
    return header, tensors


@dataclass
class Provenance:
    """The parts of a provenance that are used, and not only shown."""

    method: str = ""
    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    trained_on: list[str] = field(default_factory=list)
    signal_range: tuple[float, float] = (0.0, 1.0)
    warnings: list[str] = field(default_factory=list)


def checked_provenance(value: Any) -> dict[str, Any]:
    """The provenance in a file. Errors: `ValueError` if parts that are used have wrong types."""
    from pydantic import TypeAdapter

    TypeAdapter(Provenance).validate_json(json.dumps(value), strict=True)
    return dict(value)


def with_checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Add the SHA-256 of a JSON object's text and of all tensors to the object, as its last entry."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f'{text.removesuffix("}")}{CHECKSUM}"{digest.hexdigest()}"}}'
