"""A network in the units of the image: normalisation and the laws of noise live beside the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Standardized(nn.Module):
    """decode(backbone(encode(x))), image units in and out, in float32.

    encode: (x - mean) / std a channel; decode: y * target_std + target_mean. With `independent` channels the
    backbone sees one channel at a time (they are folded into the batch and share its weights).

    mean, std: of the noisy input, a number a channel; target_mean, target_std: of what is predicted.
    spread: by which standard deviations and samples are widened, found after training; one a channel.
    inputs, heads: maps that the backbone takes and puts out a channel. laws: of the noise, none, one, or one a channel.
    """

    backbone: nn.Module
    mean: Tensor
    std: Tensor
    target_mean: Tensor
    target_std: Tensor
    spread: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        dims: int,
        mean: Sequence[float],
        std: Sequence[float],
        target_mean: Sequence[float],
        target_std: Sequence[float],
        independent: bool = True,
        inputs: int = 1,
        heads: int = 1,
        laws: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.backbone, self.dims, self.independent = backbone, dims, independent
        self.inputs, self.heads = inputs, heads
        self.laws = nn.ModuleList(laws)
        for name, values in (
            ("mean", mean),
            ("std", std),
            ("target_mean", target_mean),
            ("target_std", target_std),
            ("spread", [1.0] * len(mean)),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(-1, *[1] * dims))

    def encode(self, x: Tensor) -> Tensor:
        """(N, C, *S) in image units -> normalised; channels folded into the batch if they are independent."""
        return self.fold((x.float() - self.mean) / self.std)

    def encode_target(self, x: Tensor) -> Tensor:
        """The same for an image in the target's units."""
        return self.fold((x.float() - self.target_mean) / self.target_std)

    def decode(self, y: Tensor) -> Tensor:
        """Normalised -> (N, C, *S) in the target's units."""
        return self.unfold(y.float()) * self.target_std + self.target_mean

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.backbone(self.encode(x)))

    def maps(self, y: Tensor) -> tuple[Tensor, ...]:
        """What the backbone put out, as `heads` maps in the shape of the encoded image; float32."""
        return y.float().reshape(len(y), self.heads, -1, *y.shape[2:]).unbind(1)

    def fold(self, x: Tensor) -> Tensor:
        """Channels into the batch, if they are independent."""
        return x.reshape(-1, 1, *x.shape[2:]) if self.independent else x

    def unfold(self, x: Tensor) -> Tensor:
        """(N, C, *S) again."""
        return x.reshape(-1, len(self.mean), *x.shape[2:])

    @property
    def width(self) -> int:
        """Maps that the backbone takes."""
        return self.inputs * (1 if self.independent else len(self.mean))

    def law(self, channel: int) -> nn.Module:
        """The law of noise of a channel."""
        return self.laws[min(channel, len(self.laws) - 1)]

    def about(self, channel: int) -> tuple[float, float]:
        """Mean and standard deviation of the noisy images in a channel."""
        mean, std = (float(part[channel].flatten()[0]) for part in (self.mean, self.std))
        return mean, std

    @property
    def stride(self) -> tuple[int, ...]:
        """The backbone's total pooling along each spatial axis."""
        stride: tuple[int, ...] = getattr(self.backbone, "stride", (1,) * self.dims)
        return stride
