"""Noise2Void: learns from one noisy image, by predicting pixels from their surroundings (N2V, N2V2, structN2V)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval
from torch import Tensor

from noisewise.errors import UserError
from noisewise.methods.base import Batch, ImageSpec, Method, Needs, masked_mean
from noisewise.nets.blind import (
    Masking,
    Offset,
    hide,
    parse_shape,
    predict_blind,
    some_of,
    turned,
    window_radius,
)  # fmt: skip
from noisewise.nets.standardized import Standardized
from noisewise.noise.base import Noise
from noisewise.noise.correlated import FARTHEST_LAG
from noisewise.noise.reach import correlated_offsets
from noisewise.posterior import Point, Posterior


@dataclass(frozen=True, kw_only=True)
class N2V(Method):
    """Noise2Void: predicts each pixel from its surroundings; for noise that is independent from pixel to pixel.

    Blind pixels B are replaced by something made of their neighbours, x̃, and only they are scored:
    loss = Σ_{i∈B} (f(x̃)_i − x_i)² / |B|, least at f(x̃)_i = E[s_i | x without x_i].
    N2V2 is `network="n2v2", masking="median"`. structN2V hides the pixels around a blind one that share its noise
    (`blind_shape`), and then least is E[s_i | x without all of them].

    Sources: Krull et al. 2019 (N2V), Höck et al. 2022 (N2V2), Broaddus et al. 2020 (structN2V).
    """

    needs: ClassVar[Needs] = "noisy"
    uses_correlation: ClassVar[bool] = True

    masking: Masking = "mean"
    """what replaces a blind pixel: a random neighbour (uniform), or the mean or median of the neighbours"""
    mask_percent: Annotated[float, Interval(gt=0, le=25)] = 11.0
    """blind pixels a patch, in percent"""
    mask_radius: Annotated[int, Interval(ge=1, le=10)] = 1
    """neighbours are the (2 r + 1)² window without its centre"""
    blind_shape: str = "pixel"
    """what is hidden with a blind pixel: pixel (nothing), a size in pixels such as 1x11 (along Y and X), a pattern
    such as 010/111/010, or auto (the pixels that share its noise, as measured)"""
    blind_prediction: bool = False
    """predict each pixel without having seen it, which takes 9 passes or more; else in one pass that sees it"""

    @property
    def removes(self) -> tuple[str, ...]:
        return ("white",) if self.blind_shape == "pixel" else ("white", "rows", "columns")

    @property
    def wants_noise(self) -> bool:
        return self.blind_shape == "auto"

    def shape(self, laws: Sequence[Noise], dims: int) -> tuple[Offset, ...]:
        """Offsets of the pixels that are hidden with a blind one. Errors: `UserError` if the setting is no shape."""
        if self.blind_shape == "auto":
            return correlated_offsets(tuple(laws), dims, FARTHEST_LAG)
        try:
            return parse_shape(self.blind_shape, dims)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(
                f"blind_shape '{self.blind_shape}' is not a shape ({error}); give pixel, auto, a size such as 1x11, "
                f"or rows of 0 and 1 such as 010/111/010"
            ) from error

    def directional(self, laws: Sequence[Noise], dims: int) -> bool:
        return turned(self.shape(laws, dims))

    def margin(self, laws: Sequence[Noise], dims: int) -> int:
        if not self.blind_prediction:
            return 0
        shape = self.shape(laws, dims)
        # What stands for a hidden pixel comes from the window around it, unless that is hidden from outside of it.
        return window_radius(shape, self.mask_radius) + max((abs(o) for offset in shape for o in offset), default=0)

    def build(self, spec: ImageSpec, laws: Sequence[Noise] = ()) -> Standardized:
        self.shape(laws, spec.dims)  # refuses one that is none, before the work
        return super().build(spec, laws)

    def loss(self, net: Standardized, batch: Batch) -> Tensor:
        noisy, teach = net.encode(batch.noisy), net.fold(batch.teach)
        shape = self.shape(tuple(net.laws), net.dims)  # type: ignore[arg-type]
        blind = teach if batch.held_out else some_of(teach, self.mask_percent, batch.generator, shape)
        predicted = net.backbone(hide(noisy, blind, self.masking, self.mask_radius, batch.generator, shape))
        return masked_mean((predicted.float() - noisy) ** 2, blind)

    def posterior(self, net: Standardized, noisy: Tensor, coordinates: Tensor | None = None) -> Posterior[Tensor]:
        if not self.blind_prediction:
            return Point(net(noisy))
        shape = self.shape(tuple(net.laws), net.dims)  # type: ignore[arg-type]
        maps = predict_blind(net, noisy, coordinates, self.mask_percent, self.mask_radius, shape)
        return Point(net.decode(maps[0]))
