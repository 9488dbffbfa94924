"""The model file: method and settings, image specification, weights, noise models, provenance, training state."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from noisewise import methods
from noisewise.container import checked_provenance, read_container, write_container
from noisewise.errors import UserError, one_line
from noisewise.methods.base import Denoiser, ImageSpec, Method
from noisewise.noise.base import Noise, pack
from noisewise.noise.models import unpack
from noisewise.train.state import TrainState

HOLDS = "model"
SPARE_WEIGHTS = 2**20  # that may be allocated in addition to those in the file
ADDED = ("kept_", "spread")  # how the names of tensors begin that files of version 0.1 lack
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
        return rebuilt(header, tensors)
    except Exception as error:  # what a stranger's file holds may fail anywhere
        reason = one_line(str(error)) or type(error).__name__
        raise UserError(
            f"{path}: the model does not fit this version of noisewise ({reason}); use the original file"
        ) from error


def rebuilt(header: dict[str, Any], tensors: dict[str, Tensor]) -> SavedModel:
    """The model of a file's header and tensors. Errors: any, for content that is wrong."""
    from pydantic import TypeAdapter

    method = TypeAdapter(methods.get(header["method"])).validate_python(header["settings"])
    spec = TypeAdapter(ImageSpec).validate_python(header["spec"])
    check_lengths(spec)
    types = get_type_hints(TrainState)
    state = TrainState(**{n: TypeAdapter(types[n]).validate_python(v) for n, v in header["train_state"].items()})
    noise_models = [read_noise(kept, tensors, f"noise.{i}.") for i, kept in enumerate(header.get("noise", []))]
    weights = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
    with AtMost(sum(tensor.numel() for tensor in weights.values()) + SPARE_WEIGHTS):
        net = method.build(spec, noise_models)
    weights |= {name: t for name, t in net.state_dict().items() if name.startswith(NOISE)}
    weights = {name: t for name, t in net.state_dict().items() if name.startswith(ADDED)} | weights
    net.load_state_dict(weights)
    state.tensors = {n.removeprefix("training."): t for n, t in tensors.items() if n.startswith("training.")}
    return SavedModel(method, spec, net.eval(), checked_provenance(header["provenance"]), state)


def check_lengths(spec: ImageSpec) -> None:
    """Errors: `ValueError` where the numbers of channels or axes that a file states differ."""
    channels = {spec.channels, *map(len, (spec.mean, spec.std, spec.target_mean, spec.target_std))}
    if len(channels) > 1 or len({spec.dims, len(spec.spacing), len(spec.size)}) > 1:
        raise ValueError("its numbers of channels or axes contradict each other")


class AtMost(TorchFunctionMode):
    """Refuse to allocate more than this number of weights: a header must not ask for a network larger than its file."""

    def __init__(self, weights: int) -> None:
        super().__init__()
        self.left = weights

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.empty and args:
            self.left -= math.prod(
                args[0] if isinstance(args[0], list | tuple) else [n for n in args if type(n) is int]
            )
            if self.left < 0:
                raise ValueError("its settings ask for a larger network than it holds")
        return func(*args, **(kwargs or {}))


def read_noise(kept: dict[str, Any], tensors: dict[str, Any], prefix: str) -> Noise:
    """A noise model from a model file."""
    noise_model = unpack(kept["noise_model"], tensors, prefix)
    noise_model.provenance = checked_provenance(kept["provenance"])
    return noise_model
