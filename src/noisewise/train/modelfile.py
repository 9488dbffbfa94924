"""One portable model file: safetensors, with everything else as JSON in its header. No pickle, no code.

Header key `noisewise` holds the JSON: format number, method and its settings, what the network was built for,
provenance, the state of an unfinished run, and a SHA-256 over the JSON and all tensors, so that a file that was
damaged or edited is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from noisewise import methods
from noisewise.errors import UserError
from noisewise.io.paths import Draft, plain_words
from noisewise.methods.base import ImageSpec, Method
from noisewise.nets.standardized import Standardized
from noisewise.train.loop import Run

KEY = "noisewise"
FORMAT = 1


@dataclass
class Saved:
    """What a model file holds."""

    method: Method
    spec: ImageSpec
    net: Standardized
    provenance: dict[str, Any] = field(default_factory=dict)
    run: Run = field(default_factory=Run)


def write_model(path: Path, saved: Saved) -> None:
    """Write under a temporary name, then rename. The state of a run is kept only while it is unfinished.

    Errors: `UserError` if the place cannot be written to.
    """
    tensors = {f"net.{name}": tensor.cpu().contiguous() for name, tensor in saved.net.state_dict().items()}
    run = asdict(saved.run)
    state = run.pop("tensors")
    if not saved.run.finished:
        tensors |= {f"run.{name}": tensor.cpu().contiguous() for name, tensor in state.items()}
    header = {
        "format": FORMAT,
        "method": methods.name_of(saved.method),
        "settings": asdict(saved.method),
        "spec": asdict(saved.spec),
        "provenance": saved.provenance,
        "run": run,
    }
    header["sha256"] = fingerprint(header, tensors)
    content = save(tensors, {KEY: json.dumps(header)})
    draft = Draft(path, overwrite=True)
    try:
        with plain_words(path, "cannot be written"), draft.temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.commit()
    finally:
        draft.discard()


def read_header(path: Path) -> dict[str, Any]:
    """The JSON of a model file, without its weights. Errors: `UserError` if it is not one."""
    if not path.is_file():
        raise UserError(f"{path}: no such model file")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a noisewise model, or truncated ({error}); models are safetensors files written by noisewise"
        ) from error
    if text is None:
        raise UserError(f"{path}: a safetensors file, but not a noisewise model")
    try:
        header = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: the model's header is damaged; use an undamaged copy") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else None
        raise UserError(f"{path}: model format {found} is not {FORMAT}; update noisewise or train again")
    return header


def read_model(path: Path) -> Saved:
    """Read a model file and rebuild its network, bit for bit.

    Errors: `UserError` if the file is missing, truncated, edited, a pickle, or of another format or method.
    """
    header = read_header(path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if fingerprint(header, tensors) != header.get("sha256"):
        raise UserError(f"{path}: the model file was edited or damaged (its checksum differs); use the original")
    try:
        method = TypeAdapter(methods.get(header["method"])).validate_python(header["settings"])
        spec = TypeAdapter(ImageSpec).validate_python(header["spec"])
        run = Run(**header["run"])
    except (ValidationError, KeyError, TypeError) as error:
        raise UserError(f"{path}: the model's settings do not fit this version of noisewise ({error})") from error
    net = method.build(spec)
    try:
        net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit the network; use the original file") from error
    run.tensors = {n.removeprefix("run."): t for n, t in tensors.items() if n.startswith("run.")}
    return Saved(method, spec, net.eval(), header["provenance"], run)


def fingerprint(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the JSON (less the fingerprint itself) and all tensors."""
    digest = hashlib.sha256()
    content = {key: value for key, value in header.items() if key != "sha256"}
    digest.update(json.dumps(content, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
