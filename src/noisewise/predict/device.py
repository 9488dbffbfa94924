"""The device that a network runs on, and the layout of its weights there."""

from __future__ import annotations

from collections.abc import Sized

import torch

from noisewise.errors import UserError
from noisewise.methods.base import Denoiser
from noisewise.predict.memory import keep_pages


def pick_device(name: str, noise_models: Sized = ()) -> torch.device:
    """The device of a name; `auto`: an accelerator if there is one, and no noise model.

    Errors: `UserError` for a device that is not available, and for an accelerator if there is a noise model: noise
    models use the processor's random numbers and double precision, which Apple's accelerator lacks.
    """
    if name == "auto":
        accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        name = next((kind for kind, there in accelerators.items() if there and not len(noise_models)), "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device '{name}' is not available here; leave the device out, or use cpu") from error
    if device.type == "cpu":
        keep_pages()
    elif len(noise_models):
        raise UserError(f"device '{name}': methods with a noise model run on the processor only; use cpu, or auto")
    return device


def arranged(net: Denoiser, device: torch.device) -> Denoiser:
    """On the device, weights in channels-last order: the layout in which convolutions are fastest."""
    layout = torch.channels_last if net.dims == 2 else torch.channels_last_3d
    net.to(device).backbone.to(memory_format=layout)  # type: ignore[call-overload]
    return net
