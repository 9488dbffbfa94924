"""The receptive field of a network, and the memory it takes: measured, not declared."""

from __future__ import annotations

import copy
from math import prod

import torch
from torch import Tensor, nn

from noisewise.nets.standardized import Standardized


def receptive_radius(net: Standardized, through: nn.Module | None = None) -> tuple[int, ...]:
    """How far, in pixels along each axis, an input pixel can change the output of the backbone, or of a part of it.

    A copy gets positive weights and no biases; then whatever one pixel can reach comes out above zero.
    Every phase of the pooling grid is tried, on a line of pixels that is lengthened until the field fits.
    """
    probe = copy.deepcopy(through or net.backbone).double().cpu().eval()
    with torch.no_grad():
        for name, tensor in probe.state_dict().items():
            if tensor.is_floating_point():
                positive = name.endswith(("weight", "running_var", "kernel"))
                tensor.fill_(1.0 / max(1, tensor[0].numel()) if positive else 0.0)
        return tuple(_radius_along(probe, axis, net.stride, inputs_of(probe, net)) for axis in range(net.dims))


def inputs_of(part: nn.Module, net: Standardized) -> int:
    """Maps that a part of a network takes: those of the backbone, unless it says otherwise."""
    channels: int = getattr(part, "in_channels", net.width)
    return channels


def _radius_along(probe: nn.Module, axis: int, stride: tuple[int, ...], channels: int) -> int:
    length = 16 * stride[axis]
    while True:
        size = [length if a == axis else s for a, s in enumerate(stride)]
        phases = range(length // 2, length // 2 + stride[axis])
        x = torch.zeros(stride[axis], channels, *size, dtype=torch.float64)
        x.movedim(2 + axis, -1)[torch.arange(stride[axis]), ..., torch.tensor(phases)] = 1.0
        touched = probe(x).movedim(2 + axis, -1).flatten(1, -2).abs().amax(1) > 0
        reach = [int((line.nonzero() - phase).abs().max()) for line, phase in zip(touched, phases, strict=True)]
        if max(reach) < length // 2 - stride[axis] or length > 4096:
            return max(reach)
        length *= 2


def bytes_per_pixel(net: Standardized, through: nn.Module | None = None) -> float:
    """Memory that one input pixel takes in a forward pass: all that the layers put out, as if nothing were freed."""
    module = through or net.backbone
    count = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
        nonlocal count
        count += output.numel() * output.element_size()

    leaves = [m for m in module.modules() if not list(m.children())]
    hooks = [leaf.register_forward_hook(add) for leaf in leaves]
    size = [2 * s for s in net.stride]
    try:
        with torch.no_grad():
            module(torch.zeros(1, inputs_of(module, net), *size, device=net.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    return count / prod(size)
