"""Noise models p(x|s), one file each; the file name is the kind of the model."""

from __future__ import annotations

import copy
import importlib
import inspect
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from noisewise.errors import UserError
from noisewise.noise.quantization import Quantization
from noisewise.registry import public_modules

if TYPE_CHECKING:
    from noisewise.noise.base import Noise


@cache
def kinds() -> dict[str, type[Noise]]:
    """Map each kind (file name) to its noise model class."""
    from noisewise.noise.base import Noise

    found = {}
    for name in public_modules(__path__):
        module = importlib.import_module(f"{__name__}.{name}")
        for member in vars(module).values():
            defined_here = inspect.isclass(member) and member.__module__ == module.__name__
            if defined_here and issubclass(member, Noise) and not inspect.isabstract(member):
                found[name] = member
    return found


def get(kind: str) -> type[Noise]:
    """Noise model class of a kind. Errors: `UserError` for an unknown kind."""
    if kind not in kinds():
        raise UserError(f"unknown kind of noise '{kind}'; there are: {', '.join(kinds())}")
    return kinds()[kind]


def unpack(content: dict[str, Any], tensors: dict[str, Tensor], prefix: str = "") -> Noise:
    """Rebuild a noise model from JSON content and named tensors; the inverse of `base.pack`.

    Errors: any, for content that is wrong; `ValueError` for a model that gives no finite numbers.
    """
    found: dict[str, Any] = {}
    for name, packed in content["arguments"].items():
        value = packed["value"]
        if packed["type"] == "tensor":
            found[name] = tensors[prefix + name]
        elif packed["type"] == "noise_model":
            found[name] = unpack(value, tensors, f"{prefix}{name}.")
        else:
            found[name] = Quantization(**value) if packed["type"] == "quantization" else value
    return tried(get(content["kind"])(**found))


def tried(noise_model: Noise) -> Noise:
    """The same noise model, after it was used for a few pixels: what a file holds may fail only then.

    Errors: any; `ValueError` for results of another shape, or not finite.
    """
    signal = torch.linspace(1.0, 1000.0, 64, dtype=torch.float64).reshape(1, 8, 8)
    model = copy.deepcopy(noise_model).typical()  # a model keeps tables of the signals that it was used for
    with torch.no_grad():
        noisy = model.sample(signal, torch.Generator().manual_seed(0))
        found = (noisy, *model.mean_var(signal), model.log_prob(noisy, signal))
        one = signal[0, 0, 0]
        of_one = (*model.mean_var(one), model.log_prob(one, one))
    if any(part.shape != one.shape for part in of_one):
        raise ValueError("its parameters have wrong shapes")
    # As 32-bit numbers, in which images are.
    finite = all(bool(part.float().isfinite().all()) for part in found[:3])
    noise = float(found[2].max()) > 0 and not bool(found[3].isnan().any())
    if any(part.shape != signal.shape for part in found) or not (finite and noise):
        raise ValueError("its parameters give no noise, or none that is finite")
    return noise_model
