"""The model file: method and settings, image specification, weights, noise models, provenance, training state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from noisewise import methods
from noisewise.container import read_container, write_container
from noisewise.errors import UserError
from noisewise.methods.base import Denoiser, ImageSpec, Method
from noisewise.noise.base import Noise, pack
from noisewise.noise.models import unpack
from noisewise.train.loop import TrainState

HOLDS = "model"
NOISE = "noise_models."  # how the names of a network's tensors begin that belong to its noise models


@dataclass
class SavedModel:
    """The content of a model file."""

    method: Method
    spec: ImageSpec
    net: Denoiser
    provenance: dict[str, Any] = field(default_factory=dict)
    train_state: TrainState = field(default_factory=TrainState)


def write_model(path: Path, saved: SavedModel) -> None:
    """Write a model file. The tensors of a training's state are kept only while it is unfinished.

    Errors: `UserError` if the file cannot be written.
    """
    state_dict = saved.net.state_dict()
    tensors = {f"net.{name}": tensor for name, tensor in state_dict.items() if not name.startswith(NOISE)}
    noise_models = []
    for i, noise_model in enumerate(saved.net.noise):
        content, values = pack(noise_model, f"noise.{i}.")
        noise_models.append({"noise_model": content, "provenance": noise_model.provenance})
        tensors |= values
    state = asdict(saved.train_state)
    training = state.pop("tensors")
    if not saved.train_state.finished:
        tensors |= {f"training.{name}": tensor for name, tensor in training.items()}
    content = {
        "method": methods.name_of(saved.method),
        "settings": asdict(saved.method),
        "spec": asdict(saved.spec),
        "noise": noise_models,
        "provenance": saved.provenance,
        "train_state": state,
    }
    write_container(path, HOLDS, content, tensors)


def read_model(path: Path) -> SavedModel:
    """Read a model file and rebuild its network, bit for bit.

    Errors: `UserError` if the file is missing, truncated, edited, a pickle, or of another format or method.
    """
    header, tensors = read_container(path, HOLDS)
    try:
        method = TypeAdapter(methods.get(header["method"])).validate_python(header["settings"])
        spec = TypeAdapter(ImageSpec).validate_python(header["spec"])
        state = TrainState(**header["train_state"])
        noise_models = [read_noise(kept, tensors, f"noise.{i}.") for i, kept in enumerate(header.get("noise", []))]
    except (ValidationError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: the model's settings do not fit this version of noisewise ({error})") from error
    net = method.build(spec, noise_models)
    weights = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
    weights |= {name: t for name, t in net.state_dict().items() if name.startswith(NOISE)}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit the network; use the original file") from error
    state.tensors = {n.removeprefix("training."): t for n, t in tensors.items() if n.startswith("training.")}
    return SavedModel(method, spec, net.eval(), header["provenance"], state)


def read_noise(kept: dict[str, Any], tensors: dict[str, Any], prefix: str) -> Noise:
    """A noise model from a model file."""
    noise_model = unpack(kept["noise_model"], tensors, prefix)
    noise_model.provenance = kept["provenance"]
    return noise_model
