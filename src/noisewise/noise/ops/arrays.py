"""NumPy arrays as arguments of noise models: they become tensors, and the results become arrays again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from noisewise.axes import Array
from noisewise.errors import UserError

IMAGES = ("noisy", "signal")
Function = TypeVar("Function", bound=Callable[..., Any])


def accepts_arrays(function: Function) -> Function:
    """A method of a noise model that also takes numbers and NumPy arrays, of any numeric type, as `noisy` and `signal`.

    The results are tensors if an argument is a tensor, otherwise arrays (numbers for numbers). A `generator` may also
    be one of NumPy, or a random seed.

    Errors: `UserError` for values that are not numbers, and for shapes that do not broadcast.
    """
    names = list(inspect.signature(function).parameters)[1:]

    @wraps(function)
    def either(self: Any, *args: Any, **options: Any) -> Any:
        if len(args) > len(names):
            return function(self, *args, **options)
        given = with_generator(dict(zip(names, args, strict=False)) | options)
        images = {name: given[name] for name in IMAGES if name in given}
        if all(isinstance(one, Tensor) and one.is_floating_point() for one in images.values()):
            return function(self, **given)
        device = next((one.device for one in images.values() if isinstance(one, Tensor)), None)
        tensors = {name: as_tensor(one, name, device) for name, one in images.items()}
        check_shapes(tensors, getattr(self, "size", None) if isinstance(self, nn.Module) else None)
        found = function(self, **given | tensors)
        return found if device is not None else as_arrays(found)

    return either  # type: ignore[return-value]


def check_shapes(tensors: dict[str, Tensor], size: tuple[int, int] | None) -> None:
    """Errors: `UserError` for images whose shapes do not broadcast, with each other and with a sensor (Y, X)."""
    try:
        torch.broadcast_shapes(*(one.shape for one in tensors.values()), size or ())  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        shapes = " and ".join(f"{name} of shape {tuple(one.shape)}" for name, one in tensors.items())
        sensor = "" if size is None else f" and a noise model of {size[0]} x {size[1]} pixels"
        raise UserError(f"{shapes}{sensor} do not fit each other; give images (..., Y, X) of equal size") from error


def refuse_single_pixels(image: Tensor, what: str = "correlated", least: int = 1) -> None:
    """Errors: `UserError` for what is no image of `least` pixels or more along Y and X; what: kind of the noise."""
    if image.ndim < 2 or min(image.shape[-2:]) < least:
        raise UserError(f"{what} noise needs images (..., Y, X); single pixels have no neighbours")


def with_generator(options: dict[str, Any]) -> dict[str, Any]:
    """Arguments with PyTorch's `generator` in place of a seed, or of a generator of NumPy. Errors: `UserError`."""
    given = options.get("generator")
    if given is None or isinstance(given, torch.Generator):
        return options
    if isinstance(given, np.random.Generator):
        given = given.integers(2**63)
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 0:
        raise UserError(f"generator {given!r} gives no random numbers; give a seed, 0 or more, or a generator")
    return options | {"generator": torch.Generator().manual_seed(int(given))}


def as_tensor(image: Any, name: str, device: torch.device | None) -> Tensor:
    """Numbers as a floating-point tensor: float32 stays so, other types become float64."""
    if isinstance(image, Tensor):
        return image if image.is_floating_point() else image.double()
    try:
        array = np.asarray(image)
    except Exception as error:
        raise UserError(f"{name}: {type(image).__name__} is no array of numbers; give pixel values in ADU") from error
    if array.dtype.kind not in "iuf":
        raise UserError(f"{name}: values of type {array.dtype} are no pixel values; give numbers in ADU")
    kind = np.float32 if array.dtype.kind == "f" and array.itemsize <= 4 else np.float64
    return torch.from_numpy(np.array(array, kind)).to(device)


def as_arrays(found: Any) -> Any:
    """Tensors as arrays, numbers where they have no axis, also in a tuple; other results unchanged."""
    if isinstance(found, tuple):
        return tuple(as_arrays(one) for one in found)
    if not isinstance(found, Tensor):
        return found
    array: Array = found.detach().cpu().numpy()
    return array[()]
