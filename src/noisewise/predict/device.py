"""The device that a network runs on, and the layout of its weights there."""

from __future__ import annotations

from collections.abc import Sized

import torch

from noisewise.errors import UserError
from noisewise.methods.base import Denoiser
from noisewise.predict.memory import keep_pages

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}  # by the axes of a weight


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
    for weight in net.to(device).backbone.parameters():
        if weight.ndim in LAYOUTS:
            weight.data = weight.data.contiguous(memory_format=LAYOUTS[weight.ndim])
    return net
