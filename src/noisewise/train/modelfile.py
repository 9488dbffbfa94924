"""The model file: method and settings, what it is for, weights, laws of noise, provenance, the state of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from noisewise import methods
from noisewise.container import read_container, write_container
from noisewise.errors import UserError
from noisewise.methods.base import ImageSpec, Method
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise, pack, unpack
from noisewise.train.loop import Run

HOLDS = "model"


@dataclass
class Saved:
    """What a model file holds."""

    method: Method
    spec: ImageSpec
    net: Standardized
    provenance: dict[str, Any] = field(default_factory=dict)
    run: Run = field(default_factory=Run)


def write_model(path: Path, saved: Saved) -> None:
    """Write a model file. The state of a run is kept only while it is unfinished.

    Errors: `UserError` if the place cannot be written to.
    """
    state_dict = saved.net.state_dict()
    tensors = {f"net.{name}": tensor for name, tensor in state_dict.items() if not name.startswith("laws.")}
    laws = []
    for i, law in enumerate(saved.net.laws):
        content, values = pack(cast(Noise, law), f"law.{i}.")
        laws.append({"law": content, "provenance": law.provenance})
        tensors |= values
    run = asdict(saved.run)
    state = run.pop("tensors")
    if not saved.run.finished:
        tensors |= {f"run.{name}": tensor for name, tensor in state.items()}
    content = {
        "method": methods.name_of(saved.method),
        "settings": asdict(saved.method),
        "spec": asdict(saved.spec),
        "noise": laws,
        "provenance": saved.provenance,
        "run": run,
    }
    write_container(path, HOLDS, content, tensors)


def read_model(path: Path) -> Saved:
    """Read a model file and rebuild its network, bit for bit.

    Errors: `UserError` if the file is missing, truncated, edited, a pickle, or of another format or method.
    """
    header, tensors = read_container(path, HOLDS)
    try:
        method = TypeAdapter(methods.get(header["method"])).validate_python(header["settings"])
        spec = TypeAdapter(ImageSpec).validate_python(header["spec"])
        run = Run(**header["run"])
        laws = [read_law(kept, tensors, f"law.{i}.") for i, kept in enumerate(header.get("noise", []))]
    except (ValidationError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: the model's settings do not fit this version of noisewise ({error})") from error
    net = method.build(spec, laws)
    weights = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
    weights |= {name: t for name, t in net.state_dict().items() if name.startswith("laws.")}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit the network; use the original file") from error
    run.tensors = {n.removeprefix("run."): t for n, t in tensors.items() if n.startswith("run.")}
    return Saved(method, spec, net.eval(), header["provenance"], run)


def read_law(kept: dict[str, Any], tensors: dict[str, Any], prefix: str) -> Noise:
    """A law of noise out of a model file."""
    law = unpack(kept["law"], tensors, prefix)
    law.provenance = kept["provenance"]
    return law
