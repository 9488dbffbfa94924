"""A network in image units: the normalisation is kept with the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Standardized(nn.Module):
    """decode(backbone(encode(x))): image units in and out, computed in float32.

    encode: (x - mean) / std for each channel; decode: y * target_std + target_mean. With `independent` channels, the
    backbone sees one channel at a time: channels are folded into the batch and share its weights.

    mean, std: of the noisy input, one number per channel, image units; target_mean, target_std: of the prediction.
    inputs, heads: feature maps that the backbone takes and returns for each channel.
    """

    backbone: nn.Module
    mean: Tensor
    std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self, backbone: nn.Module, dims: int, mean: Sequence[float], std: Sequence[float],
        target_mean: Sequence[float], target_std: Sequence[float], independent: bool = True, inputs: int = 1,
        heads: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.backbone, self.dims, self.independent = backbone, dims, independent
        self.inputs, self.heads = inputs, heads
        for name, values in (("mean", mean), ("std", std), ("target_mean", target_mean), ("target_std", target_std)):
            self.register_buffer(name, self.per_channel(values))

    def per_channel(self, values: Sequence[float]) -> Tensor:
        """One number per channel as a float32 tensor (C, 1, ...) that broadcasts against images (N, C, *S)."""
        return torch.tensor(values, dtype=torch.float32).reshape(-1, *[1] * self.dims)

    def encode(self, x: Tensor) -> Tensor:
        """Images (N, C, *S) in image units -> normalised; channels folded into the batch if they are independent."""
        return self.fold((x.float() - self.mean) / self.std)

    def encode_target(self, x: Tensor) -> Tensor:
        """The same for an image in the target's units."""
        return self.fold((x.float() - self.target_mean) / self.target_std)

    def decode(self, y: Tensor) -> Tensor:
        """Normalised -> images (N, C, *S) in the target's units."""
        return self.unfold(y.float()) * self.target_std + self.target_mean

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.backbone(self.encode(x)))

    def maps(self, y: Tensor) -> tuple[Tensor, ...]:
        """The backbone's output as `heads` maps in the shape of the encoded image; float32."""
        return y.float().reshape(len(y), self.heads, -1, *y.shape[2:]).unbind(1)

    def fold(self, x: Tensor) -> Tensor:
        """(N, C, *S) -> (N·C, 1, *S) if channels are independent, else unchanged."""
        return x.reshape(-1, 1, *x.shape[2:]) if self.independent else x

    def unfold(self, x: Tensor) -> Tensor:
        """The inverse of `fold`: (N, C, *S)."""
        return x.reshape(-1, len(self.mean), *x.shape[2:])

    @property
    def width(self) -> int:
        """Number of feature maps that the backbone takes."""
        return self.inputs * (1 if self.independent else len(self.mean))

    def input_statistics(self, channel: int) -> tuple[float, float]:
        """Mean and standard deviation of the noisy images in a channel, image units."""
        mean, std = (float(part[channel].flatten()[0]) for part in (self.mean, self.std))
        return mean, std

    @property
    def stride(self) -> tuple[int, ...]:
        """The backbone's total pooling factor along each spatial axis."""
        stride: tuple[int, ...] = getattr(self.backbone, "stride", (1,) * self.dims)
        return stride
