"""Noise models in files: those of noisewise, and those of CAREamics, PPN2V and PN2V."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from noisewise.container import read_container
from noisewise.errors import UserError
from noisewise.noise import models
from noisewise.noise.base import Noise
from noisewise.noise.foreign_files import read_foreign
from noisewise.noise.quantization import Quantization


def unpack(content: dict[str, Any], tensors: dict[str, Tensor], prefix: str = "") -> Noise:
    """The inverse of `pack`."""
    found: dict[str, Any] = {}
    for name, packed in content["arguments"].items():
        value = packed["value"]
        if packed["type"] == "tensor":
            found[name] = tensors[prefix + name]
        elif packed["type"] == "noise_model":
            found[name] = unpack(value, tensors, f"{prefix}{name}.")
        else:
            found[name] = Quantization(**value) if packed["type"] == "quantization" else value
    return models.get(content["kind"])(**found)


def load_noise(path: str | Path) -> Noise:
    """Read a noise file, bit for bit; those of CAREamics and PPN2V (`.npz`, `.npy`) too.

    Errors: `UserError` if it is not one, or was damaged or edited.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in (".npz", ".npy"):
        return read_foreign(path)
    header, tensors = read_container(path, "noise")
    try:
        noise_model = unpack(header["noise_model"], tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: the noise model does not fit this version of noisewise ({error})") from error
    noise_model.provenance = header.get("provenance", {})
    return noise_model
