"""A small transformer over the brightness classes of an image: noise variance and correlation, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

WIDTH, LAYERS, HEADS, FACTORS = 96, 3, 4, 3
LEAST_STD = 0.003  # of any output


@dataclass(frozen=True)
class NoiseOutputs:
    """Of N images with K classes of brightness.

    variance (N, K): logarithm of the noise variance over the floor of the class. std (N, K), factors (N, K, FACTORS):
    its errors; covariance = diag(std²) + factors factorsᵀ. correlation, correlation_std (N, L): autocorrelation at the
    lags, then log(1 + ratio) of row and of column offsets. correlated (N,): log odds that the noise is correlated.
    """

    variance: Tensor
    std: Tensor
    factors: Tensor
    correlation: Tensor
    correlation_std: Tensor
    correlated: Tensor


class NoiseEstimator(nn.Module):
    """Tokens for the classes of fine blocks, of coarse blocks, and one for the whole image; attention between all.

    fine, coarse, whole: numbers of features of each kind of token. lags: numbers of lags, without zero.
    """

    def __init__(self, fine: int, coarse: int, whole: int, lags: int) -> None:
        super().__init__()
        self.lags = lags
        for name, size in (("fine", fine), ("coarse", coarse), ("whole", whole)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.embed = nn.ModuleDict({
            name: nn.Sequential(nn.Linear(size, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))
            for name, size in (("fine", fine), ("coarse", coarse), ("whole", whole + 1))
        })  # fmt: skip
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.of_class = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 + FACTORS))
        self.of_image = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, 3 * (lags + 2) + 1)
        )

    def forward(self, fine: Tensor, coarse: Tensor, whole: Tensor, counts: Tensor, assumed: Tensor) -> NoiseOutputs:
        """What is found in N images.

        fine (N, K, ·), coarse (N, M, ·), whole (N, ·): statistics. counts (N, 2): classes that each image has. assumed
        (N,): -1 if it is given that neighbours are not correlated, 1 if that they are, 0 if it is not known.
        """
        tokens = torch.cat([
            self.embed["whole"](torch.cat([self.normalised("whole", whole), assumed[:, None]], 1))[:, None],
            self.embed["fine"](self.normalised("fine", fine)),
            self.embed["coarse"](self.normalised("coarse", coarse)),
        ], 1)  # fmt: skip
        absent = torch.cat([
            torch.zeros(len(whole), 1, dtype=torch.bool, device=whole.device),
            *(torch.arange(part.shape[1], device=whole.device) >= count[:, None]
              for count, part in zip(counts.unbind(1), (fine, coarse), strict=True)),
        ], 1)  # fmt: skip
        mixed = self.mix(tokens, src_key_padding_mask=absent)
        of_class = self.of_class(mixed[:, 1 : 1 + fine.shape[1]])
        of_image = self.of_image(mixed[:, 0])
        n = self.lags + 2
        value, std, gate = of_image[:, :n], of_image[:, n : 2 * n], of_image[:, 2 * n : 3 * n]
        # The classical estimates are the last inputs: lines, then lags.
        classical = torch.cat([whole[:, -self.lags :], whole[:, -self.lags - 2 : -self.lags]], 1)
        return NoiseOutputs(
            of_class[..., 0], positive(of_class[..., 1]), of_class[..., 2:],
            value + torch.sigmoid(gate) * classical, positive(std), of_image[:, -1],
        )  # fmt: skip

    def normalised(self, name: str, values: Tensor) -> Tensor:
        """Inputs with mean 0 and standard deviation 1 over the training."""
        mean, std = self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_std")
        return ((values - mean) / std).clamp(-6, 6)


def positive(values: Tensor) -> Tensor:
    """A standard deviation from any number."""
    return LEAST_STD + (values - 1.5).clamp(max=3.0).exp()
