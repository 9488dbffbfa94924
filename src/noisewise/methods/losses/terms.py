"""Sums of losses whose terms, and their gradients, are computed side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from noisewise import threads
from noisewise.methods.base import Batch, Denoiser

Term = tuple[float, Callable[[Batch], Tensor], Batch]
"""weight, loss, and its patches"""
Gradients = tuple[Tensor | None, ...]


def weighted_sum(net: Denoiser, terms: Sequence[Term]) -> Tensor:
    """Σ weight · loss(batch). Each term has random numbers of its own, so the result does not depend on the threads."""
    terms = [(weight, loss, with_own_generator(batch)) for weight, loss, batch in terms]
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    shared = any(isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d) for layer in net.modules())  # running statistics
    if len(terms) < 2 or shared or not torch.is_grad_enabled() or net.mean.device.type != "cpu":
        zero = torch.zeros((), device=net.mean.device)
        return sum((weight * loss(batch) for weight, loss, batch in terms), zero)
    enabled, precision = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def value_and_gradient(term: Term) -> tuple[Tensor, Gradients]:
        weight, loss, batch = term
        with torch.autocast("cpu", dtype=precision, enabled=enabled, cache_enabled=False):  # as in the calling thread
            value = weight * loss(batch)
        return value.detach(), torch.autograd.grad(value, parameters, allow_unused=True)

    values, gradients = zip(*threads.in_parallel(value_and_gradient, terms), strict=True)
    summed = [sum_of([part for part in parts if part is not None]) for parts in zip(*gradients, strict=True)]
    total: Tensor = WithGradient.apply(torch.stack(values).sum(), summed, *parameters)  # type: ignore[no-untyped-call]
    return total


def with_own_generator(batch: Batch) -> Batch:
    """The batch with a random generator that its own one seeds."""
    seed = int(torch.randint(2**62, (), generator=batch.generator))
    return replace(batch, generator=torch.Generator(batch.generator.device).manual_seed(seed))


def sum_of(parts: Sequence[Tensor]) -> Tensor | None:
    """The sum of tensors, in their order; None if there is none."""
    return torch.stack(list(parts)).sum(0) if len(parts) > 1 else next(iter(parts), None)


class WithGradient(torch.autograd.Function):
    """A value whose gradients with respect to the parameters are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *_parameters: Tensor) -> Tensor:
        """The value itself."""
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Any:
        """The known gradients, times that of the value."""
        return None, None, *[None if inner is None else outer * inner for inner in ctx.gradients]
