"""U-Net in 2D and 3D; the networks of N2V and N2V2 and the fast default differ in its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Factor = tuple[int, ...]
Borders = Literal["zeros", "replicate"]
"""padding of a convolution"""
CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class UNet(nn.Module):
    """U-Net from (N, in_channels, *spatial) to (N, out_channels, *spatial), for any spatial size.

    pools: pooling factors between the levels, finest first, such as ((2, 2), (2, 2)); their number is the depth.
    stem: space-to-depth factor in front of the network; with (2, 2) the finest level has a quarter of the pixels and
    the receptive field doubles. features: number at the finest level; each coarser level has `growth` times as many.
    blocks: residual blocks, x + two convolutions, of each stage; 0: two convolutions with batch norm instead.
    pool: `max`, `blur` (max, then a [1, 2, 1] low-pass: less aliasing, no chequerboard), `conv` (learned), or
    `max_linear` and `blur_linear`, as in CAREamics (linear interpolation on the way up, zeros beyond the image).
    merge: how skip connections join, `concat` or `add`. top_skip: whether the finest level has one; noise passes
    through it.

    Sources: Ronneberger et al. 2015 (U-Net), doi:10.1007/978-3-319-24574-4_28; Krull et al. 2019 (N2V),
    doi:10.1109/CVPR.2019.00223; Höck et al. 2022 (N2V2), arXiv:2211.08512; Shi et al. 2016 (sub-pixel convolution),
    doi:10.1109/CVPR.2016.207.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 1, *, pools: Sequence[Factor], stem: Factor | None = None,
        features: int = 32, growth: float = 2.0, blocks: int = 0,
        pool: Literal["max", "blur", "conv", "max_linear", "blur_linear"] = "max",
        merge: Literal["concat", "add"] = "concat", top_skip: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dims = dims = len(pools[0])
        self.stem = stem or (1,) * dims
        self.pools = tuple(pools)
        self.stride = tuple(prod(factors) for factors in zip(self.stem, *pools, strict=True))
        self.merge, self.top_skip = merge, top_skip
        widths = [round(features * growth**level) for level in range(len(pools) + 1)]

        def stage(inputs: int, middle: int, outputs: int, first: bool = False) -> nn.Module:
            if blocks:
                return Residuals(dims, inputs, middle, outputs, blocks, exact=first)
            return DoubleConv(dims, inputs, middle, outputs)

        above = [widths[0], *widths[:-1]]  # the width between a level and the finer one
        first = in_channels * prod(self.stem)
        self.encoders = nn.ModuleList(
            stage(first if level == 0 else above[level], widths[level], widths[level], first=level == 0)
            for level in range(len(pools))
        )
        self.downs = nn.ModuleList(make_pool(pool, width, factor) for width, factor in zip(widths, pools, strict=False))
        self.bottom = stage(above[-1], widths[-1], above[-1])
        mode = LINEAR[dims] if pool.endswith("linear") else "nearest"
        self.ups = nn.ModuleList(nn.Upsample(scale_factor=factor, mode=mode) for factor in reversed(self.pools))
        self.decoders = nn.ModuleList(
            stage(widths[level] * self._copies(level), widths[level], above[level])
            for level in reversed(range(len(pools)))
        )
        self.tail = CONV[dims](widths[0], out_channels * prod(self.stem), 1)

    def _copies(self, level: int) -> int:
        """Input width of a decoder relative to its level: 2 where a skip connection is concatenated."""
        return 2 if self.merge == "concat" and self._has_skip(level) else 1

    def _has_skip(self, level: int) -> bool:
        return self.top_skip or level > 0

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        x = space_to_depth(pad_to_multiple(x, self.stride), self.stem)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for level, up, decoder in zip(reversed(range(len(skips))), self.ups, self.decoders, strict=True):
            x = up(x)
            if self._has_skip(level):
                x = x + skips[level] if self.merge == "add" else torch.cat([x, skips[level]], 1)
            x = decoder(x)
        x = depth_to_space(self.tail(x), self.stem)
        return crop(x, size)


class Exact:
    """Mixin: a layer that computes in the type of its weights, also under autocast."""

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            result: Tensor = super().forward(x.to(self.weight.dtype))  # type: ignore[misc]
        return result


class ExactConv2d(Exact, nn.Conv2d):
    """A 2D convolution in float32."""


class ExactConv3d(Exact, nn.Conv3d):
    """A 3D convolution in float32."""


EXACT_CONV = {2: ExactConv2d, 3: ExactConv3d}


def conv(dims: int, inputs: int, outputs: int, borders: Borders = "zeros") -> nn.Module:
    """A 3x3 (3x3x3) convolution that keeps the size."""
    return CONV[dims](inputs, outputs, 3, padding=1, padding_mode=borders)


