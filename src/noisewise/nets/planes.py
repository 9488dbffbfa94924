"""A U-Net for single planes that also looks at the planes before and behind, in depth or in time."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noisewise.nets.unet import Factor, UNet, crop, depth_to_space, pad_to_multiple, space_to_depth

REACH = 2  # planes on either side
NEIGHBOURS = tuple(k for k in range(-REACH, REACH + 1) if k)  # relative to the plane that is denoised
STEM = (2, 2)  # pixels of a position of the finest level
INPUT_SCALE = 0.25  # of the image, whose noise has unit variance, as the input
GATE_POOLS, GATE_WIDTH, GATE_GROWTH, GATE_BLOCKS = ((2, 2), (2, 2)), 24, 1.25, 2
OPEN = 2.0  # logit of the gates before any training
GROUP = 1 << 18  # pixels of planes that are predicted together, if these are more than one
EVERY = slice(None)


class PlanesUNet(nn.Module):
    """From maps (N, images + features, Y, X) or (N, images + features, Z, Y, X) to (N, outputs, ...) of the same size.

    images: maps that vary from pixel to pixel; the first is the image. features: maps that are constant over the image.
    pools, width, growth, blocks: of the `UNet`, whose finest level has a quarter of the pixels. dims: spatial axes.

    With three axes, the image x is first averaged with up to four neighbouring planes, whose differences from it are
    d_k: y = x + Σ g_k d_k / (1 + Σ g_k). The gates g_k, in [0, 1], tell how far each can be trusted (`Gates`): where
    neighbours differ by more than noise, y is x. The first output corrects y, and is returned as a correction of x, in
    units of the noise. Planes that are missing have the gate zero; all have, if `alone` is set. In prediction planes
    are computed one after another, small ones some at a time.
    """

    def __init__(
        self, images: int, features: int, outputs: int, *, pools: Sequence[Factor], width: int, growth: float,
        blocks: int, dims: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.images, self.alone, self.computed = images, False, EVERY
        self.in_channels = images + features
        pixels = STEM[0] * STEM[1]
        self.beside = pixels * (1 + len(NEIGHBOURS)) + len(NEIGHBOURS)  # maps of neighbours
        self.unet = UNet(
            pixels * images + features + self.beside, pixels * outputs, pools=pools, features=width, growth=growth,
            blocks=blocks, pool="conv", merge="add",
        )  # fmt: skip
        self.gates = Gates(features)
        strides = [2 * self.unet.stride[0], 4 * self.gates.unet.stride[0]]  # powers of two
        self.stride = (*[1] * (dims - 2), max(strides), max(strides))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return self.plane(x)
        planes = torch.arange(x.shape[2], device=x.device)[self.computed]
        if self.training or torch._C._get_tracing_state():  # an exported network computes all planes together
            return self.several(x, planes)
        parts = torch.split(planes, max(1, GROUP // (x.shape[3] * x.shape[4])))
        found = torch.cat([self.several(x, part) for part in parts], 2)
        return F.pad(found, (0, 0, 0, 0, int(planes[0]), x.shape[2] - 1 - int(planes[-1])))

    def computing(self, planes: slice) -> PlanesUNet:
        """This network, with the same weights, where only some planes of a stack are needed: the others are zero."""
        found = copy(self)
        found.computed = planes
        return found

    def several(self, x: Tensor, which: Tensor) -> Tensor:
        """Some planes of (N, C, Z, Y, X)."""
        planes = x[:, :, which].transpose(1, 2)
        found = self.plane(planes.flatten(0, 1), None if self.alone else differences(x[:, 0], which))
        return found.reshape(*planes.shape[:2], *found.shape[1:]).transpose(1, 2)

    def plane(self, x: Tensor, beside: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Planes (N, C, Y, X), with those beside them or without any.

        beside: the differences (N, 4, Y, X) of the neighbours of each plane from it, and whether they are there (N, 4).
        """
        size = x.shape[2:]
        x = pad_to_multiple(x, self.stride[-2:])
        pixels, features = x[:, : self.images], x[:, self.images :, :: STEM[0], :: STEM[1]]
        if beside is None:
            nothing = x.new_zeros(1, 1, 1, 1).expand(len(x), self.beside, *features.shape[2:])
            found = self.unet(torch.cat([space_to_depth(pixels, STEM), features, nothing], 1))
            return crop(depth_to_space(found, STEM), size)
        around, there = pad_to_multiple(beside[0], self.stride[-2:]), beside[1][:, :, None, None]
        offsets = 0.5 * torch.tanh(0.5 * self.gates(x[:, :1], around, features).float()) * there
        weights = F.interpolate(0.5 * there + offsets, scale_factor=2.0)
        gated = weights * around
        change = gated.sum(1, keepdim=True) / (1 + weights.sum(1, keepdim=True))
        pixels = torch.cat([pixels[:, :1] + change, pixels[:, 1:]], 1)
        others = space_to_depth(torch.cat([change, gated], 1), STEM)
        maps = torch.cat([space_to_depth(pixels, STEM), features, others, offsets], 1)
        found = depth_to_space(self.unet(maps), STEM)
        return crop(torch.cat([found[:, :1] - change / INPUT_SCALE, found[:, 1:]], 1), size)


class Gates(nn.Module):
    """How far each neighbour of a plane can be trusted, at each position of the finest level: logits.

    A small U-Net on blocks of 4 x 4 pixels sees the means of the differences, and the means of the squares of
    differences of single pixels, and of means of 2 x 2 pixels, all in units of those of pure noise.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.unet = UNet(
            1 + 3 * len(NEIGHBOURS) + features, len(NEIGHBOURS), pools=GATE_POOLS, features=GATE_WIDTH,
            growth=GATE_GROWTH, blocks=GATE_BLOCKS, pool="conv", merge="add",
        )  # fmt: skip
        nn.init.constant_(self.unet.tail.bias, OPEN)  # type: ignore[arg-type]

    def forward(self, image: Tensor, neighbours: Tensor, features: Tensor) -> Tensor:
        """Image (N, 1, Y, X), differences (N, 4, Y, X), features (N, F, Y/2, X/2) -> (N, 4, Y/2, X/2)."""
        halves = F.avg_pool2d(neighbours, 2)
        whole = F.avg_pool2d(halves, 2)
        unit = 0.5 / INPUT_SCALE**2  # brings the square of a difference of pure noise to one
        single, double = (F.avg_pool2d(unit * part**2, size) for part, size in ((neighbours, 4), (2 * halves, 2)))
        seen = [F.avg_pool2d(image, 4), 4 * whole, single.log1p(), double.log1p(), features[:, :, ::2, ::2]]
        maps = torch.cat(seen, 1)
        found: Tensor = F.interpolate(self.unet(maps), scale_factor=2.0, mode="bilinear")
        return found


def differences(images: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of the neighbours of P planes of (N, Z, Y, X) from them, (N·P, 4, Y, X), zero where there are none;
    and 1 where they are there, (N·P, 4).
    """
    places = which[:, None] + torch.tensor(NEIGHBOURS, device=images.device)
    there = ((places >= 0) & (places < images.shape[1])).to(images)
    beside = images[:, places.clamp(min=0).minimum(places.new_tensor(images.shape[1] - 1))] - images[:, which, None]
    return (beside * there[:, :, None, None]).flatten(0, 1), there.repeat(len(images), 1)
