"""Measure the receptive field and the memory use of a network."""

from __future__ import annotations

import copy
from math import prod

import torch
from torch import Tensor, nn

from noisewise.nets.standardized import Standardized

FIRST_LENGTH = 32  # of the line, positions of the coarsest level
_known: dict[tuple[str, int, tuple[int, ...], int], tuple[int, ...]] = {}


def receptive_radius(net: Standardized, part: nn.Module | None = None) -> tuple[int, ...]:
    """Radius of the receptive field of a network's backbone, or of a part of it, in pixels along each axis.

    A copy gets positive weights and no biases, so that one input pixel makes every output that depends on it positive.
    Each phase of the pooling grid is tested, on a line of pixels that is lengthened until the field fits. It takes a
    second; radii of networks with the same layers are kept.
    """
    key = str(part or net.backbone), inputs_of(part or net.backbone, net), net.stride, net.dims
    if key not in _known:
        _known[key] = _measured(net, part)
    return _known[key]


def _measured(net: Standardized, part: nn.Module | None) -> tuple[int, ...]:
    probe = copy.deepcopy(part or net.backbone).double().cpu().eval()
    with torch.no_grad():
        for name, tensor in probe.state_dict().items():
            if tensor.is_floating_point():
                positive = name.endswith(("weight", "running_var", "kernel"))
                tensor.fill_(1.0 / max(1, tensor[0].numel()) if positive else 0.0)
        return tuple(_radius_along(probe, axis, net.stride, inputs_of(probe, net)) for axis in range(net.dims))


def inputs_of(part: nn.Module, net: Standardized) -> int:
    """Number of input channels of a part of a network: its attribute `in_channels`, or the width of the network."""
    channels: int = getattr(part, "in_channels", net.width)
    return channels


def _radius_along(probe: nn.Module, axis: int, stride: tuple[int, ...], channels: int) -> int:
    length = FIRST_LENGTH * stride[axis]
    while True:
        size = [length if a == axis else max(s, 2) for a, s in enumerate(stride)]
        phases = range(length // 2, length // 2 + stride[axis])
        x = torch.zeros(stride[axis], channels, *size, dtype=torch.float64)
        line = x.movedim(2 + axis, -1)
        values = torch.linspace(1, 2, line[0, ..., 0].numel(), dtype=x.dtype).reshape(line[0, ..., 0].shape)
        line[torch.arange(stride[axis]), ..., torch.tensor(phases)] = values  # no two planes are alike
        affected = probe(x).movedim(2 + axis, -1).flatten(1, -2).abs().amax(1) > 0
        radius = max(int((line.nonzero() - phase).abs().max()) for line, phase in zip(affected, phases, strict=True))
        if radius < length // 2 - stride[axis] or length > 4096:
            return radius
        length *= 2


def bytes_per_pixel(net: Standardized, part: nn.Module | None = None) -> float:
    """Memory in bytes for each input pixel in a forward pass: the outputs of all layers, as if none were freed."""
    module = part or net.backbone
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