class DoubleConv(nn.Sequential):
    """(convolution, batch norm, ReLU) twice."""

    def __init__(self, dims: int, inputs: int, middle: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for a, b in ((inputs, middle), (middle, outputs)):
            layers += [conv(dims, a, b), NORM[dims](b), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class Residuals(nn.Sequential):
    """Residual blocks of one width, with a convolution in front or behind where the width changes.

    exact: compute the first convolution in float32, also under autocast. In bfloat16, noise of a hundredth of the
    image's contrast would be lost to rounding.
    """

    def __init__(self, dims: int, inputs: int, middle: int, outputs: int, blocks: int, exact: bool = False) -> None:
        front = EXACT_CONV[dims](inputs, middle, 3, padding=1) if exact else conv(dims, inputs, middle)
        before = [front] if inputs != middle else []
        behind = [CONV[dims](middle, outputs, 1)] if middle != outputs else []
        super().__init__(*before, *(Residual(dims, middle) for _ in range(blocks)), *behind)


class Residual(nn.Module):
    """x + conv(relu(conv(relu(x)))); initially the identity, since the last convolution is initialised with zeros."""

    def __init__(self, dims: int, features: int, borders: Borders = "zeros") -> None:
        super().__init__()
        self.first, self.second = (conv(dims, features, features, borders) for _ in range(2))
        nn.init.zeros_(self.second.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.second(F.relu_(self.first(F.relu(x))))
        return x + branch


class BlurPool(nn.Module):
    """Max pooling with stride 1, then the binomial filter [1, 2, 1]/4 on each pooled axis with the pool's stride.

    Source: Zhang 2019, "Making convolutional networks shift-invariant again", arXiv:1904.11486.
    """

    def __init__(self, width: int, factor: Factor, zeros: bool = False) -> None:
        super().__init__()
        self.factor, self.width, self.zeros = factor, width, zeros
        taps = {1: torch.tensor([1.0]), 2: torch.tensor([1.0, 2.0, 1.0]) / 4}
        kernel = torch.ones(())
        for f in factor:
            kernel = kernel[..., None] * taps[f]
        self.register_buffer("kernel", kernel.expand(width, 1, *kernel.shape).clone(), persistent=False)
        self.max = MAX_POOL[len(factor)](factor, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        # One replicated row at the end keeps the size in the stride-1 pool; one on each side keeps it in the filter.
        behind = [n for f in reversed(self.factor) for n in (0, f - 1)]
        around = [f - 1 for f in reversed(self.factor) for _ in range(2)]
        if self.zeros:  # the last maximum has no pixel beyond it
            x = F.pad(self.max(x), around)
        else:
            x = F.pad(self.max(F.pad(x, behind, mode="replicate")), around, mode="replicate")
        blur: Any = F.conv2d if len(self.factor) == 2 else F.conv3d
        blurred: Tensor = blur(x, self.kernel, stride=self.factor, groups=self.width)
        return blurred


def make_pool(kind: str, width: int, factor: Factor) -> nn.Module:
    """A pooling layer that keeps the number of features and divides the size by `factor` (1 or 2 per axis)."""
    if kind in ("max", "max_linear"):
        return MAX_POOL[len(factor)](factor)
    if kind in ("blur", "blur_linear"):
        return BlurPool(width, factor, kind == "blur_linear")
    convolution: Any = CONV[len(factor)]
    layer: nn.Module = convolution(width, width, factor, stride=factor)
    return layer


def pad_to_multiple(x: Tensor, multiple: Factor) -> Tensor:
    """Replicate the last row, column and slice until each spatial size is a multiple."""
    missing = [(-n) % m for n, m in zip(x.shape[2:], multiple, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [p for n in reversed(missing) for p in (0, n)], mode="replicate")


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The first `size` pixels of each spatial axis."""
    return x[tuple([slice(None)] * 2 + [slice(0, n) for n in size])]


def space_to_depth(x: Tensor, factor: Factor) -> Tensor:
    """Rearrange blocks of pixels into channels: (N, C, *S) -> (N, prod(factor)·C, *S/factor)."""
    n, c, *size = x.shape
    blocks = [s // f for s, f in zip(size, factor, strict=True)]
    split = x.reshape(n, c, *(part for pair in zip(blocks, factor, strict=True) for part in pair))
    order = [0, *range(3, split.ndim, 2), 1, *range(2, split.ndim, 2)]
    return split.permute(order).reshape(n, prod(factor) * c, *blocks)


def depth_to_space(x: Tensor, factor: Factor) -> Tensor:
    """Inverse of `space_to_depth`."""
    n, c, *blocks = x.shape
    split = x.reshape(n, *factor, c // prod(factor), *blocks)
    dims = len(factor)
    order = [0, 1 + dims, *(axis for i in range(dims) for axis in (2 + dims + i, 1 + i))]
    return split.permute(order).reshape(n, -1, *(s * f for s, f in zip(blocks, factor, strict=True)))


def pooling_plan(spacing: Sequence[float], size: Sequence[int], levels: int) -> tuple[Factor, ...]:
    """Pooling factors of each level, chosen so that voxels become more nearly cubic.

    spacing: relative voxel size of each spatial axis. size: of the image. An axis is pooled by 2 at a level if its
    spacing so far is at most 1.5 times the smallest and at least 4 pixels of it are left, otherwise by 1.
    """
    current, left, plan = list(spacing), list(size), []
    for _ in range(levels):
        finest = min(current)
        factor = tuple(
            2 if step <= 1.5 * finest and (n >= 8 or axis >= len(size) - 2) else 1
            for axis, (step, n) in enumerate(zip(current, left, strict=True))
        )
        current = [step * f for step, f in zip(current, factor, strict=True)]
        left = [n // f for n, f in zip(left, factor, strict=True)]
        plan.append(factor)
    return tuple(plan)
