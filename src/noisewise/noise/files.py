"""Read noise models from files of noisewise, CAREamics, PPN2V and PN2V."""

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
    """Rebuild a noise model from JSON content and named tensors; the inverse of `base.pack`."""
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
    """Read a noise file: of noisewise (bit for bit), of CAREamics and PPN2V (`.npz`), or of PN2V (`.npy`).

    Errors: `UserError` if the file holds no noise model, or was damaged or edited.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() in (".npz", ".npy"):
        return read_foreign(path)
    header, tensors = read_container(path, "noise")
    try:
        noise_model = unpack(header["noise_model"], tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: this version of noisewise cannot read the noise model ({error}); make it again with "
            f"noisewise measure or noisewise calibrate"
        ) from error
    noise_model.provenance = header.get("provenance", {})
    return noise_model
